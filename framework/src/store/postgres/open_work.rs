//! Open work: the pages in which it is read. A function of the migration changes it with a checkpoint.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connections::Purpose;
use super::timestamp::Timestamp;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{OpenWork, PageLimit, PartitionId, WorkDue};
use crate::store::sql::numbers::most;

/// The size of a text is known without reading it, so only the bodies of the page are read.
const PAGE: &str = "
    WITH first AS (SELECT id, due_at, octet_length(body) + coalesce(octet_length(reason), 0) AS size
                   FROM open_work
                   WHERE model = $1 AND partition = $2
                   AND (due_at, id) > (coalesce($3, timestamptz '-infinity'), $4)
                   ORDER BY due_at, id LIMIT $5),
    sized AS (SELECT id, sum(size) OVER due AS total, row_number() OVER due AS number
              FROM first WINDOW due AS (ORDER BY due_at, id))
    SELECT w.id, w.key, w.position, w.due_at, w.attempts, w.reason, w.command_key, w.body
    FROM sized JOIN open_work AS w ON w.model = $1 AND w.partition = $2 AND w.id = sized.id
    WHERE sized.total <= $6 OR sized.number = 1 ORDER BY w.due_at, w.id";

impl PostgresStore {
    /// See `DocumentStore::load_work`.
    pub(super) async fn open_work(
        &self,
        partition: &PartitionId,
        after: Option<WorkDue>,
        limit: PageLimit,
    ) -> Result<Vec<OpenWork>, StoreError> {
        let asked = partition.clone();
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(PAGE)
                .bind(asked.model.clone())
                .bind(asked.number as i32)
                .bind(after.as_ref().map(|after| after.due_at))
                .bind(after.as_ref().map_or_else(String::new, |after| after.id.clone()))
                .bind(most(limit.events))
                .bind(most(limit.bytes))
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        rows.iter().map(|row| open_work(partition, row)).collect()
    }
}

fn open_work(partition: &PartitionId, row: &PgRow) -> Result<OpenWork, StoreError> {
    let id: String = row.get("id");
    // A time without a date is an error: read as another time, it would come again with each page.
    let Timestamp(due_at) = row.try_get("due_at").map_err(|error| StoreError::Corrupt {
        place: format!("the open work {id:?} of {partition}"),
        reason: error.to_string(),
    })?;
    Ok(OpenWork {
        id,
        key: row.get("key"),
        position: GlobalPosition(row.get::<i64, _>("position") as u64),
        due_at,
        attempts: row.get::<i64, _>("attempts") as u32,
        reason: row.get("reason"),
        command_key: row.get("command_key"),
        body: row.get("body"),
    })
}
