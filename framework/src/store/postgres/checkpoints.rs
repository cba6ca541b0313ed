//! Checkpoints and parked keys: a step taken by a function of the migration, and what is read.

use async_trait::async_trait;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use time::OffsetDateTime;

use super::PostgresStore;
use super::connections::{Purpose, Statement};
use super::schema::Schema;
use super::timestamp::Timestamp;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, CheckpointUpdate, ParkedKey, ParkedPage, ParkedQuery,
    ParkedRequest, PartitionId, SkippedEvent,
};
use crate::store::kit::checkpoint_rule::{Stored, continues};
use crate::store::kit::open_work::WorkDelta;
use crate::store::kit::parked_keys::{ParkedDelta, text};
use crate::store::sql::numbers::most;

/// The statement that takes a step, to be one in a transaction. The lease is locked from there to
/// the end, so a client that is silent behind it must not stay. `log` is the log's schema, `rows`
/// that of the rows, which keeps a mark of the step: so rows without their checkpoint are
/// recognised.
pub(super) fn update_checkpoint(
    update: &CheckpointUpdate,
    log: &Schema,
    rows: &str,
) -> Result<Statement, StoreError> {
    // Both names hold only letters, digits and _.
    let call = AssertSqlSafe(format!(
        "WITH step AS MATERIALIZED (
             SELECT *, set_config('idle_in_transaction_session_timeout', '5000', true)
             FROM {log}.advance($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ), marked AS (
             INSERT INTO {rows}.actum_mark (partition, log_id, position, event_id, token, step)
             SELECT $2, $6, $7, $8, $3, $4 FROM step WHERE is_taken
             ON CONFLICT (partition) DO UPDATE SET log_id = excluded.log_id,
             position = excluded.position, event_id = excluded.event_id,
             token = excluded.token, step = excluded.step
         )
         SELECT * FROM step"
    ));
    let changes = changes(update)?;
    Ok(bound(sqlx::query(call), update, changes))
}

/// Changes that come with a checkpoint. A part without changes is absent, so that a role without
/// rights on its tables can save what has none.
#[derive(Serialize)]
struct Changes {
    parked: Option<ParkedDelta>,
    work: Option<WorkDelta>,
}

/// Changes to parked keys and open work, as JSON; `None` if there are none.
pub(super) fn changes(update: &CheckpointUpdate) -> Result<Option<String>, StoreError> {
    let name = update.partition.to_string();
    if update.lease.name != name {
        return Err(StoreError::LeaseLost { name });
    }
    // Summed up here and not on the server, so that the rule is the same code for every store.
    let parked = Some(ParkedDelta::of(&update.parked)).filter(|parked| !parked.is_empty());
    let work = Some(WorkDelta::of(&update.work)).filter(|work| !work.is_empty());
    if parked.is_none() && work.is_none() {
        return Ok(None);
    }
    let changes = serde_json::to_string(&Changes { parked, work });
    changes.map(Some).map_err(|error| StoreError::Corrupt {
        place: format!("changes of {name}"),
        reason: error.to_string(),
    })
}

/// The parameters that both functions begin with.
pub(super) fn bound(
    call: Statement,
    update: &CheckpointUpdate,
    changes: Option<String>,
) -> Statement {
    let Stored { checkpoint, token, sequence } = Stored::after(update);
    call.bind(update.partition.model.clone())
        .bind(update.partition.number as i32)
        .bind(token as i64)
        .bind(sequence as i64)
        .bind(update.from.0 as i64)
        .bind(checkpoint.log_id)
        .bind(checkpoint.position.0 as i64)
        .bind(checkpoint.event_id)
        .bind(changes)
}

/// Returns true if the update was stored now, and false if it was stored before.
pub(super) fn is_taken(row: &PgRow, update: &CheckpointUpdate) -> Result<bool, StoreError> {
    // Before anything else: what is stored belongs to the next owner by now.
    if !row.get::<bool, _>("is_owner") {
        return Err(StoreError::LeaseLost { name: update.lease.name.clone() });
    }
    // A replay has replaced the row, so nothing is left to compare it with.
    if row.get("is_taken") {
        return Ok(true);
    }
    let stored = row.get::<Option<_>, _>("stored_log_id").map(|log_id| Stored {
        checkpoint: Checkpoint {
            log_id,
            position: GlobalPosition(row.get::<i64, _>("stored_position") as u64),
            event_id: row.get("stored_event_id"),
        },
        token: row.get::<i64, _>("stored_token") as u64,
        sequence: row.get::<i64, _>("stored_step") as u64,
    });
    // The function has judged by the same rule.
    continues(update, stored)
}

#[async_trait]
impl CheckpointStore for PostgresStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let asked = partition.clone();
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(
                "SELECT log_id, position, event_id FROM checkpoints
                 WHERE model = $1 AND partition = $2",
            )
            .bind(asked.model.clone())
            .bind(asked.number as i32)
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        Ok(rows.first().map(|row| Checkpoint {
            log_id: row.get(0),
            position: GlobalPosition(row.get::<i64, _>(1) as u64),
            event_id: row.get(2),
        }))
    }

    async fn load_parked(
        &self,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        let (model, asked) = (model.to_owned(), query.clone());
        let rows = self.connections.rows(Purpose::Documents, move || {
            // The subqueries run for the rows of the page alone, because they are outside the limit.
            sqlx::query(
                "SELECT parked.*,
                        CASE WHEN $4 THEN ARRAY(SELECT queued.position FROM parked_events AS queued
                             WHERE queued.model = $1 AND queued.key = parked.key
                             ORDER BY queued.position) END AS queue,
                        (SELECT count(*) FROM parked_events AS queued
                         WHERE queued.model = $1 AND queued.key = parked.key) AS waiting
                 FROM (SELECT *, count(*) OVER () AS total FROM parked
                       WHERE model = $1 AND ($2::text[] IS NULL OR key = ANY ($2))
                       AND (NOT $5 OR request IS NOT NULL)
                       ORDER BY key LIMIT $3) AS parked ORDER BY key",
            )
            .bind(model.clone())
            .bind(asked.keys.clone())
            .bind(most(asked.at_most.max(1))) // one row carries the total
            .bind(asked.with_queues)
            .bind(asked.only_requested)
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let total = rows.first().map_or(0, |row| row.get::<i64, _>("total") as u64);
        Ok(ParkedPage { total, keys: rows.iter().take(query.at_most).map(parked_key).collect() })
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        let asked = model.to_owned();
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(
                "SELECT key, position, event, reason, skipped_at FROM skipped
                 WHERE model = $1 ORDER BY position, key",
            )
            .bind(asked.clone())
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let skipped = rows.iter().map(|row| SkippedEvent {
            key: row.get(0),
            position: GlobalPosition(row.get::<i64, _>(1) as u64),
            event: row.get(2),
            reason: row.get(3),
            skipped_at: time(row, "skipped_at"),
        });
        Ok(skipped.collect())
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let (request, reason) = match request {
            ParkedRequest::Retry => ("retry", None),
            ParkedRequest::Skip { reason } => ("skip", Some(text(&reason))),
        };
        let (model, key) = (model.to_owned(), key.to_owned());
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(
                "UPDATE parked SET request = $1, request_reason = $2
                 WHERE model = $3 AND key = $4 AND position = $5 RETURNING key",
            )
            .bind(request)
            .bind(reason.clone())
            .bind(model.clone())
            .bind(key.clone())
            .bind(position.0 as i64)
        });
        let rows = rows.await.map_err(|fault| fault.not_written(&self.place))?;
        Ok(!rows.is_empty())
    }
}

fn parked_key(row: &PgRow) -> ParkedKey {
    let queue = row.get::<Option<Vec<i64>>, _>("queue").unwrap_or_default();
    ParkedKey {
        key: row.get("key"),
        partition: row.get::<i32, _>("partition") as u32,
        position: GlobalPosition(row.get::<i64, _>("position") as u64),
        event: row.get("event"),
        reason: row.get("reason"),
        attempts: row.get::<i64, _>("attempts") as u32,
        since: time(row, "since"),
        queue: queue.into_iter().map(|position| GlobalPosition(position as u64)).collect(),
        waiting: row.get::<i64, _>("waiting") as u64,
        unlisted_from: row
            .get::<Option<i64>, _>("unlisted_from")
            .map(|from| GlobalPosition(from as u64)),
        unlisted_sum: row.get("unlisted_sum"),
        request: request(row),
    }
}

/// A time that only people read. One that has no date, written by hand, is shown as 1970, as on
/// SQLite: the parked keys beside it are still listed.
fn time(row: &PgRow, column: &str) -> OffsetDateTime {
    let time = row.try_get(column).map(|Timestamp(time)| time);
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn request(row: &PgRow) -> Option<ParkedRequest> {
    let reason = || row.get::<Option<_>, _>("request_reason").unwrap_or_default();
    row.get::<Option<&str>, _>("request").map(|request| match request {
        "retry" => ParkedRequest::Retry,
        _ => ParkedRequest::Skip { reason: reason() },
    })
}
