-- What read models keep, and which process owns what.
CREATE TABLE actum.documents (
    model text COLLATE "C" NOT NULL,  -- name@version
    key   text COLLATE "C" NOT NULL,
    body  json NOT NULL,
    bytes integer GENERATED ALWAYS AS (octet_length(body::text)) STORED,
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
    lasts      interval    NOT NULL, -- the duration it was last granted for
    expires_at timestamptz NOT NULL  -- by this server's clock
);

-- Tells a lease or membership that is held from one that has expired. A row with longer to live than
-- it was granted for has expired too: the clock was set back since, or somebody edited the row. The
-- second allows for small corrections of the clock, the day for a duration that was edited.
CREATE FUNCTION actum.is_running(expires_at timestamptz, lasts interval)
RETURNS boolean LANGUAGE sql AS $$
    SELECT expires_at > clock_timestamp()
       AND expires_at <= clock_timestamp() + least(lasts, interval '1 day') + interval '1 second'
$$;

-- The processes that could own partitions of a read model, and until when they are known.
CREATE TABLE actum.members (
    model      text        COLLATE "C" NOT NULL,
    process    uuid        NOT NULL,
    lasts      interval    NOT NULL, -- the duration it was last announced for
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
    unlisted_from  bigint,  -- events from this position on are not in parked_events
    unlisted_sum   bigint      NOT NULL DEFAULT 0, -- checksum of these events' positions
    request        text        CHECK (request IN ('retry', 'skip')),
    request_reason text,
    PRIMARY KEY (model, key)
);

-- The events that wait behind them, up to a number for each key.
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
    has_served  boolean NOT NULL,  -- it serves, or did once
    is_dropping boolean NOT NULL DEFAULT false,
    sources     text,  -- fingerprint of the sources and keys it was begun with
    comparison  text,  -- JSON: with the version that served before it
    PRIMARY KEY (name, version),
    CHECK (NOT (is_serving AND is_dropping)),
    CHECK (has_served OR NOT is_serving)
);
CREATE UNIQUE INDEX one_version_serves ON actum.versions (name) WHERE is_serving;

-- Applies what changes of parked keys come to; see `Parking` in store/parked.rs.
CREATE FUNCTION actum.park(model text, changes json) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    stood record;
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

    -- One by one: joined, each would cost a look at all that is queued.
    FOR stood IN SELECT * FROM json_to_recordset(changes -> 'parked') AS new (key text, done_to bigint)
    LOOP
        DELETE FROM actum.parked_events AS queued
        WHERE queued.model = park.model AND queued.key = stood.key
        AND queued.position <= stood.done_to;
    END LOOP;

    FOR stood IN SELECT value ->> 0 AS key, (value ->> 1)::bigint AS forgotten_from,
                        (value ->> 2)::bigint AS unlisted_from,
                        (value ->> 3)::bigint AS unlisted_sum
                 FROM json_array_elements(changes -> 'unlisted')
    LOOP
        UPDATE actum.parked AS p
        SET unlisted_from = stood.unlisted_from, unlisted_sum = stood.unlisted_sum
        WHERE p.model = park.model AND p.key = stood.key;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the key % is not parked', stood.key;
        END IF;
        DELETE FROM actum.parked_events AS queued
        WHERE queued.model = park.model AND queued.key = stood.key
        AND queued.position >= stood.forgotten_from;
    END LOOP;

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

-- Stores an update of a partition's checkpoint if the lease is the writer's and the update continues
-- from what is stored; see `continues` in store/kit/checkpoint_rule.rs. Returns what it found. The
-- lease stays locked to the end of the transaction. `changes` are those of parked keys, NULL for none.
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

-- Takes a step, and with it stores the documents that changed and deletes those that are gone.
CREATE FUNCTION actum.save_documents(
    model text, partition integer, token bigint, step bigint, from_position bigint,
    log_id uuid, "position" bigint, event_id uuid, changes text, keys text[], bodies text[],
    deleted text[],
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
        DELETE FROM actum.documents AS d
        WHERE d.model = save_documents.model AND d.key = ANY (deleted);
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
        UPDATE actum.versions AS v SET is_serving = true, has_served = true
        WHERE v.name = serve_version.name AND v.version = to_version;
    END IF;
    RETURN EXISTS (SELECT FROM actum.versions AS v WHERE v.name = serve_version.name
                   AND v.version = to_version AND v.is_serving);
END $$;

-- Deletes some of a version that does not serve; answers whether there is more. From the first call
-- on it can neither serve nor be built: who folds it finds its lease lost. Its row in versions stays,
-- because the schema of a projection is yet to be dropped.
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
    RETURN false;
END $$;
