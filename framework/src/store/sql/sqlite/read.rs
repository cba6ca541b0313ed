//! Reading the log: pages in one row each, on connections that cannot write.

use std::sync::Arc;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite};
use uuid::Uuid;

use super::reader::Reader;
use super::{SqliteStore, fault};
use crate::command::CommandKey;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::event_store::{Confirmation, Filter, Page};
use crate::snapshot::Snapshot;
use crate::store::plan::confirmation;
use crate::store::sql::numbers::{assert_dense, is_beyond, most, past_command, possible};
use crate::store::sql::packed::unpack;
use crate::stream::{GlobalPosition, StreamId, StreamVersion};

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

const STREAM_PAGE: &str = concat!(
    "SELECT concat('[', group_concat(packed, ','), ']') FROM (SELECT ",
    packed_row!(),
    " FROM events WHERE stream_type = ?1 AND stream_id = ?2 AND version > ?3
      ORDER BY version LIMIT ?4 + 0)"
);

const STREAM_ROWS: &str = concat!(
    "SELECT position, CAST(",
    "concat(stream_type, '-', stream_id, ' version ', version)",
    " AS BLOB), CAST(packed AS BLOB) FROM (SELECT *, ",
    packed_row!(),
    " FROM events WHERE stream_type = ?1 AND stream_id = ?2 AND version > ?3
      ORDER BY version LIMIT ?4 + 0)"
);

/// The page, its last position, and the head: of one moment, because of one statement.
const LOG_PAGE: &str = concat!(
    "SELECT concat('[', group_concat(packed, ','), ']'), count(*) = ?4, coalesce(max(position), 0),
      (SELECT coalesce(max(position), 0) FROM events)
     FROM (SELECT position, ",
    packed_row!(),
    " FROM events WHERE position > ?1 AND position <= ?2 AND (?3 IS NULL
        OR stream_type IN (SELECT value FROM json_each(?3)))
      ORDER BY position LIMIT ?4 + 0)"
);

/// The events at the positions asked for.
const PICKED: &str = concat!(
    "SELECT concat('[', group_concat(packed, ','), ']') FROM (SELECT ",
    packed_row!(),
    " FROM events WHERE position IN (SELECT value FROM json_each(?1)) ORDER BY position LIMIT ?2 + 0)"
);

const PICKED_ROWS: &str = concat!(
    "SELECT position, CAST(",
    "concat(stream_type, '-', stream_id, ' version ', version)",
    " AS BLOB), CAST(packed AS BLOB) FROM (SELECT *, ",
    packed_row!(),
    " FROM events WHERE position IN (SELECT value FROM json_each(?1)) ORDER BY position LIMIT ?2 + 0)"
);

const LOG_ROWS: &str = concat!(
    "SELECT position, CAST(",
    "concat(stream_type, '-', stream_id, ' version ', version)",
    " AS BLOB), CAST(packed AS BLOB) FROM (SELECT *, ",
    packed_row!(),
    " FROM events WHERE position > ?1 AND position <= ?2 AND (?3 IS NULL
        OR stream_type IN (SELECT value FROM json_each(?3)))
      ORDER BY position LIMIT ?4 + 0)"
);

/// How far one filtered read looks at most, however few events pass.
const FILTERED_SCAN: u64 = 20_000;

/// Version, position, event id, state version, state and checksum of a snapshot.
type SnapshotRow = (i64, i64, Vec<u8>, i64, String, Vec<u8>);

impl SqliteStore {
    pub(super) async fn reader(&self) -> Result<Reader, StoreError> {
        let connection = self.readers.acquire().await;
        connection.map(Reader::new).map_err(|e| self.unavailable(&e))
    }

    pub(super) fn unavailable(&self, error: &sqlx::Error) -> StoreError {
        fault::unavailable(&self.place, error)
    }

    pub(super) fn corrupt(&self, place: impl Into<String>, reason: impl ToString) -> StoreError {
        StoreError::Corrupt { place: place.into(), reason: reason.to_string() }
    }

    pub(super) async fn read_stream_page(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        if is_beyond(after.0, limit) {
            return Ok(Vec::new());
        }
        let mut reader = self.reader().await?;
        let bind = |sql| {
            sqlx::query(sql)
                .bind(stream.aggregate_type().to_owned())
                .bind(stream.id().to_owned())
                .bind(after.0 as i64)
        };
        let (_, events) = self.page(&mut reader, STREAM_PAGE, STREAM_ROWS, bind, limit).await?;
        let versions = events.iter().map(|event| event.version.0);
        assert_dense(&format!("version of {stream}"), after.0, versions)?;
        Ok(events)
    }

    pub(super) async fn read_log_page(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, StoreError> {
        if is_beyond(after.0, limit) {
            return Ok(Page { events: Vec::new(), scanned_to: after });
        }
        let mut reader = self.reader().await?;
        let types = match filter.aggregate_types.is_empty() {
            true => None,
            false => Some(
                serde_json::to_string(&filter.aggregate_types)
                    .map_err(|e| self.corrupt("a filter", e))?,
            ),
        };
        let up_to = match types {
            Some(_) => after.0.saturating_add(FILTERED_SCAN).min(i64::MAX as u64) as i64,
            None => i64::MAX,
        };
        let bind = |sql| sqlx::query(sql).bind(after.0 as i64).bind(up_to).bind(types.clone());
        let (row, events) = self.page(&mut reader, LOG_PAGE, LOG_ROWS, bind, limit).await?;
        let (is_full, last, head): (bool, i64, i64) = (row.get(1), row.get(2), row.get(3));
        let scanned_to = match is_full {
            true => last,
            false => head.min(up_to).max(after.0 as i64),
        } as u64;
        match types {
            None => assert_dense("position", after.0, events.iter().map(|e| e.position.0))?,
            Some(_) => assert_dense_range(&mut reader, after.0, scanned_to)
                .await
                .map_err(|e| self.unavailable(&e))??,
        }
        let events = events.into_iter().map(Arc::new).collect();
        Ok(Page { events, scanned_to: GlobalPosition(scanned_to) })
    }

    pub(super) async fn read_picked(
        &self,
        positions: &[GlobalPosition],
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let mut open = possible(positions);
        let (mut reader, mut found) = (self.reader().await?, Vec::with_capacity(open.len()));
        // Once, unless the page is too large for a text, or events are missing.
        while !open.is_empty() {
            let asked = serde_json::to_string(&open).map_err(|e| self.corrupt("positions", e))?;
            let bind = |sql| sqlx::query(sql).bind(asked.clone());
            let (_, page) = self.page(&mut reader, PICKED, PICKED_ROWS, bind, open.len()).await?;
            let Some(last) = page.last().map(|event| event.position.0 as i64) else { break };
            open.retain(|position| *position > last);
            found.extend(page.into_iter().map(Arc::new));
        }
        Ok(found)
    }

    /// A packed page and the row it came in; the limit is the last parameter. One that is too
    /// large for a text of SQLite is cut; one that does not parse is read by `rows` to say why.
    async fn page(
        &self,
        reader: &mut SqliteConnection,
        page: &'static str,
        rows: &'static str,
        bind: impl Fn(&'static str) -> Query<'static, Sqlite, SqliteArguments>,
        limit: usize,
    ) -> Result<(SqliteRow, Vec<RecordedEvent>), StoreError> {
        let mut limit = most(limit);
        let row = loop {
            match bind(page).bind(limit).fetch_one(&mut *reader).await {
                Ok(row) => break row,
                Err(error) if is_too_big(&error) && limit > 1 => limit = (limit / 16).max(1),
                Err(error) => return Err(self.unavailable(&error)),
            }
        };
        let unpacked = row.try_get::<String, _>(0).map_err(|e| e.to_string());
        match unpacked.and_then(|page| unpack(&page)) {
            Ok(events) => Ok((row, events)),
            Err(reason) => {
                let rows = bind(rows).bind(limit).fetch_all(reader).await;
                Err(self.diagnose(rows, reason))
            }
        }
    }

    /// Finds the row that spoils a page, to name its place.
    fn diagnose(&self, rows: Result<Vec<SqliteRow>, sqlx::Error>, reason: String) -> StoreError {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.unavailable(&error),
        };
        for row in rows {
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

    pub(super) async fn read_head(&self) -> Result<GlobalPosition, StoreError> {
        let mut reader = self.reader().await?;
        let head = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events")
            .fetch_one(&mut *reader)
            .await;
        head.map(|head: i64| GlobalPosition(head as u64)).map_err(|e| self.unavailable(&e))
    }

    pub(super) async fn read_confirmation(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        let mut reader = self.reader().await?;
        // One statement: version and command of the same moment.
        let row = sqlx::query(
            "SELECT (SELECT coalesce(max(version), 0) FROM events
                     WHERE stream_type = ?1 AND stream_id = ?2),
                    past.fingerprint, past.version, past.position
             FROM (SELECT 1) LEFT JOIN commands AS past ON past.command_id = ?3",
        )
        .bind(stream.aggregate_type().to_owned())
        .bind(stream.id().to_owned())
        .bind(command.map(|key| key.id.clone()))
        .fetch_one(&mut *reader)
        .await
        .map_err(|e| self.unavailable(&e))?;
        let past = match (command, row.get::<Option<Vec<u8>>, _>(1)) {
            (Some(key), Some(fingerprint)) => {
                let past = past_command(&fingerprint, row.get(2), row.get(3));
                Some((key, past.map_err(|e| self.corrupt(format!("command {:?}", key.id), e))?))
            }
            _ => None,
        };
        let actual = StreamVersion(row.get::<i64, _>(0) as u64);
        Ok(confirmation(past.as_ref().map(|(key, past)| (*key, past)), actual, version))
    }

    pub(super) async fn read_snapshot(
        &self,
        stream: &StreamId,
    ) -> Result<Option<Snapshot>, StoreError> {
        let mut reader = self.reader().await?;
        let row: Option<SnapshotRow> = sqlx::query_as(
            "SELECT version, position, event_id, state_version, state, checksum FROM snapshots
             WHERE stream_type = ? AND stream_id = ?",
        )
        .bind(stream.aggregate_type().to_owned())
        .bind(stream.id().to_owned())
        .fetch_optional(&mut *reader)
        .await
        .or_else(|error| match fault::primary_code(&error) {
            // The row is there and is no snapshot: it is as good as absent.
            None => Ok(None),
            Some(_) => Err(self.unavailable(&error)),
        })?;
        Ok(row.and_then(|(version, position, event_id, state_version, state, checksum)| {
            Some(Snapshot {
                stream: stream.clone(),
                version: StreamVersion(u64::try_from(version).ok()?),
                position: GlobalPosition(u64::try_from(position).ok()?),
                event_id: Uuid::from_slice(&event_id).ok()?,
                state_version: u32::try_from(state_version).ok()?,
                state,
                checksum: checksum.try_into().ok()?,
            })
        }))
    }

    pub(super) async fn read_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        let asked = serde_json::to_string(keys).map_err(|e| self.corrupt("a list of keys", e))?;
        let mut reader = self.reader().await?;
        let found = sqlx::query_as(
            "SELECT key, body FROM documents
             WHERE model = ? AND key IN (SELECT value FROM json_each(?))",
        )
        .bind(model.to_owned())
        .bind(asked)
        .fetch_all(&mut *reader)
        .await;
        found.map_err(|e| self.unavailable(&e))
    }

    pub(super) async fn read_documents_after(
        &self,
        model: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let sql = match after {
            None => "SELECT key, body FROM documents WHERE model = ?1 ORDER BY key LIMIT ?3 + 0",
            Some(_) => {
                "SELECT key, body FROM documents WHERE model = ?1 AND key > ?2
                 ORDER BY key LIMIT ?3 + 0"
            }
        };
        let mut reader = self.reader().await?;
        let page = sqlx::query_as(sql).bind(model.to_owned()).bind(after.map(str::to_owned));
        let page = page.bind(most(limit)).fetch_all(&mut *reader).await;
        page.map_err(|e| self.unavailable(&e))
    }
}

fn is_too_big(error: &sqlx::Error) -> bool {
    fault::primary_code(error) == Some(fault::TOO_BIG)
}

/// Asserts that no position is missing in a range of which only some events were read.
async fn assert_dense_range(
    reader: &mut SqliteConnection,
    after: u64,
    up_to: u64,
) -> Result<Result<(), StoreError>, sqlx::Error> {
    let range = "FROM events WHERE position > ?1 AND position <= ?2";
    // The range is the text above: what varies is bound.
    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) {range}"));
    let count: i64 = sqlx::query_scalar(count)
        .bind(after as i64)
        .bind(up_to as i64)
        .fetch_one(&mut *reader)
        .await?;
    if count as u64 == up_to - after {
        return Ok(Ok(()));
    }
    // The same range, as safe as above.
    let positions = sqlx::AssertSqlSafe(format!("SELECT position {range} ORDER BY position"));
    let positions: Vec<i64> = sqlx::query_scalar(positions)
        .bind(after as i64)
        .bind(up_to as i64)
        .fetch_all(&mut *reader)
        .await?;
    Ok(assert_dense("position", after, positions.into_iter().map(|p| p as u64)))
}
