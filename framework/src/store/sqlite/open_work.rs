//! Open work: the statements that change it with a checkpoint, and the pages in which it is read.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};
use time::OffsetDateTime;

use super::parked_keys::part;
use crate::event::GlobalPosition;
use crate::store::contract::{OpenWork, PageLimit, PartitionId, WorkDue};
use crate::store::kit::open_work::WorkDelta;
use crate::store::kit::parked_keys::micros;
use crate::store::sql::numbers::most;

/// Statement for each part of a [`WorkDelta`]; `?1` is the model, `?2` the number of the partition,
/// `?3` the part as JSON.
const CLOSE: &str = "DELETE FROM open_work WHERE model = ?1 AND partition = ?2
    AND id IN (SELECT value FROM json_each(?3))";
const OPEN: &str = "INSERT INTO open_work
    (model, partition, id, key, position, due_at, attempts, reason, command_key, body)
    SELECT ?1, ?2, new.value ->> 'id', new.value ->> 'key', new.value ->> 'position',
           new.value ->> 'due_at', new.value ->> 'attempts', new.value ->> 'reason',
           new.value ->> 'command_key', new.value ->> 'body'
    FROM json_each(?3) AS new WHERE true
    ON CONFLICT (model, partition, id) DO UPDATE SET key = excluded.key,
    position = excluded.position, due_at = excluded.due_at, attempts = excluded.attempts,
    reason = excluded.reason, command_key = excluded.command_key, body = excluded.body";
const POSTPONE: &str = "UPDATE open_work SET due_at = new.value ->> 'due_at',
    attempts = new.value ->> 'attempts', reason = new.value ->> 'reason'
    FROM json_each(?3) AS new
    WHERE open_work.model = ?1 AND open_work.partition = ?2 AND open_work.id = new.value ->> 'id'";

/// Sizes come from the header of a row, so only the bodies of the page are read.
const PAGE: &str = "
    WITH first AS (SELECT id, due_at, octet_length(body) + ifnull(octet_length(reason), 0) AS size
                   FROM open_work
                   WHERE model = ?1 AND partition = ?2 AND (due_at, id) > (?3, ?4)
                   ORDER BY due_at, id LIMIT ?5 + 0),
    sized AS (SELECT id, sum(size) OVER due AS total, row_number() OVER due AS number
              FROM first WINDOW due AS (ORDER BY due_at, id))
    SELECT w.id, w.key, w.position, w.due_at, w.attempts, w.reason, w.command_key, w.body
    FROM sized CROSS JOIN open_work AS w
    ON w.model = ?1 AND w.partition = ?2 AND w.id = sized.id
    WHERE sized.total <= ?6 OR sized.number = 1 ORDER BY w.due_at, w.id";

/// Applies the net effect of changes.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    partition: &PartitionId,
    changes: &WorkDelta,
) -> Result<(), Error> {
    let WorkDelta { closed, opened, again } = changes;
    for (statement, part) in
        [(CLOSE, part(closed)?), (OPEN, part(opened)?), (POSTPONE, part(again)?)]
    {
        let Some(part) = part else { continue };
        sqlx::query(statement)
            .bind(partition.model.clone())
            .bind(partition.number)
            .bind(part)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// See `DocumentStore::load_work`.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    partition: &PartitionId,
    after: Option<WorkDue>,
    limit: PageLimit,
) -> Result<Vec<OpenWork>, Error> {
    let (due_at, id) =
        after.map_or((i64::MIN, String::new()), |after| (micros(after.due_at), after.id));
    let rows = sqlx::query(PAGE)
        .bind(partition.model.clone())
        .bind(partition.number)
        .bind(due_at)
        .bind(id)
        .bind(most(limit.events))
        .bind(most(limit.bytes))
        .fetch_all(connection)
        .await?;
    rows.iter().map(open_work).collect()
}

fn open_work(row: &SqliteRow) -> Result<OpenWork, Error> {
    // A time without a date is an error: read as another time, it would come again with each page.
    let due_at = i128::from(row.try_get::<i64, _>("due_at")?) * 1000;
    let due_at = OffsetDateTime::from_unix_timestamp_nanos(due_at);
    Ok(OpenWork {
        id: row.try_get("id")?,
        key: row.try_get("key")?,
        position: GlobalPosition(row.try_get::<i64, _>("position")? as u64),
        due_at: due_at.map_err(|error| Error::Decode(Box::new(error)))?,
        attempts: row.try_get("attempts")?,
        reason: row.try_get("reason")?,
        command_key: row.try_get("command_key")?,
        body: row.try_get("body")?,
    })
}
