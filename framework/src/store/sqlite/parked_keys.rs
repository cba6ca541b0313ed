//! Parked keys: the statements that change and read them, on any connection of the log's or of a
//! projection's file.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use crate::event::GlobalPosition;
use crate::store::contract::{ParkedKey, ParkedPage, ParkedRequest, SkippedEvent};
use crate::store::kit::parked_keys::{Parking, text, time};
use crate::store::sql::numbers::most;

/// A request for the owner of a parked key.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) key: String,
    pub(super) position: GlobalPosition,
    pub(super) request: ParkedRequest,
}

/// A row of a request: key, position, what is asked and why.
type Asked = (String, i64, String, Option<String>);

/// What each part of a [`Parking`] does; `?1` is the model, `?2` the part as JSON.
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
    changes: &Parking,
) -> Result<(), Error> {
    let Parking { released, parked, unlisted, queued, skipped } = changes;
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

/// The parked keys of a model, or of these keys those that are.
pub(super) async fn parked(
    connection: &mut SqliteConnection,
    model: &str,
    of: Option<&[String]>,
) -> Result<Vec<ParkedKey>, Error> {
    let of = of.map(serde_json::to_string).transpose().map_err(|e| Error::Encode(Box::new(e)))?;
    let rows = sqlx::query(
        "SELECT key, partition, position, event, reason, attempts, since, unlisted_from, unlisted_sum,
                request, request_reason,
                (SELECT json_group_array(queued.position ORDER BY queued.position)
                 FROM parked_events AS queued
                 WHERE queued.model = parked.model AND queued.key = parked.key) AS queue
         FROM parked WHERE model = ?1
         AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2))) ORDER BY key",
    )
    .bind(model.to_owned())
    .bind(of)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| with_queue(parked_key(row)?, row.try_get("queue")?)).collect()
}

/// Some of the parked keys of a model, or of these keys those that are, and the number of all.
pub(super) async fn parked_page(
    connection: &mut SqliteConnection,
    model: &str,
    of: Option<&[String]>,
    at_most: usize,
) -> Result<ParkedPage, Error> {
    let of = of.map(serde_json::to_string).transpose().map_err(|e| Error::Encode(Box::new(e)))?;
    let rows = sqlx::query(
        "SELECT key, partition, position, event, reason, attempts, since, unlisted_from, unlisted_sum,
                request, request_reason, count(*) OVER () AS total,
                (SELECT count(*) FROM parked_events AS queued
                 WHERE queued.model = parked.model AND queued.key = parked.key) AS waiting
         FROM parked WHERE model = ?1
         AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2))) ORDER BY key LIMIT ?3 + 0",
    )
    .bind(model.to_owned())
    .bind(of)
    .bind(most(at_most.max(1))) // one row tells the total
    .fetch_all(connection)
    .await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>("total"))? as u64;
    let key = |row: &SqliteRow| {
        let waiting = row.try_get::<i64, _>("waiting")? as u64;
        Ok(ParkedKey { waiting, ..parked_key(row)? })
    };
    Ok(ParkedPage {
        total,
        keys: rows.iter().take(at_most).map(key).collect::<Result<_, Error>>()?,
    })
}

fn with_queue(parked: ParkedKey, queue: &str) -> Result<ParkedKey, Error> {
    let queue: Vec<_> = from_json::<Vec<u64>>(queue)?.into_iter().map(GlobalPosition).collect();
    Ok(ParkedKey { waiting: queue.len() as u64, queue, ..parked })
}

/// What was skipped of a model.
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

/// The requests of a model that were not carried out yet.
pub(super) async fn requests(
    connection: &mut SqliteConnection,
    model: &str,
) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, Error> {
    let rows: Vec<Asked> = sqlx::query_as(
        "SELECT key, position, request, request_reason FROM parked
         WHERE model = ? AND request IS NOT NULL ORDER BY key",
    )
    .bind(model.to_owned())
    .fetch_all(connection)
    .await?;
    let requests = rows.into_iter().map(|(key, position, request, reason)| {
        (key, GlobalPosition(position as u64), asked(&request, reason))
    });
    Ok(requests.collect())
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
    Ok(ParkedKey {
        key: row.try_get("key")?,
        partition: row.try_get("partition")?,
        position: GlobalPosition(row.try_get::<i64, _>("position")? as u64),
        event: row.try_get("event")?,
        reason: row.try_get("reason")?,
        attempts: row.try_get("attempts")?,
        since: time(row.try_get("since")?),
        queue: Vec::new(),
        waiting: 0,
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
