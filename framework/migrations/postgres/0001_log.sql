-- The log and what stands beside it. One row of `log` says which log this is.
CREATE TABLE actum.log (
    one        integer     PRIMARY KEY CHECK (one = 1),
    log_id     uuid        NOT NULL,
    epoch      bigint      NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO actum.log VALUES (1, gen_random_uuid(), 1, clock_timestamp());

-- Positions are assigned by `append`, dense from 1. Never a sequence: it shows a later position
-- before an earlier one is committed, and leaves holes.
CREATE TABLE actum.events (
    position       bigint      PRIMARY KEY CHECK (position > 0),
    stream_type    text        COLLATE "C" NOT NULL,
    stream_id      text        COLLATE "C" NOT NULL,
    version        bigint      NOT NULL CHECK (version > 0),
    event_id       uuid        NOT NULL,
    event_type     text        COLLATE "C" NOT NULL,
    schema_version integer     NOT NULL,
    payload        json        NOT NULL,  -- json, not jsonb: byte for byte as written
    metadata       json        NOT NULL,
    recorded_at    timestamptz NOT NULL   -- nothing sorts by it
);
CREATE UNIQUE INDEX events_by_stream ON actum.events (stream_type, stream_id, version);
CREATE UNIQUE INDEX events_by_id ON actum.events (event_id);

CREATE FUNCTION actum.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are immutable: no %', TG_OP;
END $$;
CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE ON actum.events
    FOR EACH ROW EXECUTE FUNCTION actum.refuse_change();
CREATE TRIGGER events_are_not_truncated BEFORE TRUNCATE ON actum.events
    FOR EACH STATEMENT EXECUTE FUNCTION actum.refuse_change();

-- An INSERT beside `append` would not hold the writer lock.
CREATE FUNCTION actum.refuse_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('actum.appending', true) IS DISTINCT FROM 'yes' THEN
        RAISE EXCEPTION 'events are written by actum.append alone: no INSERT';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_are_appended BEFORE INSERT ON actum.events
    FOR EACH STATEMENT EXECUTE FUNCTION actum.refuse_insert();

-- The outcome of each command that came with a key; written with its events.
CREATE TABLE actum.commands (
    command_id  text   COLLATE "C" PRIMARY KEY,
    fingerprint bytea  NOT NULL,
    stream_type text   COLLATE "C" NOT NULL,
    stream_id   text   COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    position    bigint NOT NULL
);

CREATE TABLE actum.snapshots (
    stream_type   text    COLLATE "C" NOT NULL,
    stream_id     text    COLLATE "C" NOT NULL,
    version       bigint  NOT NULL,
    position      bigint  NOT NULL,
    state_version integer NOT NULL,
    state         json    NOT NULL,
    checksum      bytea   NOT NULL,
    PRIMARY KEY (stream_type, stream_id)
);

CREATE TABLE actum.documents (
    model text COLLATE "C" NOT NULL,  -- name@version
    key   text COLLATE "C" NOT NULL,
    body  json NOT NULL,
    PRIMARY KEY (model, key)
) WITH (fillfactor = 80);  -- room for new bodies beside the old ones

-- A partition of a read model, and the last step that was taken: its number under the lease whose
-- token it was written under.
CREATE TABLE actum.checkpoints (
    model     text    COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    log_id    uuid    NOT NULL,
    position  bigint  NOT NULL,
    event_id  uuid    NOT NULL,
    token     bigint  NOT NULL,
    step      bigint  NOT NULL,
    PRIMARY KEY (model, partition)
);

CREATE FUNCTION actum.refuse_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a checkpoint does not go back';
END $$;
CREATE TRIGGER checkpoints_do_not_go_back BEFORE UPDATE ON actum.checkpoints
    FOR EACH ROW WHEN (NEW.position < OLD.position) EXECUTE FUNCTION actum.refuse_going_back();

-- Who owns what runs in one process at a time. The token grows with every owner, and whoever
-- writes under the lease shows it: an owner that was stopped and goes on writes nothing.
CREATE TABLE actum.leases (
    name       text        COLLATE "C" PRIMARY KEY,
    owner      uuid        NOT NULL,
    token      bigint      NOT NULL,
    expires_at timestamptz NOT NULL  -- by this server's clock
);

-- The processes that could own partitions of a read model, and until when they are known.
CREATE TABLE actum.members (
    model      text        COLLATE "C" NOT NULL,
    process    uuid        NOT NULL,
    expires_at timestamptz NOT NULL,  -- by this server's clock
    PRIMARY KEY (model, process)
);

-- Keys that stand still at an event that cannot be applied, and what somebody wants done.
CREATE TABLE actum.parked (
    model          text        COLLATE "C" NOT NULL,
    key            text        COLLATE "C" NOT NULL,
    partition      integer     NOT NULL,
    position       bigint      NOT NULL,
    event          text        NOT NULL,
    reason         text        NOT NULL,
    attempts       bigint      NOT NULL,
    since          timestamptz NOT NULL,
    request        text        CHECK (request IN ('retry', 'skip')),
    request_reason text,
    PRIMARY KEY (model, key)
);

-- The events that wait behind them.
CREATE TABLE actum.parked_events (
    model    text   COLLATE "C" NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (model, key, position),
    FOREIGN KEY (model, key) REFERENCES actum.parked (model, key) ON DELETE CASCADE
);

-- Events that were left out because somebody said so.
CREATE TABLE actum.skipped (
    model      text        COLLATE "C" NOT NULL,
    key        text        COLLATE "C" NOT NULL,
    position   bigint      NOT NULL,
    event      text        NOT NULL,
    reason     text        NOT NULL,
    skipped_at timestamptz NOT NULL,
    PRIMARY KEY (model, key, position)
);

-- The versions of read models; of a name, one serves.
CREATE TABLE actum.versions (
    name        text    COLLATE "C" NOT NULL,
    version     bigint  NOT NULL,
    partitions  bigint  NOT NULL,
    is_serving  boolean NOT NULL,
    is_dropping boolean NOT NULL DEFAULT false,
    PRIMARY KEY (name, version),
    CHECK (NOT (is_serving AND is_dropping))
);
CREATE UNIQUE INDEX one_version_serves ON actum.versions (name) WHERE is_serving;

-- Stores the events and commands of each stream whose state is as its writer assumed, and of no
-- other (with `all_or_none`, of none if one is not); answers the state it found. Called as one
-- statement of its own, so that no client, however it dies, ever sits on the writer lock.
--
-- A stream holds if it is at the expected version (NULL: at any) and none of its commands is known;
-- with `find_events`, also none of its events. (Those of one that does not hold may stand where it
-- moved to: they were sent before.) Events and commands name their stream by its place in
-- `stream_types`, events in the order of their positions. `event_offsets` count within a stream from
-- its version; `command_events` are the places of each command's last event, 0 for none. What was
-- `refused` on the assumptions is not stored, but looked for.
CREATE FUNCTION actum.append(
    stream_types text[], stream_ids text[], expected bigint[],
    event_streams integer[], event_offsets bigint[], event_stream_types text[],
    event_stream_ids text[], event_ids uuid[], event_types text[], schema_versions integer[],
    payloads text[], metadatas text[], recorded_at timestamptz,
    command_streams integer[], command_ids text[], fingerprints bytea[],
    command_offsets bigint[], command_events integer[],
    find_events boolean, all_or_none boolean,
    refused_event_streams integer[], refused_event_ids uuid[],
    refused_command_streams integer[], refused_command_ids text[],
    OUT head bigint, OUT versions bigint[], OUT positions bigint[], OUT held boolean[],
    OUT known_ids text[], OUT known_fingerprints bytea[], OUT known_versions bigint[],
    OUT known_positions bigint[],
    OUT stored_ids uuid[], OUT stored_types text[], OUT stored_streams text[],
    OUT stored_versions bigint[], OUT stored_positions bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    places bigint[];  -- of the events, once those of streams that do not hold are left out
    stream integer;
BEGIN
    -- A statement of its own: the ones after it see what the writer before committed.
    PERFORM pg_advisory_xact_lock(1633907821, 1);

    SELECT coalesce(max(position), 0) INTO head FROM actum.events;
    SELECT array_agg(found.version), array_agg(found.position),
           array_agg(found.expected IS NULL OR found.expected = found.version)
    INTO versions, positions, held
    FROM (
        SELECT coalesce(tip.version, last.version, 0) AS version,
               coalesce(tip.position, last.position, 0) AS position, asked.expected
        FROM unnest(stream_types, stream_ids, expected) WITH ORDINALITY
             AS asked (stream_type, stream_id, expected, place)
        -- From the expected version on there is mostly one: a third of the time of looking for the last.
        LEFT JOIN LATERAL (
            SELECT version, position FROM actum.events AS e
            WHERE e.stream_type = asked.stream_type AND e.stream_id = asked.stream_id
            AND e.version >= coalesce(asked.expected, 0)
            ORDER BY version DESC LIMIT 1
        ) AS tip ON true
        LEFT JOIN LATERAL (
            SELECT version, position FROM actum.events AS e
            WHERE tip.version IS NULL AND asked.expected > 0
            AND e.stream_type = asked.stream_type AND e.stream_id = asked.stream_id
            ORDER BY version DESC LIMIT 1
        ) AS last ON true
        ORDER BY asked.place
    ) AS found;

    IF cardinality(command_ids) + cardinality(refused_command_ids) > 0 THEN
        SELECT array_agg(c.command_id), array_agg(c.fingerprint), array_agg(c.version),
               array_agg(c.position)
        INTO known_ids, known_fingerprints, known_versions, known_positions
        FROM actum.commands AS c WHERE c.command_id = ANY (command_ids || refused_command_ids);
    END IF;
    IF known_ids IS NOT NULL THEN
        FOR stream IN
            SELECT asked.stream
            FROM unnest(command_streams || refused_command_streams,
                        command_ids || refused_command_ids) AS asked (stream, id)
            WHERE asked.id = ANY (known_ids)
        LOOP
            held[stream] := false;
        END LOOP;
    END IF;

    IF find_events OR false = ANY (held) THEN
        SELECT array_agg(e.event_id), array_agg(e.stream_type), array_agg(e.stream_id),
               array_agg(e.version), array_agg(e.position)
        INTO stored_ids, stored_types, stored_streams, stored_versions, stored_positions
        FROM unnest(event_streams || refused_event_streams,
                    event_ids || refused_event_ids) AS asked (stream, id)
        JOIN actum.events AS e ON e.event_id = asked.id
        WHERE find_events OR NOT held[asked.stream];
        FOR stream IN
            SELECT asked.stream
            FROM unnest(event_streams || refused_event_streams,
                        event_ids || refused_event_ids) AS asked (stream, id)
            WHERE asked.id = ANY (stored_ids)
        LOOP
            held[stream] := false;
        END LOOP;
    END IF;

    IF all_or_none AND false = ANY (held) THEN
        held := array_fill(false, ARRAY[cardinality(held)]);
    END IF;

    -- What is answered from the log may still be on its way to a standby: this message makes the
    -- call wait as its writer should have.
    IF known_ids IS NOT NULL OR stored_ids IS NOT NULL THEN
        PERFORM pg_logical_emit_message(true, 'actum', '');
    END IF;

    IF false = ANY (held) THEN
        SELECT array_agg(counted.place) INTO places
        FROM (
            SELECT count(*) FILTER (WHERE held[asked.stream]) OVER (ORDER BY asked.n) AS place
            FROM unnest(event_streams) WITH ORDINALITY AS asked (stream, n)
            ORDER BY asked.n
        ) AS counted;
    END IF;

    IF cardinality(event_ids) > 0 THEN
        PERFORM set_config('actum.appending', 'yes', true);
        INSERT INTO actum.events
        SELECT head + coalesce(places[e.n], e.n), e.stream_type, e.stream_id,
               versions[e.stream] + e.version, e.event_id, e.event_type, e.schema_version,
               e.payload::json, e.metadata::json, append.recorded_at
        FROM unnest(event_streams, event_offsets, event_stream_types, event_stream_ids, event_ids,
                    event_types, schema_versions, payloads, metadatas) WITH ORDINALITY
             AS e (stream, version, stream_type, stream_id, event_id, event_type, schema_version,
                   payload, metadata, n)
        WHERE held[e.stream];
        PERFORM set_config('actum.appending', 'no', true);
    END IF;

    IF cardinality(command_ids) > 0 THEN
        INSERT INTO actum.commands
        SELECT c.id, c.fingerprint, stream_types[c.stream], stream_ids[c.stream],
               versions[c.stream] + c.version,
               CASE WHEN c.event = 0 THEN positions[c.stream]
                    ELSE head + coalesce(places[c.event], c.event) END
        FROM unnest(command_streams, command_ids, fingerprints, command_offsets, command_events)
             AS c (stream, id, fingerprint, version, event)
        WHERE held[c.stream];
    END IF;
END $$;

-- Applies what changes of parked keys come to; see `Parking` in store/parked.rs.
CREATE FUNCTION actum.park(model text, changes json) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM actum.parked AS p
    USING json_array_elements_text(changes -> 'released') AS released (key)
    WHERE p.model = park.model AND p.key = released.key;

    INSERT INTO actum.parked AS old
           (model, key, partition, position, event, reason, attempts, since)
    SELECT park.model, new.key, new.partition, new.position, new.event, new.reason, new.attempts,
           timestamptz 'epoch' + new.since * interval '1 microsecond'
    FROM json_to_recordset(changes -> 'parked') AS new
         (key text, partition integer, position bigint, event text, reason text, attempts bigint,
          since bigint)
    ON CONFLICT (model, key) DO UPDATE SET partition = excluded.partition,
    position = excluded.position, event = excluded.event, reason = excluded.reason,
    attempts = excluded.attempts,
    request = CASE WHEN old.request = 'skip' AND old.position = excluded.position
                   THEN old.request END,
    request_reason = CASE WHEN old.request = 'skip' AND old.position = excluded.position
                          THEN old.request_reason END;

    DELETE FROM actum.parked_events AS queued
    USING json_to_recordset(changes -> 'parked') AS new (key text, position bigint)
    WHERE queued.model = park.model AND queued.key = new.key AND queued.position <= new.position;

    INSERT INTO actum.parked_events (model, key, position)
    SELECT park.model, queued.value ->> 0, (queued.value ->> 1)::bigint
    FROM json_array_elements(changes -> 'queued') AS queued (value)
    ON CONFLICT DO NOTHING;

    INSERT INTO actum.skipped (model, key, position, event, reason, skipped_at)
    SELECT park.model, new.key, new.position, new.event, new.reason,
           timestamptz 'epoch' + new.skipped_at * interval '1 microsecond'
    FROM json_to_recordset(changes -> 'skipped') AS new
         (key text, position bigint, event text, reason text, skipped_at bigint)
    ON CONFLICT DO NOTHING;
END $$;

-- Takes a step of a partition if the lease is the writer's and the step continues from what is
-- stored; see `continues` in store/advance.rs. Answers what it found. The lease stays locked to the
-- end of the transaction. `changes` are those of parked keys, NULL for none.
CREATE FUNCTION actum.advance(
    model text, partition integer, token bigint, step bigint, from_position bigint,
    log_id uuid, "position" bigint, event_id uuid, changes text,
    OUT is_owner boolean, OUT is_taken boolean, OUT stored_token bigint, OUT stored_step bigint,
    OUT stored_log_id uuid, OUT stored_position bigint, OUT stored_event_id uuid
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    is_taken := false;
    PERFORM FROM actum.leases AS l
    WHERE l.name = advance.model || '/' || advance.partition AND l.token = advance.token FOR UPDATE;
    is_owner := FOUND;
    IF NOT is_owner THEN
        RETURN;
    END IF;
    SELECT c.token, c.step, c.log_id, c.position, c.event_id
    INTO stored_token, stored_step, stored_log_id, stored_position, stored_event_id
    FROM actum.checkpoints AS c
    WHERE c.model = advance.model AND c.partition = advance.partition;
    IF (FOUND AND ((advance.token, advance.step) <= (stored_token, stored_step)
                   OR advance.position = stored_position
                      AND (advance.log_id, advance.event_id) <> (stored_log_id, stored_event_id)))
       OR coalesce(stored_position, 0) <> from_position OR advance.position < from_position
    THEN
        RETURN;
    END IF;
    IF changes IS NOT NULL THEN
        PERFORM actum.park(advance.model, changes::json);
    END IF;
    INSERT INTO actum.checkpoints AS c
           (model, partition, log_id, position, event_id, token, step)
    VALUES (advance.model, advance.partition, advance.log_id, advance.position, advance.event_id,
            advance.token, advance.step)
    ON CONFLICT (model, partition) DO UPDATE SET
    log_id = excluded.log_id, position = excluded.position, event_id = excluded.event_id,
    token = excluded.token, step = excluded.step;
    is_taken := true;
END $$;

-- Takes a step, and stores the documents that changed with it.
CREATE FUNCTION actum.save_documents(
    model text, partition integer, token bigint, step bigint, from_position bigint,
    log_id uuid, "position" bigint, event_id uuid, changes text, keys text[], bodies text[],
    OUT is_owner boolean, OUT is_taken boolean, OUT stored_token bigint, OUT stored_step bigint,
    OUT stored_log_id uuid, OUT stored_position bigint, OUT stored_event_id uuid
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT * INTO is_owner, is_taken, stored_token, stored_step, stored_log_id, stored_position,
                  stored_event_id
    FROM actum.advance($1, $2, $3, $4, $5, $6, $7, $8, $9);
    IF is_taken THEN
        INSERT INTO actum.documents AS d
        SELECT save_documents.model, changed.key, changed.body::json
        FROM unnest(keys, bodies) AS changed (key, body)
        ON CONFLICT (model, key) DO UPDATE SET body = excluded.body;
    END IF;
END $$;

-- Lets one version serve in place of another, if that one serves; answers whether it serves now.
CREATE FUNCTION actum.serve_version(name text, from_version bigint, to_version bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- A statement of its own: the ones after it see what was committed before.
    PERFORM FROM actum.versions AS v WHERE v.name = serve_version.name
    ORDER BY v.version FOR UPDATE;
    UPDATE actum.versions AS v SET is_serving = false
    WHERE v.name = serve_version.name AND v.version = from_version AND v.is_serving
    AND EXISTS (SELECT FROM actum.versions AS next WHERE next.name = serve_version.name
                AND next.version = to_version AND NOT next.is_dropping);
    IF FOUND THEN
        UPDATE actum.versions AS v SET is_serving = true
        WHERE v.name = serve_version.name AND v.version = to_version;
    END IF;
    RETURN EXISTS (SELECT FROM actum.versions AS v WHERE v.name = serve_version.name
                   AND v.version = to_version AND v.is_serving);
END $$;

-- Deletes some of a version that does not serve; answers whether there is more. From the first call
-- on it can neither serve nor be built: who folds it finds its lease lost.
CREATE FUNCTION actum.drop_version(name text, version bigint, at_most integer)
RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    dropped text := drop_version.name || '@' || drop_version.version;
    gone integer;
BEGIN
    UPDATE actum.versions AS v SET is_dropping = true
    WHERE v.name = drop_version.name AND v.version = drop_version.version AND NOT v.is_serving;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- The rows stay: the tokens of a name never go back.
    UPDATE actum.leases AS l SET token = l.token + 1, expires_at = clock_timestamp()
    WHERE starts_with(l.name, dropped || '/');
    DELETE FROM actum.checkpoints AS c WHERE c.model = dropped;
    DELETE FROM actum.documents AS d WHERE d.ctid = ANY (ARRAY(
        SELECT d.ctid FROM actum.documents AS d WHERE d.model = dropped LIMIT at_most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone = at_most THEN
        RETURN true;
    END IF;
    DELETE FROM actum.parked_events AS e WHERE e.ctid = ANY (ARRAY(
        SELECT e.ctid FROM actum.parked_events AS e WHERE e.model = dropped
        LIMIT at_most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone = at_most THEN
        RETURN true;
    END IF;
    DELETE FROM actum.parked AS p WHERE p.ctid = ANY (ARRAY(
        SELECT p.ctid FROM actum.parked AS p WHERE p.model = dropped LIMIT at_most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone = at_most THEN
        RETURN true;
    END IF;
    DELETE FROM actum.skipped AS s WHERE s.ctid = ANY (ARRAY(
        SELECT s.ctid FROM actum.skipped AS s WHERE s.model = dropped LIMIT at_most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone = at_most THEN
        RETURN true;
    END IF;
    DELETE FROM actum.versions AS v
    WHERE v.name = drop_version.name AND v.version = drop_version.version;
    RETURN false;
END $$;
