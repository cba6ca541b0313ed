-- A version of a read model or of anything else that follows the log can be paused.
ALTER TABLE actum.versions ADD COLUMN pause text;  -- JSON: reason and time; NULL or empty if it is not paused

-- Stores an update that moves a checkpoint back, because an operator wants events handled again. The
-- row is replaced, because an UPDATE may not go back. All else is the rule of `advance`.
CREATE FUNCTION actum.replay(
    model text, partition integer, token bigint, step bigint, from_position bigint,
    log_id uuid, "position" bigint, event_id uuid, changes text,
    OUT is_owner boolean, OUT is_taken boolean, OUT stored_token bigint, OUT stored_step bigint,
    OUT stored_log_id uuid, OUT stored_position bigint, OUT stored_event_id uuid
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    continues_from bigint := from_position;
BEGIN
    PERFORM FROM actum.leases AS l
    WHERE l.name = replay.model || '/' || replay.partition AND l.token = replay.token FOR UPDATE;
    IF FOUND THEN
        DELETE FROM actum.checkpoints AS c
        WHERE c.model = replay.model AND c.partition = replay.partition
        AND c.position = from_position AND (c.token, c.step) < (replay.token, replay.step);
        IF FOUND THEN
            continues_from := 0;
        END IF;
    END IF;
    SELECT * INTO is_owner, is_taken, stored_token, stored_step, stored_log_id, stored_position,
                  stored_event_id
    FROM actum.advance($1, $2, $3, $4, continues_from, $6, $7, $8, $9);
END $$;
