//! The contract of a store that keeps the rows of projections.
//!
//! Each version of a projection has a [`ProjectionDatabase`]: its tables, its checkpoints and what is
//! parked, on connections of its own. A [`SqlTransaction`] commits rows and checkpoint together.

use std::sync::Arc;

use async_trait::async_trait;

use super::checkpoint_store::{Checkpoint, CheckpointStore, CheckpointUpdate, PartitionId};
use super::lease_store::Lease;
use super::sql::SqlConnection;
use crate::error::{StartError, StoreError};

/// The longest name of a projection in bytes: with the version it becomes the name of a schema.
pub const MAX_PROJECTION_NAME_BYTES: usize = 40;

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
    /// Nothing happens if it is not there. `VersionStore::drop_version` does this too.
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

    /// The checkpoint of the partition, for the process that was granted its lease or does not know
    /// the outcome of a commit. Every write that was under way is either stored by then or never
    /// will be.
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

/// A transaction that writes; rolled back when it is dropped, see [`SqlTransaction::roll_back`].
#[async_trait]
pub trait SqlTransaction: Send {
    /// Connection of the transaction or snapshot.
    fn connection(&mut self) -> SqlConnection<'_>;

    /// Sets a savepoint. Everything after it can be undone without the rest.
    ///
    /// # Errors
    /// The store did not answer; the transaction is over.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Keeps what was done since the savepoint, or undoes it.
    ///
    /// # Errors
    /// The store did not answer; the transaction is over.
    async fn release(&mut self, keep: bool) -> Result<(), StoreError>;

    /// Checks that the transaction can still be committed. On PostgreSQL a refused statement spoils
    /// it up to the savepoint, even if the sender ignores the refusal.
    ///
    /// # Errors
    /// What the database refused.
    async fn check(&mut self) -> Result<(), String>;

    /// Why the database itself, and not what it was asked, let a statement fail, if one did: the
    /// transaction is over, and doing it again may succeed.
    fn trouble(&self) -> Option<StoreError>;

    /// Commits what was done, with the step of the checkpoint if there is one.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Checkpoint`] or [`StoreError::Unavailable`]: nothing
    /// of it is stored. [`StoreError::Unknown`]: nobody knows; load the checkpoint to learn it.
    async fn commit(self: Box<Self>, update: Option<&CheckpointUpdate>) -> Result<(), StoreError>;

    /// Rolls it back, so that its connection can serve again. Dropped instead, the transaction takes
    /// its connection along, and the next one has to open another.
    async fn roll_back(self: Box<Self>);
}

/// A transaction that reads, all of one moment.
#[async_trait]
pub trait SqlSnapshot: Send {
    /// Connection of the transaction or snapshot.
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
