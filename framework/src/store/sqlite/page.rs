//! A page of events in one row: the statements, and what becomes of the text they answer.
//!
//! A page ends before the event that would exceed its number of events or its bytes; one event comes
//! in any case. A row that cannot be read is named with its place.

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite};

use super::{SqliteStore, fault};
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::store::contract::PageLimit;
use crate::store::sql::numbers::most;
use crate::store::sql::packed::unpack;

// A limit is `? + 0`: SQLite (3.51, by its source) plans by the value of a bare `LIMIT ?`, and so
// compiles the statement anew each time that it is bound.

/// A row as `packed` reads it. Types and ids hold nothing that JSON would escape; payload and
/// metadata are JSON themselves.
macro_rules! packed_row {
    () => {
        "concat('[', position, ',\"', stream_type, '\",\"', stream_id, '\",', version, ',\"',
         hex(event_id), '\",\"', event_type, '\",', schema_version, ',', payload, ',', metadata,
         ',', recorded_at, ']') AS packed"
    };
}

/// Number of the first rows of `$from` that make a page of at most `$events` rows and `$bytes`
/// bytes, at least one. Mostly all fit, which one cheap sum shows. Only then is the running sum
/// avoided, which costs about a microsecond for each row. `octet_length` reads no payload, because
/// its length is in the row's head.
macro_rules! page_rows {
    ($from:expr, $events:literal, $bytes:literal) => {
        concat!(
            "(SELECT CASE WHEN (SELECT coalesce(sum(bytes), 0) FROM (SELECT ",
            "octet_length(payload) + octet_length(metadata) AS bytes FROM events WHERE ",
            $from,
            " LIMIT ",
            $events,
            " + 0)) <= ",
            $bytes,
            " THEN ",
            $events,
            " ELSE (SELECT max(1, count(*)) FROM (SELECT sum(bytes) OVER (ROWS UNBOUNDED PRECEDING)
             AS total FROM (SELECT octet_length(payload) + octet_length(metadata) AS bytes
             FROM events WHERE ",
            $from,
            " LIMIT ",
            $events,
            " + 0)) WHERE total <= ",
            $bytes,
            ") END)"
        )
    };
}

macro_rules! of_stream {
    () => {
        "stream_type = ?1 AND stream_id = ?2 AND version > ?3 ORDER BY version"
    };
}

macro_rules! of_log {
    () => {
        "position > ?1 AND position <= ?2 AND (?3 IS NULL
         OR stream_type IN (SELECT value FROM json_each(?3))) ORDER BY position"
    };
}

macro_rules! picked {
    () => {
        "position IN (SELECT value FROM json_each(?1)) ORDER BY position"
    };
}

/// The rows of a page one by one, to find the one that spoils it.
macro_rules! rows {
    ($from:expr, $limit:literal) => {
        concat!(
            "SELECT position, CAST(concat(stream_type, '-', stream_id, ' version ', version)
             AS BLOB), CAST(packed AS BLOB) FROM (SELECT *, ",
            packed_row!(),
            " FROM events WHERE ",
            $from,
            " LIMIT ",
            $limit,
            " + 0)"
        )
    };
}

pub(super) const STREAM_PAGE: &str = concat!(
    "SELECT concat('[', group_concat(packed, ','), ']') FROM (SELECT ",
    packed_row!(),
    " FROM events WHERE ",
    of_stream!(),
    " LIMIT ",
    page_rows!(of_stream!(), "?4", "?5"),
    ")"
);
pub(super) const STREAM_ROWS: &str = rows!(of_stream!(), "?4");

/// The page, whether it is full, its last position, and the head: of one moment, because of one
/// statement.
pub(super) const LOG_PAGE: &str = concat!(
    "WITH page(n) AS MATERIALIZED (SELECT ",
    page_rows!(of_log!(), "?4", "?5"),
    ") SELECT concat('[', group_concat(packed, ','), ']'), count(*) = (SELECT n FROM page),
      coalesce(max(position), 0), (SELECT coalesce(max(position), 0) FROM events)
     FROM (SELECT position, ",
    packed_row!(),
    " FROM events WHERE ",
    of_log!(),
    " LIMIT (SELECT n FROM page))"
);
pub(super) const LOG_ROWS: &str = rows!(of_log!(), "?4");

/// The events at the positions asked for.
pub(super) const PICKED: &str = concat!(
    "SELECT concat('[', group_concat(packed, ','), ']') FROM (SELECT ",
    packed_row!(),
    " FROM events WHERE ",
    picked!(),
    " LIMIT ",
    page_rows!(picked!(), "?2", "?3"),
    ")"
);
pub(super) const PICKED_ROWS: &str = rows!(picked!(), "?2");

/// The most bytes of one packed page, whatever its reader would take: a text of SQLite has at most a
/// billion, and names and ids come on top.
const MOST_BYTES: usize = 256 << 20;

impl SqliteStore {
    /// A packed page and the row it came in. The limits of events and of bytes are the last two
    /// parameters. A page that does not parse is read row by row, to name the row that is corrupt.
    pub(super) async fn page(
        &self,
        reader: &mut SqliteConnection,
        page: &'static str,
        rows: &'static str,
        bind: impl Fn(&'static str) -> Query<'static, Sqlite, SqliteArguments>,
        limit: PageLimit,
    ) -> Result<(SqliteRow, Vec<RecordedEvent>), StoreError> {
        let (mut events, bytes) = (most(limit.events), most(limit.bytes.min(MOST_BYTES)));
        let row = loop {
            match bind(page).bind(events).bind(bytes).fetch_one(&mut *reader).await {
                Ok(row) => break row,
                Err(error) if is_too_big(&error) && events > 1 => events = (events / 16).max(1),
                Err(error) => return Err(self.unavailable(&error)),
            }
        };
        // Borrowed, because a copy of the text would take as much memory as the page once more.
        match row.try_get::<&str, _>(0).map_err(|e| e.to_string()).and_then(unpack) {
            Ok(unpacked) => Ok((row, unpacked)),
            Err(reason) => Err(self.diagnose(bind(rows).bind(events), reader, reason).await),
        }
    }

    /// Finds the row that spoils a page, to name its place. One row is in memory at a time.
    async fn diagnose(
        &self,
        rows: Query<'static, Sqlite, SqliteArguments>,
        reader: &mut SqliteConnection,
        reason: String,
    ) -> StoreError {
        let mut rows = rows.fetch(reader);
        while let Some(row) = std::future::poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
            let row = match row {
                Ok(row) => row,
                Err(error) => return self.unavailable(&error),
            };
            let (position, place, packed): (i64, Vec<u8>, Vec<u8>) =
                (row.get(0), row.get(1), row.get(2));
            let unpacked = match std::str::from_utf8(&packed) {
                Ok(text) => unpack(&format!("[{text}]")).map(drop),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = unpacked {
                let place = String::from_utf8_lossy(&place);
                return self.corrupt(format!("position {position}, {place}"), reason);
            }
        }
        self.corrupt("a page of events whose rows are all readable", reason)
    }
}

fn is_too_big(error: &sqlx::Error) -> bool {
    fault::primary_code(error) == Some(fault::TOO_BIG)
}
