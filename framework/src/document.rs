//! Where read models keep what they know: documents by key, and the checkpoint they reflect.
//!
//! A [`DocumentBatch`] carries both, so they are stored together or not at all, and its lease keeps
//! out whoever believes to be the one that folds, and is not.

use async_trait::async_trait;

use crate::checkpoint::{Advance, CheckpointStore};
use crate::error::StoreError;
use crate::event_store::EventStore;
use crate::lease::LeaseStore;
use crate::projection_store::ProjectionStore;
use crate::snapshot::SnapshotStore;
use crate::version::VersionStore;

/// Documents that changed and the step of the checkpoint that they then reflect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentBatch {
    /// Key and JSON body of each document that changed; a key appears once.
    pub documents: Vec<(String, String)>,
    /// The checkpoint's step, and what was parked on the way.
    pub advance: Advance,
}

/// A store of documents and their checkpoints. A document belongs to a model and has a key; which
/// partition it is in is not the store's concern.
#[async_trait]
pub trait DocumentStore: CheckpointStore {
    /// The bodies of these documents, as far as they exist, in any order.
    ///
    /// # Errors
    /// The store did not answer.
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// The documents after a key in the order of their bytes, at most `limit`; an empty answer is
    /// the end. The first page is after `None`.
    ///
    /// # Errors
    /// The store did not answer.
    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// Stores documents, parked keys and checkpoint in one transaction.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if the lease is, else [`StoreError::Checkpoint`] if the stored
    /// checkpoint is not at `from` or a later step is stored; nothing is stored then.
    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError>;
}

/// All that an application needs of its database.
pub trait Store:
    EventStore + SnapshotStore + DocumentStore + LeaseStore + VersionStore + ProjectionStore
{
}

impl<S> Store for S where
    S: EventStore + SnapshotStore + DocumentStore + LeaseStore + VersionStore + ProjectionStore
{
}
