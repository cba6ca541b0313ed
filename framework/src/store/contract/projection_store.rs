//! The contract of a store that keeps the rows of projections.
//!
//! Each version of a projection has a [`ProjectionDatabase`]: its tables, checkpoints and parked
//! keys, with connections of its own. A [`SqlTransaction`] commits rows and checkpoint together.

use std::sync::Arc;

use async_trait::async_trait;

use super::checkpoint_store::{Checkpoint, CheckpointStore, CheckpointUpdate, PartitionId};
use super::lease_store::Lease;
use super::sql::SqlConnection;
use crate::error::{StartError, StoreError};

/// Maximum size of a projection's name in bytes. With the version it becomes the name of a schema.
pub const MAX_PROJECTION_NAME_BYTES: usize = 40;

/// A store that can keep the tables of projections. By default it cannot.
#[async_trait]
pub trait ProjectionStore: Send + Sync + 'static {
    /// Opens the database place of one version of a projection. The place may be empty: see
    /// [`ProjectionDatabase::begin_making`].
    ///
    /// # Errors
    /// [`StartError`]: the place cannot be opened, or this store keeps no projections.
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

    /// Deletes the place of a version and all its contents, even if connections to it are open. Does
    /// nothing if there is no such place. `VersionStore::drop_version` does this too.
    ///
    /// # Errors
    /// The store is not available. A part may be deleted already: call it again.
    async fn drop_projection(&self, _name: &str, _version: u32) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The database place of one version of a projection.
#[async_trait]
pub trait ProjectionDatabase: CheckpointStore {
    /// Begins the transaction that creates the place and its tables. Returns `None` if they exist.
    /// If several processes call this at once, one of them gets the transaction and the others wait.
    ///
    /// # Errors
    /// The store is not available.
    async fn begin_making(&self) -> Result<Option<Box<dyn SqlTransaction>>, StoreError>;

    /// Loads the checkpoint of the partition, for a process that was granted its lease or does not
    /// know the outcome of a commit. Every earlier write is stored when this returns, or never will
    /// be.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or the store is not available.
    async fn resume(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// Begins a transaction that applies events.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or the store is not available.
    async fn begin(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Box<dyn SqlTransaction>, StoreError>;

    /// Begins a read-only snapshot of all tables.
    ///
    /// # Errors
    /// The store is not available.
    async fn read(&self) -> Result<Box<dyn SqlSnapshot>, StoreError>;
}

/// A transaction that writes. Dropping it rolls it back; see [`SqlTransaction::roll_back`].
#[async_trait]
pub trait SqlTransaction: Send {
    /// Connection of the transaction or snapshot.
    fn connection(&mut self) -> SqlConnection<'_>;

    /// Sets a savepoint. Statements after it can be rolled back alone.
    ///
    /// # Errors
    /// The store is not available. The transaction has ended.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Releases the savepoint: keeps the statements since then, or rolls them back.
    ///
    /// # Errors
    /// The store is not available. The transaction has ended.
    async fn release(&mut self, keep: bool) -> Result<(), StoreError>;

    /// Checks that the transaction can still be committed. On PostgreSQL a refused statement aborts
    /// it up to the savepoint, even if the caller ignores the error.
    ///
    /// # Errors
    /// The error of the refused statement.
    async fn check(&mut self) -> Result<(), String>;

    /// Infrastructure error (connection, disk, lock) that has ended this transaction, if any. The
    /// same statements may succeed in another transaction.
    fn trouble(&self) -> Option<StoreError>;

    /// Commits the transaction, together with the update of the checkpoint if there is one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Checkpoint`] or [`StoreError::Unavailable`]: nothing
    /// is stored. [`StoreError::Unknown`]: the outcome is unknown; load the checkpoint to learn it.
    async fn commit(self: Box<Self>, update: Option<&CheckpointUpdate>) -> Result<(), StoreError>;

    /// Rolls the transaction back and returns its connection to the pool. If the transaction is
    /// dropped instead, its connection is closed, and the next transaction opens another.
    async fn roll_back(self: Box<Self>);
}

/// A read-only transaction whose reads all see the same moment.
#[async_trait]
pub trait SqlSnapshot: Send {
    /// Connection of the transaction or snapshot.
    fn connection(&mut self) -> SqlConnection<'_>;

    /// SQL of the query that lists the tables of the projection, ordered by name.
    fn tables(&self) -> &'static str;

    /// Returns the checkpoints of these partitions at that moment, in the same order.
    ///
    /// # Errors
    /// The store is not available.
    async fn checkpoints(
        &mut self,
        partitions: &[PartitionId],
    ) -> Result<Vec<Option<Checkpoint>>, StoreError>;

    /// Ends the snapshot and returns its connection to the pool.
    async fn end(self: Box<Self>);
}

/// Checks that the name of a projection can be part of the name of a file and of a schema.
///
/// # Errors
/// [`StartError::Open`]
pub(crate) fn check_projection_name(name: &str) -> Result<(), StartError> {
    let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    let is_valid = name.len() <= MAX_PROJECTION_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(is_word);
    match is_valid {
        true => Ok(()),
        false => Err(StartError::Open {
            place: format!("the projection {name:?}"),
            reason: format!(
                "a projection's name is 1 to {MAX_PROJECTION_NAME_BYTES} lower-case letters, digits and _, a letter first"
            ),
        }),
    }
}
