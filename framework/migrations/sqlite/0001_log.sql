-- The log and what stands beside it. One row of `log` says which log this is.
CREATE TABLE log (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    log_id     BLOB    NOT NULL CHECK (length(log_id) = 16),
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL  -- microseconds since 1970, UTC
) STRICT;
INSERT INTO log VALUES (1, randomblob(16), 1, CAST(unixepoch('subsec') * 1000000 AS INTEGER));

-- Positions are assigned by the writer, dense from 1. Never AUTOINCREMENT: it leaves holes.
CREATE TABLE events (
    position       INTEGER PRIMARY KEY CHECK (position > 0),
    stream_type    TEXT    NOT NULL,
    stream_id      TEXT    NOT NULL,
    version        INTEGER NOT NULL CHECK (version > 0),
    event_id       BLOB    NOT NULL CHECK (length(event_id) = 16),
    event_type     TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    payload        TEXT    NOT NULL,  -- JSON
    metadata       TEXT    NOT NULL,  -- JSON
    recorded_at    INTEGER NOT NULL   -- microseconds since 1970, UTC; nothing sorts by it
) STRICT;
CREATE UNIQUE INDEX events_by_stream ON events (stream_type, stream_id, version);
CREATE UNIQUE INDEX events_by_id ON events (event_id);

CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are immutable: no UPDATE'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are immutable: no DELETE'); END;

-- The outcome of each command that came with a key; written with its events.
CREATE TABLE commands (
    command_id  TEXT    PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    stream_type TEXT    NOT NULL,
    stream_id   TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    stream_type   TEXT    NOT NULL,
    stream_id     TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    state_version INTEGER NOT NULL,
    state         TEXT    NOT NULL,  -- JSON
    checksum      BLOB    NOT NULL,
    PRIMARY KEY (stream_type, stream_id)
) STRICT;

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
    request        TEXT    CHECK (request IN ('retry', 'skip')),
    request_reason TEXT,
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;

-- The events that wait behind them.
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

-- The versions of read models; of a name, one serves.
CREATE TABLE versions (
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    partitions  INTEGER NOT NULL,
    is_serving  INTEGER NOT NULL,
    is_dropping INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, version),
    CHECK (NOT (is_serving AND is_dropping))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_version_serves ON versions (name) WHERE is_serving;
