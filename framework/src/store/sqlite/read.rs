//! Reading the log: pages in one row each, on connections that cannot write.

use std::sync::Arc;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::page::{LOG_PAGE, LOG_ROWS, PICKED, PICKED_ROWS, STREAM_PAGE, STREAM_ROWS};
use super::reader::Reader;
use super::{SqliteStore, fault};
use crate::command::CommandKey;
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{Confirmation, Filter, Page, PageLimit, Snapshot};
use crate::store::kit::version_check::confirmation;
use crate::store::sql::numbers::{assert_dense, is_beyond, most, past_command, possible};

/// Documents within a number (`?3`) and a sum of bytes (`?4`), one at least.
macro_rules! document_page {
    ($from:literal) => {
        concat!(
            "SELECT key, body FROM documents WHERE model = ?1 AND key IN (SELECT key FROM (
               SELECT key, bytes, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) AS total FROM (
                 SELECT key, octet_length(body) AS bytes FROM documents WHERE ",
            $from,
            " ORDER BY key LIMIT ?3 + 0)) WHERE total <= ?4 OR total = bytes) ORDER BY key"
        )
    };
}

/// How far one filtered read looks at most, however few events pass.
const FILTERED_SCAN: u64 = 20_000;

/// Version, position, event id, state version, state and checksum of a snapshot.
type SnapshotRow = (i64, i64, Vec<u8>, i64, String, Vec<u8>);

impl SqliteStore {
    pub(super) async fn reader(&self) -> Result<Reader, StoreError> {
        // A new connection would read the file that is at the path now, with the index of the one that
        // was there.
        let opens_another = self.readers.num_idle() == 0
            && self.readers.size() < self.readers.options().get_max_connections();
        if opens_another {
            self.opening.held.check().map_err(StoreError::Unavailable)?;
        }
        let connection = self.readers.acquire().await;
        connection.map(Reader::new).map_err(|e| self.unavailable(&e))
    }

    pub(super) fn unavailable(&self, error: &sqlx::Error) -> StoreError {
        if fault::is_damaged(error) {
            self.opening.held.stop_writing(fault::explain(self.opening.path(), error));
        }
        fault::unavailable(&self.place, error)
    }

    pub(super) fn corrupt(&self, place: impl Into<String>, reason: impl ToString) -> StoreError {
        StoreError::Corrupt { place: place.into(), reason: reason.to_string() }
    }

    pub(super) async fn read_stream_page(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        if is_beyond(after.0, limit.events) {
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
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        if is_beyond(after.0, limit.events) {
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
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let possible = possible(positions);
        if possible.is_empty() || limit.events == 0 {
            return Ok(Vec::new());
        }
        let mut reader = self.reader().await?;
        let asked = serde_json::to_string(&possible).map_err(|e| self.corrupt("positions", e))?;
        let bind = |sql| sqlx::query(sql).bind(asked.clone());
        let (_, page) = self.page(&mut reader, PICKED, PICKED_ROWS, bind, limit).await?;
        Ok(page.into_iter().map(Arc::new).collect())
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
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        // Two statements: with `?2 IS NULL OR` the index would not be used to begin after a key.
        let sql = match after {
            None => document_page!("model = ?1"),
            Some(_) => document_page!("model = ?1 AND key > ?2"),
        };
        let mut reader = self.reader().await?;
        let page = sqlx::query_as(sql).bind(model.to_owned()).bind(after.map(str::to_owned));
        let page = page.bind(most(limit.events)).bind(most(limit.bytes));
        page.fetch_all(&mut *reader).await.map_err(|e| self.unavailable(&e))
    }
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
