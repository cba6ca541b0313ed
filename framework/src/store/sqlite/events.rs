//! Reading the log: pages in one row each, on connections that cannot write.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::SqliteStore;
use super::commands::Prune;
use super::open::Opening;
use super::page::{LOG_PAGE, LOG_ROWS, PICKED, PICKED_ROWS, STREAM_PAGE, STREAM_ROWS};
use super::side_write::SideWrite;
use crate::command::{Claim, CommandKey};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, Page, PageLimit, StoreInfo,
};
use crate::store::kit::version_check::confirmation;
use crate::store::sql::numbers::{assert_dense, is_beyond, past_command, possible};

/// Maximum number of positions that one filtered read looks at, however few events pass.
const FILTERED_SCAN: u64 = 20_000;

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        self.committer.append(appends).await
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
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
        .bind(command.as_ref().map(|key| key.id.clone()))
        .fetch_one(&mut *reader)
        .await
        .map_err(|e| self.unavailable(&e))?;
        let past = match (&command, row.get::<Option<Vec<u8>>, _>(1)) {
            (Some(key), Some(fingerprint)) => {
                let past = past_command(&fingerprint, row.get(2), row.get(3));
                Some((key, past.map_err(|e| self.corrupt(format!("command {:?}", key.id), e))?))
            }
            _ => None,
        };
        let actual = StreamVersion(row.get::<i64, _>(0) as u64);
        Ok(confirmation(past.as_ref().map(|(key, past)| (*key, past)), actual, version))
    }

    async fn read_stream(
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

    async fn read_all(
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
        // Bounded only with a filter: without one every position is an event, so the page limit
        // bounds the work.
        let up_to = match types {
            Some(_) => after.0.saturating_add(FILTERED_SCAN).min(i64::MAX as u64) as i64,
            None => i64::MAX,
        };
        let bind = |sql| sqlx::query(sql).bind(after.0 as i64).bind(up_to).bind(types.clone());
        let (row, events) = self.page(&mut reader, LOG_PAGE, LOG_ROWS, bind, limit).await?;
        let (is_full, last, head): (bool, i64, i64) = (row.get(1), row.get(2), row.get(3));
        // A full page has scanned only up to its last event. Otherwise events that did not fit
        // would be skipped.
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

    async fn read_positions(
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

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        self.read_claim_holder(Claim::take(kind, value)).await
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        let prune = Prune { recorded_before, at_most };
        self.write_beside(SideWrite::Prune(prune)).await
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        self.keep_program(name).await
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        let mut reader = self.reader().await?;
        let head = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events")
            .fetch_one(&mut *reader)
            .await;
        head.map(|head: i64| GlobalPosition(head as u64)).map_err(|e| self.unavailable(&e))
    }

    fn info(&self) -> StoreInfo {
        let Opening { held, trouble, wal_bytes, settings, .. } = &*self.opening;
        let mut info = StoreInfo::new(self.identity);
        info.is_sole_writer = true; // the lock on the file keeps other processes out
        info.is_only_handle = self.handle.is_only_one();
        info.keeps_snapshots = true;
        info.has_projections = true;
        info.trouble = held.check().err().or_else(|| trouble.now());
        info.wal_bytes = Some(wal_bytes.load(Ordering::Relaxed));
        info.settings = settings.all();
        info
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.head.clone()
    }

    async fn release(&self) -> Result<(), StoreError> {
        match Arc::strong_count(&self.handles) {
            1 => self.close().await,
            _ => Ok(()),
        }
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
    // The count is read from an index alone, so density costs little when it holds, which is nearly
    // always.
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
