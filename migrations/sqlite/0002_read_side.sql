-- What read models keep. Leases are in the memory of the one process that has the file.
CREATE TABLE documents (
    model TEXT NOT NULL,  -- name@version
    key   TEXT NOT NULL,
    body  TEXT NOT NULL,  -- JSON
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;

-- A partition of a read model, and the last step that was taken: its number under the lease whose
-- token it was written under.
CREATE TABLE checkpoints (
    model     TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    log_id    BLOB    NOT NULL,
    position  INTEGER NOT NULL,
    event_id  BLOB    NOT NULL,
    token     INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    PRIMARY KEY (model, partition)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER checkpoints_do_not_go_back BEFORE UPDATE ON checkpoints
WHEN NEW.position < OLD.position
BEGIN SELECT RAISE(ABORT, 'a checkpoint does not go back'); END;

-- Keys that stand still at an event that cannot be applied, and what somebody wants done.
CREATE TABLE parked (
    model          TEXT    NOT NULL,
    key            TEXT    NOT NULL,
    partition      INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    event          TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    since          INTEGER NOT NULL,  -- microseconds since 1970, UTC
    unlisted_from  INTEGER,  -- events from this position on are not in parked_events
    unlisted_sum   INTEGER NOT NULL DEFAULT 0,  -- checksum of these events' positions
    request        TEXT    CHECK (request IN ('retry', 'skip')),
    request_reason TEXT,
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;

-- The events that wait behind them, up to a number for each key.
CREATE TABLE parked_events (
    model    TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (model, key, position),
    FOREIGN KEY (model, key) REFERENCES parked (model, key) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Events that were left out because somebody said so.
CREATE TABLE skipped (
    model      TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    position   INTEGER NOT NULL,
    event      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    skipped_at INTEGER NOT NULL,  -- microseconds since 1970, UTC
    PRIMARY KEY (model, key, position)
) STRICT, WITHOUT ROWID;

-- Open work of a partition: items that events opened and that are not done yet.
CREATE TABLE open_work (
    model       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    id          TEXT    NOT NULL,
    key         TEXT    NOT NULL,  -- items with the same key are done one after the other
    position    INTEGER NOT NULL,  -- of the event that opened it
    due_at      INTEGER NOT NULL,  -- microseconds since 1970, UTC
    attempts    INTEGER NOT NULL,
    reason      TEXT,
    command_key TEXT,  -- a row of commands that is not to be forgotten
    body        TEXT    NOT NULL,
    PRIMARY KEY (model, partition, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX open_work_by_due_time ON open_work (model, partition, due_at, id);
CREATE INDEX open_work_by_command_key ON open_work (command_key) WHERE command_key IS NOT NULL;

-- The versions of read models; of a name, one serves.
CREATE TABLE versions (
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    partitions  INTEGER NOT NULL,
    is_serving  INTEGER NOT NULL,
    has_served  INTEGER NOT NULL,  -- it serves, or did once
    is_dropping INTEGER NOT NULL DEFAULT 0,
    sources     TEXT,  -- fingerprint of the sources and keys it was begun with
    comparison  TEXT,  -- JSON: with the version that served before it
    PRIMARY KEY (name, version),
    CHECK (NOT (is_serving AND is_dropping)),
    CHECK (has_served OR NOT is_serving)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_version_serves ON versions (name) WHERE is_serving;
