//! The contract of a store that keeps the rows of projections.
//!
//! Each version of a projection has a [`ProjectionDatabase`]: its tables, its checkpoints and what is
//! parked, on connections of its own. A [`SqlTransaction`] commits rows and checkpoint together.

use std::sync::Arc;

use async_trait::async_trait;

use crate::checkpoint::{Advance, Checkpoint, CheckpointStore, PartitionId};
use crate::error::{StartError, StoreError};
use crate::lease::Lease;
use crate::sql::SqlConnection;

/// A store that can give projections places of their own. By default it cannot.
#[async_trait]
pub trait ProjectionStore: Send + Sync + 'static {
    /// The place of a version of a projection. It may be empty: see
    /// [`ProjectionDatabase::begin_making`].
    ///
    /// # Errors
    /// [`StartError`]: it cannot be opened, or this store has no places.
    async fn open_projection(
        &self,
        name: &str,
        _version: u32,
    ) -> Result<Arc<dyn ProjectionDatabase>, StartError> {
        Err(StartError::Open {
            place: format!("the projection {name}"),
            reason:
                "projections need a database; this store has none: use SqliteStore or PostgresStore"
                    .into(),
        })
    }

    /// Deletes the place of a version with all that is in it, open connections notwithstanding.
    /// Nothing happens if it is not there.
    ///
    /// # Errors
    /// The store did not answer; some of it may be deleted. Call it again.
    async fn drop_projection(&self, _name: &str, _version: u32) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The place of one version of a projection.
#[async_trait]
pub trait ProjectionDatabase: CheckpointStore {
    /// A transaction in which the place and its tables are made; `None` if they are made already.
    /// Of several processes one makes them, the others wait.
    ///
    /// # Errors
    /// The store did not answer.
    async fn begin_making(&self) -> Result<Option<Box<dyn SqlTransaction>>, StoreError>;

    /// How far the partition has come, for whoever was granted its lease or does not know what became
    /// of a commit: whatever was left under way is over by then, stored, or it never will be.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or the store did not answer.
    async fn resume(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// A transaction that takes events in.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or the store did not answer.
    async fn begin(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Box<dyn SqlTransaction>, StoreError>;

    /// One moment of all its tables, to read only.
    ///
    /// # Errors
    /// The store did not answer.
    async fn read(&self) -> Result<Box<dyn SqlSnapshot>, StoreError>;
}

/// A transaction that writes; rolled back when it is dropped.
#[async_trait]
pub trait SqlTransaction: Send {
    /// Its connection.
    fn connection(&mut self) -> SqlConnection<'_>;

    /// What is done from here on can be undone on its own.
    ///
    /// # Errors
    /// The store did not answer; the transaction is over.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Keeps what was done since the savepoint, or undoes it.
    ///
    /// # Errors
    /// The store did not answer; the transaction is over.
    async fn release(&mut self, keep: bool) -> Result<(), StoreError>;

    /// Whether it is still whole. On PostgreSQL a refused statement spoils it up to the savepoint,
    /// also if whoever sent the statement makes nothing of that.
    ///
    /// # Errors
    /// What the database refused.
    async fn check(&mut self) -> Result<(), String>;

    /// Why the database itself, and not what it was asked, let a statement fail, if one did: the
    /// transaction is over, and doing it again may succeed.
    fn trouble(&self) -> Option<StoreError>;

    /// Undoes what was done and keeps the connection, which a dropped transaction closes.
    ///
    /// # Errors
    /// The store did not answer; nothing is stored all the same.
    async fn roll_back(self: Box<Self>) -> Result<(), StoreError>;

    /// Commits what was done, with the step of the checkpoint if there is one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Checkpoint`] or [`StoreError::Unavailable`]: nothing
    /// of it is stored. [`StoreError::Unknown`]: nobody knows; load the checkpoint to learn it.
    async fn commit(self: Box<Self>, advance: Option<&Advance>) -> Result<(), StoreError>;
}

/// A transaction that reads, all of one moment.
#[async_trait]
pub trait SqlSnapshot: Send {
    /// Its connection.
    fn connection(&mut self) -> SqlConnection<'_>;

    /// The query that lists the tables of the projection, by name.
    fn tables(&self) -> &'static str;

    /// The checkpoints of these partitions at that moment, in their order.
    ///
    /// # Errors
    /// The store did not answer.
    async fn checkpoints(
        &mut self,
        partitions: &[PartitionId],
    ) -> Result<Vec<Option<Checkpoint>>, StoreError>;

    /// Ends it, so that its connection can serve again.
    async fn end(self: Box<Self>);
}
