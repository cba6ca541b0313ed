-- The log and what stands beside it. One row of `log` says which log this is.
CREATE TABLE log (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    log_id     BLOB    NOT NULL CHECK (length(log_id) = 16),
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- microseconds since 1970, UTC
    program    TEXT              -- the name of the application that appends; NULL before its first start
) STRICT;
INSERT INTO log VALUES (1, randomblob(16), 1, CAST(unixepoch('subsec') * 1000000 AS INTEGER), NULL);

-- The mark that binds a write-ahead log to this file: each transaction writes its own and the one
-- before it. A blob of a fixed size, so that it is found in a page without SQLite.
CREATE TABLE wal_origin (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    mark BLOB    NOT NULL CHECK (length(mark) = 56)
) STRICT;
INSERT INTO wal_origin VALUES (1, zeroblob(56));

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

-- The outcome of each command that came with a key; written with its events. Its stream is that of the
-- event at its position. Clients choose the keys, at random: so only the index is written to all over,
-- and the rows stand in the order in which they were recorded.
CREATE TABLE commands (
    number      INTEGER PRIMARY KEY,
    command_id  TEXT    NOT NULL UNIQUE,
    fingerprint BLOB    NOT NULL,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL  -- microseconds since 1970, UTC; they are kept so long from it
) STRICT;

-- Who holds what there may be one of; written with the events that take and release it.
CREATE TABLE claims (
    kind        TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    stream_type TEXT    NOT NULL,
    stream_id   TEXT    NOT NULL,
    position    INTEGER NOT NULL,  -- of the last event that was stored with it
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    stream_type   TEXT    NOT NULL,
    stream_id     TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    event_id      BLOB    NOT NULL,  -- of the event at that version
    state_version INTEGER NOT NULL,
    state         TEXT    NOT NULL,  -- JSON
    checksum      BLOB    NOT NULL,
    PRIMARY KEY (stream_type, stream_id)
) STRICT;
