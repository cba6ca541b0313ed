//! The mark: in the schema of a projection's rows, how far they are.
//!
//! The checkpoints are in the log's schema, so each of the two can be restored without the other.
//! The mark is written in the transaction of the rows and of the checkpoint. Wherever a checkpoint
//! is read, at a start, at a takeover and in each query, the two are compared; if they differ, the
//! rows hold events that the log does not have, or lack some that the checkpoint counts.
//!
//! The mark names the step as well as the position, because a retry of a parked key changes rows
//! while the position stays the same.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, PartitionId};
use crate::store::kit::checkpoint_rule::Stored;
use crate::store::postgres::schema::Schema;

/// The statement that makes the table of the marks.
pub(super) fn table(rows: &str) -> String {
    format!(
        "CREATE TABLE {rows}.actum_mark (partition integer PRIMARY KEY, log_id uuid NOT NULL, \
         position bigint NOT NULL, event_id uuid NOT NULL, token bigint NOT NULL, \
         step bigint NOT NULL)"
    )
}

/// Checkpoint of a partition in each of the two schemas.
pub(super) struct Found {
    checkpoint: Option<Stored>,
    mark: Option<Stored>,
}

impl Found {
    /// The checkpoint, once it is known that the rows are as far.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]
    pub(super) fn check(self, partition: &PartitionId) -> Result<Option<Checkpoint>, StoreError> {
        let Self { checkpoint, mark } = self;
        if checkpoint == mark {
            return Ok(checkpoint.map(|stored| stored.checkpoint));
        }
        let (rows, saved) = (describe(mark), describe(checkpoint));
        Err(StoreError::Corrupt {
            place: format!("the projection {partition}"),
            reason: format!(
                "its rows are {rows}, its checkpoint is {saved}: one was restored without the other; restore both schemas from one backup, or drop this version to have it built anew"
            ),
        })
    }
}

fn describe(place: Option<Stored>) -> String {
    let Some(Stored { checkpoint, token, sequence: step }) = place else {
        return "at the beginning".to_owned();
    };
    let Checkpoint { log_id, position, event_id } = checkpoint;
    format!(
        "at position {position} of the log {log_id}, the event {event_id}, after step {step} of lease {token}"
    )
}

/// Reads the checkpoints of these partitions in both schemas.
pub(super) async fn find(
    connection: &mut PgConnection,
    log: &Schema,
    rows: &str,
    partitions: &[PartitionId],
) -> Result<Vec<Found>, sqlx::Error> {
    // Both names hold only letters, digits and _.
    let asked = AssertSqlSafe(format!(
        "SELECT c.log_id, c.position, c.event_id, c.token, c.step,
                m.log_id, m.position, m.event_id, m.token, m.step
         FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS asked (model, partition, n)
         LEFT JOIN {log}.checkpoints AS c
         ON c.model = asked.model AND c.partition = asked.partition
         LEFT JOIN {rows}.actum_mark AS m ON m.partition = asked.partition ORDER BY asked.n"
    ));
    let found = sqlx::query(asked)
        .bind(partitions.iter().map(|partition| &*partition.model).collect::<Vec<_>>())
        .bind(partitions.iter().map(|partition| partition.number as i32).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let found =
        found.iter().map(|row| Ok(Found { checkpoint: place(row, 0)?, mark: place(row, 5)? }));
    found.collect()
}

fn place(row: &PgRow, column: usize) -> Result<Option<Stored>, sqlx::Error> {
    let log_id: Option<_> = row.try_get(column)?;
    let Some(log_id) = log_id else { return Ok(None) };
    let number = |column| row.try_get::<i64, _>(column).map(|number| number as u64);
    let position = GlobalPosition(number(column + 1)?);
    let checkpoint = Checkpoint { log_id, position, event_id: row.try_get(column + 2)? };
    Ok(Some(Stored { checkpoint, token: number(column + 3)?, sequence: number(column + 4)? }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn rows_and_checkpoint_must_be_of_one_step_at_one_event_of_one_log() {
        let checkpoint = Checkpoint {
            log_id: Uuid::now_v7(),
            position: GlobalPosition(5),
            event_id: Uuid::now_v7(),
        };
        let at = Stored { checkpoint, token: 2, sequence: 7 };
        let elsewhere = |checkpoint| Some(Stored { checkpoint, ..at });
        let partition = PartitionId::new("statement@1", 0);
        let check = |checkpoint, mark| Found { checkpoint, mark }.check(&partition);
        assert_eq!(check(Some(at), Some(at)).unwrap(), Some(checkpoint));
        assert_eq!(check(None, None).unwrap(), None);
        for other in [
            None,
            elsewhere(Checkpoint { log_id: Uuid::now_v7(), ..checkpoint }),
            elsewhere(Checkpoint { position: GlobalPosition(10), ..checkpoint }),
            elsewhere(Checkpoint { event_id: Uuid::now_v7(), ..checkpoint }),
            // A step in place changes rows and parked keys, and no position.
            Some(Stored { sequence: 8, ..at }),
            Some(Stored { token: 3, ..at }),
        ] {
            for (one, two) in [(Some(at), other), (other, Some(at))] {
                let refused = check(one, two).unwrap_err().to_string();
                assert!(refused.contains("restored without the other"), "{refused}");
            }
        }
    }
}
