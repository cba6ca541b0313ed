-- The log and what stands beside it. One row of `log` says which log this is. Another schema than
-- `actum` is chosen by replacing the name, and the number of the writer lock, in this text: see
-- store/sql/postgres/schema.rs.
CREATE TABLE actum.log (
    one        integer     PRIMARY KEY CHECK (one = 1),
    log_id     uuid        NOT NULL,
    epoch      bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    program    text        -- the name of the application that appends; NULL before its first start
);
INSERT INTO actum.log VALUES (1, gen_random_uuid(), 1, clock_timestamp(), NULL);

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
    recorded_at    timestamptz NOT NULL,  -- nothing sorts by it
    -- Size of payload and metadata: a page is cut by it without reading what is stored apart.
    bytes          integer     GENERATED ALWAYS AS
                   (octet_length(payload::text) + octet_length(metadata::text)) STORED
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

-- Compares with the history that a process knows: its log, and events by their positions. A position
-- alone names no place: a log that was rewound reaches it again with another event.
CREATE FUNCTION actum.is_same_history(
    log_id uuid, epoch bigint, positions bigint[], event_ids uuid[]
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$  -- not sql: that is planned anew for each statement
#variable_conflict use_column
BEGIN
    RETURN EXISTS (SELECT FROM actum.log AS l
                   WHERE l.one = 1 AND l.log_id = $1 AND l.epoch = $2)
       AND NOT EXISTS (SELECT FROM unnest($3, $4) AS seen (place, id)
                       WHERE NOT EXISTS (SELECT FROM actum.events AS e
                                         WHERE e.position = seen.place AND e.event_id = seen.id));
END $$;

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

-- The outcome of each command that came with a key; written with its events. Its stream is that of the
-- event at its position.
CREATE TABLE actum.commands (
    command_id  text        COLLATE "C" PRIMARY KEY,
    fingerprint bytea       NOT NULL,
    version     bigint      NOT NULL,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL  -- they are kept so long from it
);
CREATE INDEX commands_by_age ON actum.commands (recorded_at);

-- Who holds what there may be one of; written with the events that take and release it.
CREATE TABLE actum.claims (
    kind        text   COLLATE "C" NOT NULL,
    value       text   COLLATE "C" NOT NULL,
    stream_type text   COLLATE "C" NOT NULL,
    stream_id   text   COLLATE "C" NOT NULL,
    position    bigint NOT NULL,  -- of the last event that was stored with it
    PRIMARY KEY (kind, value)
);

CREATE TABLE actum.snapshots (
    stream_type   text    COLLATE "C" NOT NULL,
    stream_id     text    COLLATE "C" NOT NULL,
    version       bigint  NOT NULL,
    position      bigint  NOT NULL,
    event_id      uuid    NOT NULL,  -- of the event at that version
    state_version integer NOT NULL,
    state         json    NOT NULL,
    checksum      bytea   NOT NULL,
    PRIMARY KEY (stream_type, stream_id)
);

-- Stores the events and commands of each stream whose state is as its writer assumed, and of no
-- other (with `all_or_none`, of none if one is not); answers the state it found. Called as one
-- statement of its own, so that no client, however it dies, ever sits on the writer lock.
--
-- A stream holds if it is at the expected version (NULL: at any), none of its commands is known and
-- each of its claims has the holder assumed (NULL: nobody); with `find_events`, also none of its events. (Those of one that does not hold may stand where it
-- moved to: they were sent before.) Events and commands name their stream by its place in
-- `stream_types`, events in the order of their positions. `event_offsets` count within a stream from
-- its version; `command_events` are the places of each command's last event, 0 for none. What was
-- `refused` on the assumptions is not stored, but looked for. `claim_events` are the places of the
-- events that take each claim; 0: it is released, NULL: it stays as it is.
--
-- Nothing is looked for or stored if the log is another one than its writer knows, or lacks an event
-- that it knows: what it wants to store was decided on a history that is gone.
CREATE FUNCTION actum.append(
    log_id uuid, epoch bigint, seen_positions bigint[], seen_event_ids uuid[],
    stream_types text[], stream_ids text[], expected bigint[],
    event_streams integer[], event_offsets bigint[], event_stream_types text[],
    event_stream_ids text[], event_ids uuid[], event_types text[], schema_versions integer[],
    payloads text[], metadatas text[], recorded_at timestamptz,
    command_streams integer[], command_ids text[], fingerprints bytea[],
    command_offsets bigint[], command_events integer[],
    find_events boolean, all_or_none boolean,
    refused_event_streams integer[], refused_event_ids uuid[],
    refused_command_streams integer[], refused_command_ids text[],
    claim_streams integer[], claim_kinds text[], claim_values text[],
    claim_holder_types text[], claim_holder_ids text[], claim_events integer[],
    OUT is_same_history boolean, OUT head_event_id uuid,
    OUT head bigint, OUT versions bigint[], OUT positions bigint[], OUT held boolean[],
    OUT known_ids text[], OUT known_fingerprints bytea[], OUT known_versions bigint[],
    OUT known_positions bigint[],
    OUT stored_ids uuid[], OUT stored_types text[], OUT stored_streams text[],
    OUT stored_versions bigint[], OUT stored_positions bigint[],
    OUT claimed_kinds text[], OUT claimed_values text[], OUT claimed_types text[], OUT claimed_ids text[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    places bigint[];  -- of the events, once those of streams that do not hold are left out
    stream integer;
    contested integer[];  -- streams that counted on claims which others hold
BEGIN
    -- A statement of its own: the ones after it see what the writer before committed.
    PERFORM pg_advisory_xact_lock(1633907821, 1);

    is_same_history :=
        actum.is_same_history(append.log_id, append.epoch, seen_positions, seen_event_ids);
    IF NOT is_same_history THEN
        RETURN;
    END IF;

    SELECT position, event_id INTO head, head_event_id
    FROM actum.events ORDER BY position DESC LIMIT 1;
    head := coalesce(head, 0);
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

    IF cardinality(claim_kinds) > 0 THEN
        SELECT array_agg(asked.kind), array_agg(asked.value), array_agg(c.stream_type),
               array_agg(c.stream_id), array_agg(asked.stream) FILTER (
                   WHERE (c.stream_type, c.stream_id)
                   IS DISTINCT FROM (asked.holder_type, asked.holder_id))
        INTO claimed_kinds, claimed_values, claimed_types, claimed_ids, contested
        FROM unnest(claim_streams, claim_kinds, claim_values, claim_holder_types, claim_holder_ids)
             AS asked (stream, kind, value, holder_type, holder_id)
        LEFT JOIN actum.claims AS c ON c.kind = asked.kind AND c.value = asked.value;
        FOREACH stream IN ARRAY coalesce(contested, '{}') LOOP
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
        SELECT c.id, c.fingerprint, versions[c.stream] + c.version,
               CASE WHEN c.event = 0 THEN positions[c.stream]
                    ELSE head + coalesce(places[c.event], c.event) END,
               append.recorded_at
        FROM unnest(command_streams, command_ids, fingerprints, command_offsets, command_events)
             AS c (stream, id, fingerprint, version, event)
        WHERE held[c.stream];
    END IF;

    IF cardinality(claim_kinds) > 0 THEN
        DELETE FROM actum.claims AS c
        USING unnest(claim_streams, claim_kinds, claim_values, claim_holder_types, claim_events)
              AS asked (stream, kind, value, holder, event)
        WHERE c.kind = asked.kind AND c.value = asked.value AND held[asked.stream]
        AND asked.holder IS NOT NULL AND asked.event IS NOT NULL;
        INSERT INTO actum.claims
        SELECT asked.kind, asked.value, stream_types[asked.stream], stream_ids[asked.stream],
               head + coalesce(places[asked.event], asked.event)
        FROM unnest(claim_streams, claim_kinds, claim_values, claim_events)
             AS asked (stream, kind, value, event)
        WHERE held[asked.stream] AND asked.event > 0;
    END IF;
END $$;
