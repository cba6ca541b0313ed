//! Reading the log, on connections that do not write.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::PostgresStore;
use super::connections::Purpose;
use super::fault::Fault;
use super::history::{Known, Place};
use super::timestamp::Timestamp;
use crate::command::{Claim, CommandKey};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    Append, AppendOutcome, Confirmation, EventStore, Filter, Page, PageLimit, StoreInfo,
};
use crate::store::kit::version_check::confirmation;
use crate::store::sql::numbers::{assert_dense, is_beyond, most, past_command, possible};

macro_rules! event_columns {
    () => {
        "position, stream_type, stream_id, version, event_id, event_type, schema_version, payload,
         metadata, recorded_at"
    };
}

/// The first four parameters are those of `is_same_history`, which is computed once and not per row.
macro_rules! columns {
    () => {
        concat!(event_columns!(), ", (SELECT is_same_history($1, $2, $3, $4)) AS is_same_history")
    };
}

/// The first rows of `$from` whose bytes fit into `$bytes`, one at least. Mostly all fit, which one
/// cheap sum shows; only otherwise is the running sum needed, which costs a third more for each row.
/// `bytes` is a column of its own, so that no row is read that is not wanted: payloads of some size
/// are stored apart.
macro_rules! page {
    ($from:expr, $events:literal, $bytes:literal) => {
        concat!(
            "WITH whole AS MATERIALIZED (SELECT coalesce(sum(bytes), 0) <= ",
            $bytes,
            " AS fits FROM (SELECT bytes FROM events WHERE ",
            $from,
            " LIMIT ",
            $events,
            ") AS rows) (SELECT ",
            columns!(),
            " FROM events WHERE (SELECT fits FROM whole) AND ",
            $from,
            " LIMIT ",
            $events,
            ") UNION ALL (SELECT ",
            columns!(),
            " FROM (SELECT *, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) AS total FROM
               (SELECT * FROM events WHERE NOT (SELECT fits FROM whole) AND ",
            $from,
            " LIMIT ",
            $events,
            ") AS rows) AS rows WHERE total <= ",
            $bytes,
            " OR total = bytes)"
        )
    };
}

const STREAM_PAGE: &str =
    page!("stream_type = $5 AND stream_id = $6 AND version > $7 ORDER BY version", "$8", "$9");

const LOG_PAGE: &str = page!("position > $5 ORDER BY position", "$6", "$7");

const PICKED: &str = page!("position = ANY ($5) ORDER BY position", "$6", "$7");

/// The page and the head: of one moment, because of one statement. Without a page one row of it. The
/// row that would exceed the bytes comes too, without its payload: it tells that the page was cut.
const FILTERED_PAGE: &str = "SELECT head.head, head.is_same_history, page.* FROM
      (SELECT coalesce(max(position), 0) AS head,
              (SELECT is_same_history($1, $2, $3, $4)) AS is_same_history FROM events) AS head
     LEFT JOIN (SELECT position, stream_type, stream_id, version, event_id, event_type,
      schema_version, metadata, recorded_at, total > $9 AND total <> bytes AS is_beyond,
      CASE WHEN total <= $9 OR total = bytes THEN payload END AS payload
      FROM (SELECT *, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) AS total,
             first_value(bytes) OVER (ROWS UNBOUNDED PRECEDING) AS first_bytes FROM
       (SELECT * FROM events WHERE position > $5 AND position <= $7
        AND stream_type = ANY ($8) ORDER BY position LIMIT $6) AS rows) AS rows
      WHERE total - bytes <= greatest($9, first_bytes)) AS page ON true ORDER BY page.position";

/// Query for the end of the log. One row also when the log is empty.
pub(super) const HEAD: &str = "SELECT known.is_same_history, last.position, last.event_id FROM
      (SELECT is_same_history($1, $2, $3, $4) AS is_same_history) AS known
     LEFT JOIN (SELECT position, event_id FROM events ORDER BY position DESC LIMIT 1) AS last ON true";

const CONFIRM: &str = "SELECT (SELECT coalesce(max(version), 0) FROM events
             WHERE stream_type = $5 AND stream_id = $6),
            past.fingerprint, past.version, past.position, known.is_same_history
     FROM (SELECT is_same_history($1, $2, $3, $4) AS is_same_history) AS known
     LEFT JOIN commands AS past ON past.command_id = $7";

/// Maximum number of positions that one filtered read looks at, however few events pass.
const FILTERED_SCAN: u64 = 20_000;

impl PostgresStore {
    pub(super) fn unavailable(&self, fault: &Fault) -> StoreError {
        fault.unavailable(&self.place)
    }

    async fn read_filtered_page(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        let up_to = after.0.saturating_add(FILTERED_SCAN).min(i64::MAX as u64);
        let types = filter.aggregate_types.clone();
        let page = move |known: &Known| {
            known
                .bind(sqlx::query(FILTERED_PAGE))
                .bind(after.0 as i64)
                .bind(most(limit.events))
                .bind(up_to as i64)
                .bind(types.clone())
                .bind(most(limit.bytes))
        };
        let rows = self.connections.known_rows(Purpose::Log, page, last_event);
        let mut rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let head = rows.first().map_or(0, |row| row.get::<i64, _>("head") as u64);
        let is_beyond = |row: &PgRow| row.get::<Option<bool>, _>("is_beyond");
        // A page that ends early has scanned only up to its last event. Otherwise events that did
        // not fit would be skipped.
        let is_cut =
            rows.len() >= limit.events || rows.iter().any(|row| is_beyond(row) == Some(true));
        rows.retain(|row| is_beyond(row) == Some(false));
        let events = recorded(&rows)?;
        let scanned_to = match events.last() {
            Some(last) if is_cut => last.position.0,
            // No event of these types up to here, so the reader need not look at this range again.
            _ => head.min(up_to).max(after.0),
        };
        // The rows that were read have gaps by design, so density needs a count of its own.
        self.check_dense(after.0, scanned_to).await?;
        let events = events.into_iter().map(Arc::new).collect();
        Ok(Page { events, scanned_to: GlobalPosition(scanned_to) })
    }

    /// Asserts that no position is missing in a range of which only some events were read.
    async fn check_dense(&self, after: u64, up_to: u64) -> Result<(), StoreError> {
        let in_range = |sql: &'static str| {
            self.connections
                .rows(Purpose::Log, move || sqlx::query(sql).bind(after as i64).bind(up_to as i64))
        };
        let counted =
            in_range("SELECT count(*) FROM events WHERE position > $1 AND position <= $2");
        let counted = counted.await.map_err(|fault| self.unavailable(&fault))?;
        if counted.first().is_some_and(|row| row.get::<i64, _>(0) as u64 == up_to - after) {
            return Ok(());
        }
        // Only now the rows themselves: the count is cheap and nearly always right.
        let positions = in_range(
            "SELECT position FROM events WHERE position > $1 AND position <= $2
             ORDER BY position",
        );
        let positions = positions.await.map_err(|fault| self.unavailable(&fault))?;
        assert_dense("position", after, positions.iter().map(|row| row.get::<i64, _>(0) as u64))
    }
}

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        self.committer.append(appends).await
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        let known = command.as_ref().filter(|key| key.is_valid());
        let (asked, id) = (stream.clone(), known.map(|key| key.id.clone()));
        // One statement: version, command and history of the same moment.
        let confirm = move |known: &Known| {
            known
                .bind(sqlx::query(CONFIRM))
                .bind(asked.aggregate_type().to_owned())
                .bind(asked.id().to_owned())
                .bind(id.clone())
        };
        let rows = self.connections.known_rows(Purpose::Streams, confirm, |_| Ok(None)).await;
        let rows = rows.map_err(|fault| self.unavailable(&fault))?;
        let Some(row) = rows.first() else { return Err(corrupt(stream.as_str(), "no answer")) };
        let past = match (&command, row.get::<Option<Vec<u8>>, _>(1)) {
            (Some(key), Some(fingerprint)) => {
                let past = past_command(&fingerprint, row.get(2), row.get(3));
                let place = || format!("command {:?}", key.id);
                Some((key, past.map_err(|error| corrupt(place(), error))?))
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
        let asked = stream.clone();
        let page = move |known: &Known| {
            known
                .bind(sqlx::query(STREAM_PAGE))
                .bind(asked.aggregate_type().to_owned())
                .bind(asked.id().to_owned())
                .bind(after.0 as i64)
                .bind(most(limit.events))
                .bind(most(limit.bytes))
        };
        let rows = self.connections.known_rows(Purpose::Streams, page, last_event);
        let events = recorded(&rows.await.map_err(|fault| self.unavailable(&fault))?)?;
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
        if !filter.aggregate_types.is_empty() {
            return self.read_filtered_page(after, filter, limit).await;
        }
        let page = move |known: &Known| {
            known
                .bind(sqlx::query(LOG_PAGE))
                .bind(after.0 as i64)
                .bind(most(limit.events))
                .bind(most(limit.bytes))
        };
        let rows = self.connections.known_rows(Purpose::Log, page, last_event);
        let events = recorded(&rows.await.map_err(|fault| self.unavailable(&fault))?)?;
        assert_dense("position", after.0, events.iter().map(|e| e.position.0))?;
        let scanned_to = events.last().map_or(after, |last| last.position);
        Ok(Page { events: events.into_iter().map(Arc::new).collect(), scanned_to })
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let asked = possible(positions);
        let picked = move |known: &Known| {
            known
                .bind(sqlx::query(PICKED))
                .bind(asked.clone())
                .bind(most(limit.events))
                .bind(most(limit.bytes))
        };
        let rows = self.connections.known_rows(Purpose::Log, picked, last_event);
        let events = recorded(&rows.await.map_err(|fault| self.unavailable(&fault))?)?;
        Ok(events.into_iter().map(Arc::new).collect())
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        self.read_claim_holder(Claim::take(kind, value)).await
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        // Not under the writer lock, because no append touches these rows but one that is sent again
        // after all that time.
        let delete = move || {
            sqlx::query(
                "WITH gone AS (
                     DELETE FROM commands WHERE command_id IN (
                         SELECT command_id FROM commands WHERE recorded_at < $1
                         AND NOT EXISTS (SELECT FROM open_work
                                         WHERE command_key = commands.command_id)
                         ORDER BY recorded_at LIMIT $2)
                     RETURNING 1)
                 SELECT count(*) FROM gone",
            )
            .bind(recorded_before)
            .bind(most(at_most))
        };
        let row = self.connections.row(Purpose::Documents, delete).await;
        let gone: i64 = row.map_err(|fault| fault.not_written(&self.place))?.get(0);
        Ok(gone > 0 && gone >= most(at_most))
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        // The row is read first and locked only once, so that a role that may not update it can run when
        // another one has claimed the log.
        let kept = || sqlx::query("SELECT program FROM log");
        let row = self.connections.row(Purpose::Documents, kept).await;
        let row = row.map_err(|fault| self.unavailable(&fault))?;
        if let Some(kept) = row.get(0) {
            return Ok(kept);
        }
        let name = name.to_owned();
        let keep = move || {
            sqlx::query("UPDATE log SET program = coalesce(program, $1) RETURNING program")
                .bind(name.clone())
        };
        let row = self.connections.row(Purpose::Documents, keep).await;
        Ok(row.map_err(|fault| fault.not_written(&self.place))?.get(0))
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        let head = |known: &Known| known.bind(sqlx::query(HEAD));
        let rows = self.connections.known_rows(Purpose::Log, head, last_event).await;
        let rows = rows.map_err(|fault| self.unavailable(&fault))?;
        let head = rows.first().and_then(|row| row.get::<Option<i64>, _>("position"));
        Ok(GlobalPosition(head.unwrap_or_default() as u64))
    }

    fn info(&self) -> StoreInfo {
        let mut info = StoreInfo::new(self.identity);
        info.keeps_snapshots = true;
        info.has_projections = true;
        info.trouble = self.opening.history.lost().or_else(|| self.trouble.borrow().clone());
        info.settings = self.opening.settings.all();
        info
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.head.clone()
    }

    fn watch_history(&self) -> watch::Receiver<Option<String>> {
        self.opening.history.watch()
    }
}

/// The place of the last event among the rows, if there is one.
pub(super) fn last_event(rows: &[PgRow]) -> Result<Option<Place>, sqlx::Error> {
    let Some(row) = rows.last() else { return Ok(None) };
    let Some(position) = row.try_get::<Option<i64>, _>("position")? else { return Ok(None) };
    let event_id = row.try_get("event_id")?;
    Ok(Some(Place { position: GlobalPosition(position as u64), event_id }))
}

fn corrupt(place: impl Into<String>, reason: impl ToString) -> StoreError {
    StoreError::Corrupt { place: place.into(), reason: reason.to_string() }
}

fn recorded(rows: &[PgRow]) -> Result<Vec<RecordedEvent>, StoreError> {
    rows.iter()
        .map(|row| {
            event(row).map_err(|error| {
                let position = row.try_get::<i64, _>("position").unwrap_or_default();
                corrupt(format!("position {position}"), error)
            })
        })
        .collect()
}

fn event(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let stream = StreamId::new(row.try_get("stream_type")?, row.try_get("stream_id")?);
    Ok(RecordedEvent {
        position: GlobalPosition(row.try_get::<i64, _>("position")? as u64),
        stream: stream.map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        version: StreamVersion(row.try_get::<i64, _>("version")? as u64),
        event_id: row.try_get("event_id")?,
        event_type: row.try_get("event_type")?,
        schema_version: row.try_get::<i32, _>("schema_version")? as u32,
        payload: json(row, "payload")?,
        metadata: json(row, "metadata")?,
        recorded_at: row.try_get("recorded_at").map(|Timestamp(time)| time)?,
    })
}

/// The text of a `json` column, byte for byte as it was written: it travels as it is stored.
fn json(row: &PgRow, column: &str) -> Result<String, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    Ok(value.as_str().map_err(sqlx::Error::Decode)?.to_owned())
}
