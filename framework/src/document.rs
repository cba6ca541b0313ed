//! Where read models keep what they know: documents by key, and the checkpoint they reflect.
//!
//! A [`DocumentBatch`] carries both, so they are stored together or not at all: a read model's
//! effect is exactly once however often the process dies, and its [`Lease`] keeps out whoever
//! believes to be the one that folds, and is not.

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::StoreError;
use crate::event_store::EventStore;
use crate::lease::{Lease, LeaseStore};
use crate::snapshot::SnapshotStore;
use crate::stream::GlobalPosition;

/// How far a read model has come, and in which log: verified at start, so that a restored or
/// rewound log is noticed and nothing is silently skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's id.
    pub log_id: Uuid,
    /// Everything up to here is in the documents.
    pub position: GlobalPosition,
    /// The id of the event at that position.
    pub event_id: Uuid,
}

/// Documents that changed and the checkpoint they then reflect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentBatch {
    /// The read model's versioned name, such as `balance@1`.
    pub model: String,
    /// Key and JSON body of each document that changed; a key appears once.
    pub documents: Vec<(String, String)>,
    /// The position this batch continues from; the store refuses it unless its own checkpoint is
    /// there. (Sent again after a lost reply, it finds its own checkpoint and changes nothing.)
    pub from: GlobalPosition,
    /// The new checkpoint.
    pub checkpoint: Checkpoint,
    /// The lease under which it is written; a store refuses another token than the last.
    pub lease: Lease,
}

/// A store of documents and checkpoints.
#[async_trait]
pub trait DocumentStore: Send + Sync + 'static {
    /// How far the read model has come; `None` if it never saved.
    ///
    /// # Errors
    /// The store did not answer.
    async fn load_checkpoint(&self, model: &str) -> Result<Option<Checkpoint>, StoreError>;

    /// The bodies of these documents, as far as they exist, in any order.
    ///
    /// # Errors
    /// The store did not answer.
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// Stores documents and checkpoint in one transaction.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if the lease is, else [`StoreError::Checkpoint`] if the stored
    /// checkpoint is not at `from`; nothing is stored then.
    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError>;
}

/// All that an application needs of its database.
pub trait Store: EventStore + SnapshotStore + DocumentStore + LeaseStore {}

impl<S: EventStore + SnapshotStore + DocumentStore + LeaseStore> Store for S {}
