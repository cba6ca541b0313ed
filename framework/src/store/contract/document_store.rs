//! The store of read models: documents by key, and the checkpoint they reflect.
//!
//! A [`DocumentBatch`] carries both, so they are stored together or not at all. Its lease keeps out
//! a process that has lost the partition and does not know it yet.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::checkpoint_store::{Checkpoint, CheckpointStore, CheckpointUpdate, PartitionId};
use super::event_store::EventStore;
use super::lease_store::LeaseStore;
use super::projection_store::ProjectionStore;
use super::snapshot_store::SnapshotStore;
use super::version_store::VersionStore;
use crate::error::StoreError;
use crate::event::GlobalPosition;

/// Largest size of a document's key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Maximum number of distinct keys of one event. With at most [`MAX_KEY_BYTES`] bytes each, this also
/// limits their bytes. An event with more keys is applied to none of them and parks the key that is
/// the id of its aggregate.
pub const MAX_KEYS_PER_EVENT: usize = 1_000;

/// Supported size of a document, as JSON: 16 MiB.
///
/// A larger document is not refused, but a save may then exceed the time or the memory it has. Keep
/// documents far smaller, because a document is copied for every event that changes it, and written
/// whole. From 1 MiB on a warning names the key, and `actum_subscription_largest_document_bytes`
/// shows the largest one.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Checks that every store can keep a document with this key.
pub(crate) fn is_valid_key(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES && !key.contains('\0')
}

/// Documents that changed and the step of the checkpoint that they then reflect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentBatch {
    /// Key and JSON body of each document that changed; a key appears once.
    pub documents: Vec<(String, String)>,
    /// Keys of the documents that are deleted; none of them is among `documents`.
    pub deleted: Vec<String>,
    /// The checkpoint's step, and what was parked on the way.
    pub update: CheckpointUpdate,
}

/// Largest number of documents in one page of a list.
pub const MAX_LIST: usize = 1_000;

/// Number of bytes of documents after which a page of a list ends, whatever its limit. A page is
/// larger by at most its last document.
pub const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

/// A range of documents in the order of their keys' bytes.
///
/// ```
/// # use actum::DocumentRange;
/// let first = DocumentRange { prefix: "2026-11/".into(), limit: 50, ..DocumentRange::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRange {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Only keys after this one: `DocumentPage::next` of the page before. `None` for the first page.
    pub after: Option<String>,
    /// Number of keys in the page, from 1 to [`MAX_LIST`]; others are taken for the nearest of
    /// these. The default is 100.
    pub limit: usize,
}

impl Default for DocumentRange {
    fn default() -> Self {
        Self { prefix: String::new(), after: None, limit: 100 }
    }
}

/// A page of documents as a store has them, all from one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPage {
    /// Keys and bodies in the order of the keys' bytes, without those of parked keys.
    pub documents: Vec<(String, String)>,
    /// Parked keys in the range of the page, in order.
    pub parked: Vec<String>,
    /// The key to continue after; `None` if the range ends here.
    pub next: Option<String>,
    /// Position of each partition's checkpoint, by number; a partition that never saved is absent.
    pub checkpoints: Vec<(u32, GlobalPosition)>,
}

/// Documents and what belongs to them, all of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentsAt {
    /// The partition's checkpoint; `None` if it never saved. The documents reflect the log up to
    /// here, and nothing after it.
    pub checkpoint: Option<Checkpoint>,
    /// Key and JSON body, as far as the documents exist, in any order.
    pub documents: Vec<(String, String)>,
    /// Those of the keys that are parked, in any order.
    pub parked: Vec<ParkedAt>,
}

/// A parked key without its queue, which may be long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedAt {
    /// The key.
    pub key: String,
    /// The event that cannot be applied.
    pub position: GlobalPosition,
    /// The reason why it cannot be applied.
    pub reason: String,
}

/// A store of documents and their checkpoints. A document belongs to a model and has a key; which
/// partition it is in is not the store's concern.
#[async_trait]
pub trait DocumentStore: CheckpointStore {
    /// The documents with these keys, the checkpoint of one partition and which of the keys are
    /// parked: all from one snapshot, so that an answer can name exactly the position it reflects.
    ///
    /// # Errors
    /// The store is not available.
    async fn load_documents(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError>;

    /// A page of a range of documents, with the parked keys in it and the checkpoints of the model,
    /// all from one snapshot. Reads at most the bodies of [`MAX_LIST_BYTES`] and one more.
    ///
    /// # Errors
    /// The store is not available.
    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError>;

    /// Stores and deletes documents, and stores parked keys and checkpoint, in one transaction.
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

/// Any store, behind one type: `Application::builder` takes what can become one.
#[derive(Clone)]
pub struct AnyStore(Arc<dyn Store>);

impl AnyStore {
    pub(crate) fn into_inner(self) -> Arc<dyn Store> {
        self.0
    }
}

impl<S: Store> From<S> for AnyStore {
    fn from(store: S) -> Self {
        Self(Arc::new(store))
    }
}
