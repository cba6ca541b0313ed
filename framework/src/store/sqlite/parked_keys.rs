//! Parked keys: the statements that change and read them, on any connection of the log's or of a
//! projection's file.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use crate::event::GlobalPosition;
use crate::store::contract::{ParkedKey, ParkedPage, ParkedQuery, ParkedRequest, SkippedEvent};
use crate::store::kit::parked_keys::{ParkedDelta, text, time};
use crate::store::sql::numbers::most;

/// A request for the owner of a parked key.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) key: String,
    pub(super) position: GlobalPosition,
    pub(super) request: ParkedRequest,
}

/// Statement for each part of a [`ParkedDelta`]; `?1` is the model, `?2` the part as JSON.
const RELEASE: &str = "DELETE FROM parked
    WHERE model = ?1 AND key IN (SELECT value FROM json_each(?2))";
const PARK: &str = "INSERT INTO parked
    (model, key, partition, position, event, reason, attempts, since)
    SELECT ?1, new.value ->> 'key', new.value ->> 'partition', new.value ->> 'position',
           new.value ->> 'event', new.value ->> 'reason', new.value ->> 'attempts',
           new.value ->> 'since'
    FROM json_each(?2) AS new WHERE true
    ON CONFLICT (model, key) DO UPDATE SET partition = excluded.partition,
    position = excluded.position, event = excluded.event, reason = excluded.reason,
    attempts = excluded.attempts,
    request = iif(request = 'skip' AND position = excluded.position, request, NULL),
    request_reason = iif(request = 'skip' AND position = excluded.position, request_reason, NULL)";
const DEQUEUE: &str = "DELETE FROM parked_events WHERE model = ?1 AND (key, position) IN (
    SELECT queued.key, queued.position FROM json_each(?2) AS new CROSS JOIN parked_events AS queued
    ON queued.model = ?1 AND queued.key = new.value ->> 'key'
    AND queued.position <= new.value ->> 'done_to')";
const CHECK_PARKED: &str = "INSERT INTO parked_events (model, key, position)
    SELECT ?1, new.value ->> 0, 0 FROM json_each(?2) AS new WHERE true";
const UNCHECK_PARKED: &str = "DELETE FROM parked_events WHERE model = ?1 AND position = 0
    AND key IN (SELECT new.value ->> 0 FROM json_each(?2) AS new)";
const UNLIST: &str =
    "UPDATE parked SET unlisted_from = new.value ->> 2, unlisted_sum = new.value ->> 3
    FROM json_each(?2) AS new WHERE parked.model = ?1 AND parked.key = new.value ->> 0";
const FORGET: &str = "DELETE FROM parked_events WHERE model = ?1 AND (key, position) IN (
    SELECT queued.key, queued.position FROM json_each(?2) AS new CROSS JOIN parked_events AS queued
    ON queued.model = ?1 AND queued.key = new.value ->> 0
    AND queued.position >= new.value ->> 1)";
const QUEUE: &str = "INSERT INTO parked_events (model, key, position)
    SELECT ?1, new.value ->> 0, new.value ->> 1 FROM json_each(?2) AS new WHERE true
    ON CONFLICT DO NOTHING";
const SKIP: &str = "INSERT INTO skipped (model, key, position, event, reason, skipped_at)
    SELECT ?1, new.value ->> 'key', new.value ->> 'position', new.value ->> 'event',
           new.value ->> 'reason', new.value ->> 'skipped_at'
    FROM json_each(?2) AS new WHERE true ON CONFLICT DO NOTHING";

pub(super) async fn park(
    connection: &mut SqliteConnection,
    model: &str,
    changes: &ParkedDelta,
) -> Result<(), Error> {
    // The order matters: a key may be released and parked again in one batch, and events can only
    // be queued behind a key that is parked.
    let ParkedDelta { released, parked, unlisted, queued, skipped } = changes;
    apply(connection, RELEASE, model, released).await?;
    apply(connection, PARK, model, parked).await?;
    apply(connection, DEQUEUE, model, parked).await?;
    // The foreign key refuses a key that is not parked, as it does for events that are queued.
    apply(connection, CHECK_PARKED, model, unlisted).await?;
    apply(connection, UNLIST, model, unlisted).await?;
    apply(connection, UNCHECK_PARKED, model, unlisted).await?;
    apply(connection, FORGET, model, unlisted).await?;
    apply(connection, QUEUE, model, queued).await?;
    apply(connection, SKIP, model, skipped).await
}

async fn apply(
    connection: &mut SqliteConnection,
    statement: &'static str,
    model: &str,
    part: &[impl Serialize],
) -> Result<(), Error> {
    // Nearly every save parks nothing, and then costs no statement here.
    if part.is_empty() {
        return Ok(());
    }
    let part = serde_json::to_string(part).map_err(|e| Error::Encode(Box::new(e)))?;
    sqlx::query(statement).bind(model.to_owned()).bind(part).execute(connection).await.map(drop)
}

/// Leaves a request; `false` if no key is parked there.
pub(super) async fn request(
    connection: &mut SqliteConnection,
    asked: &Request,
) -> Result<bool, Error> {
    let (request, reason) = match &asked.request {
        ParkedRequest::Retry => ("retry", None),
        ParkedRequest::Skip { reason } => ("skip", Some(text(reason))),
    };
    let updated = sqlx::query(
        // At this position only: the owner may have moved on, and the request was about the event
        // that the operator saw.
        "UPDATE parked SET request = ?, request_reason = ?
         WHERE model = ? AND key = ? AND position = ?",
    )
    .bind(request)
    .bind(reason)
    .bind(asked.model.clone())
    .bind(asked.key.clone())
    .bind(asked.position.0 as i64)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// The parked keys of a model that match a query.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    model: &str,
    query: &ParkedQuery,
) -> Result<ParkedPage, Error> {
    let ParkedQuery { keys, only_requested, with_queues, at_most } = query;
    let keys = keys.as_ref().map(serde_json::to_string).transpose();
    let rows = sqlx::query(
        "SELECT key, partition, position, event, reason, attempts, since, unlisted_from, unlisted_sum,
                request, request_reason, count(*) OVER () AS total,
                iif(?4, (SELECT json_group_array(queued.position ORDER BY queued.position)
                         FROM parked_events AS queued
                         WHERE queued.model = parked.model AND queued.key = parked.key),
                    NULL) AS queue,
                (SELECT count(*) FROM parked_events AS queued
                 WHERE queued.model = parked.model AND queued.key = parked.key) AS waiting
         FROM parked WHERE model = ?1
         AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2)))
         AND (NOT ?5 OR request IS NOT NULL)
         ORDER BY key LIMIT ?3 + 0",
    )
    .bind(model.to_owned())
    .bind(keys.map_err(|e| Error::Encode(Box::new(e)))?)
    .bind(most((*at_most).max(1))) // one row carries the total
    .bind(with_queues)
    .bind(only_requested)
    .fetch_all(connection)
    .await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>("total"))? as u64;
    let keys = rows.iter().take(*at_most).map(parked_key).collect::<Result<_, Error>>()?;
    Ok(ParkedPage { total, keys })
}

/// Skipped events of a model.
pub(super) async fn skipped(
    connection: &mut SqliteConnection,
    model: &str,
) -> Result<Vec<SkippedEvent>, Error> {
    let rows = sqlx::query(
        "SELECT key, position, event, reason, skipped_at FROM skipped
         WHERE model = ? ORDER BY position, key",
    )
    .bind(model.to_owned())
    .fetch_all(connection)
    .await?;
    rows.iter().map(skipped_event).collect()
}

fn skipped_event(row: &SqliteRow) -> Result<SkippedEvent, Error> {
    Ok(SkippedEvent {
        key: row.try_get("key")?,
        position: GlobalPosition(row.try_get::<i64, _>("position")? as u64),
        event: row.try_get("event")?,
        reason: row.try_get("reason")?,
        skipped_at: time(row.try_get("skipped_at")?),
    })
}

fn parked_key(row: &SqliteRow) -> Result<ParkedKey, Error> {
    let request: Option<&str> = row.try_get("request")?;
    let reason: Option<String> = row.try_get("request_reason")?;
    let queue: Option<&str> = row.try_get("queue")?;
    let queue: Vec<u64> = queue.map(from_json).transpose()?.unwrap_or_default();
    Ok(ParkedKey {
        key: row.try_get("key")?,
        partition: row.try_get("partition")?,
        position: GlobalPosition(row.try_get::<i64, _>("position")? as u64),
        event: row.try_get("event")?,
        reason: row.try_get("reason")?,
        attempts: row.try_get("attempts")?,
        since: time(row.try_get("since")?),
        queue: queue.into_iter().map(GlobalPosition).collect(),
        waiting: row.try_get::<i64, _>("waiting")? as u64,
        unlisted_from: row
            .try_get::<Option<i64>, _>("unlisted_from")?
            .map(|from| GlobalPosition(from as u64)),
        unlisted_sum: row.try_get("unlisted_sum")?,
        request: request.map(|request| asked(request, reason)),
    })
}

fn asked(request: &str, reason: Option<String>) -> ParkedRequest {
    match request {
        "retry" => ParkedRequest::Retry,
        _ => ParkedRequest::Skip { reason: reason.unwrap_or_default() },
    }
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::Decode(Box::new(e)))
}
