//! Checkpoints and parked keys: a step taken inside a transaction, and what is read of them.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};
use uuid::Uuid;

use super::parked_keys::{self, Request};
use super::side_write::SideWrite;
use super::{SqliteStore, open_work};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, CheckpointUpdate, ParkedPage, ParkedQuery, ParkedRequest,
    PartitionId, SkippedEvent,
};
use crate::store::kit::checkpoint_rule::{Stored, continues};
use crate::store::kit::leases::Leases;
use crate::store::kit::open_work::WorkDelta;
use crate::store::kit::parked_keys::ParkedDelta;

/// Takes a step, if it is the lease's owner's and continues from what is stored; `false` if it was
/// taken already. An outer error fails the transaction, an inner one has changed nothing.
pub(super) async fn update_checkpoint(
    connection: &mut SqliteConnection,
    leases: &Leases,
    update: &CheckpointUpdate,
) -> Result<Result<bool, StoreError>, Error> {
    let stored = stored(&mut *connection, &update.partition).await?;
    // The lease first, because a former owner steps down at a lost lease and halts at a refused
    // checkpoint.
    match leases.check(update).and_then(|()| continues(update, stored)) {
        Ok(true) => {}
        refused => return Ok(refused),
    }
    let parking = ParkedDelta::of(&update.parked);
    // Nothing is parked in almost every update, and each part costs a statement.
    if !parking.is_empty() {
        parked_keys::park(&mut *connection, &update.partition.model, &parking).await?;
    }
    if !update.work.is_empty() {
        let work = WorkDelta::of(&update.work);
        open_work::change(&mut *connection, &update.partition, &work).await?;
    }
    let Stored { checkpoint, token, sequence } = Stored::after(update);
    if update.is_replay {
        // A trigger refuses an UPDATE that goes back, and so every way back but this one.
        sqlx::query("DELETE FROM checkpoints WHERE model = ? AND partition = ?")
            .bind(update.partition.model.clone())
            .bind(update.partition.number)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO checkpoints (model, partition, log_id, position, event_id, token, step)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (model, partition) DO UPDATE SET
         log_id = excluded.log_id, position = excluded.position, event_id = excluded.event_id,
         token = excluded.token, step = excluded.step",
    )
    .bind(update.partition.model.clone())
    .bind(update.partition.number)
    .bind(checkpoint.log_id.as_bytes().to_vec())
    .bind(checkpoint.position.0 as i64)
    .bind(checkpoint.event_id.as_bytes().to_vec())
    .bind(token as i64)
    .bind(sequence as i64)
    .execute(connection)
    .await?;
    Ok(Ok(true))
}

/// The greatest token that a step was ever stored under.
pub(super) async fn last_token(connection: &mut SqliteConnection) -> Result<u64, Error> {
    let token = sqlx::query_scalar("SELECT coalesce(max(token), 0) FROM checkpoints");
    token.fetch_one(connection).await.map(|token: i64| token as u64)
}

/// The last step of a partition, as this connection sees it.
async fn stored(
    connection: &mut SqliteConnection,
    partition: &PartitionId,
) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "SELECT log_id, position, event_id, token, step FROM checkpoints
         WHERE model = ? AND partition = ?",
    )
    .bind(partition.model.clone())
    .bind(partition.number)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let uuid = |column| Uuid::from_slice(row.try_get(column)?).map_err(|e| Error::Decode(e.into()));
    let number = |column| row.try_get::<i64, _>(column).map(|number| number as u64);
    let position = GlobalPosition(number("position")?);
    let checkpoint = Checkpoint { log_id: uuid("log_id")?, position, event_id: uuid("event_id")? };
    Ok(Some(Stored { checkpoint, token: number("token")?, sequence: number("step")? }))
}

/// Checkpoint of a partition, as this connection sees it.
pub(super) async fn checkpoint(
    connection: &mut SqliteConnection,
    partition: &PartitionId,
) -> Result<Option<Checkpoint>, Error> {
    Ok(stored(connection, partition).await?.map(|stored| stored.checkpoint))
}

#[async_trait]
impl CheckpointStore for SqliteStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let mut reader = self.reader().await?;
        checkpoint(&mut reader, partition).await.map_err(|e| self.unavailable(&e))
    }

    async fn load_parked(
        &self,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        let mut reader = self.reader().await?;
        let parked = parked_keys::load(&mut reader, model, query).await;
        parked.map_err(|error| self.unreadable(format!("the parked keys of {model}"), error))
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        let mut reader = self.reader().await?;
        let skipped = parked_keys::skipped(&mut reader, model).await;
        skipped.map_err(|error| self.unreadable(format!("the skipped events of {model}"), error))
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let (model, key) = (model.to_owned(), key.to_owned());
        let request = Request { model, key, position, request };
        self.write_beside(SideWrite::Request(request)).await
    }
}

impl SqliteStore {
    pub(super) fn unreadable(&self, what: String, error: Error) -> StoreError {
        match error {
            Error::Database(_) => self.unavailable(&error),
            unreadable => self.corrupt(what, unreadable),
        }
    }
}
