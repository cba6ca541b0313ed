//! A memory store that tests can delay, interrupt and make fail.
//!
//! Every call of the read side first runs a hook, which may wait or return an error. Events are
//! appended directly to the memory store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::command::CommandKey;
use crate::error::StoreError;
use crate::event::{
    ExpectedVersion, GlobalPosition, NewEvent, RecordedEvent, StreamId, StreamVersion,
};
use crate::store::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, DocumentBatch, DocumentRange,
    DocumentStore, DocumentsAt, EventStore, Filter, Lease, LeaseStore, LogIdentity, Page,
    PageLimit, ParkedKey, ParkedRequest, PartitionId, ProjectionStore, SkippedEvent, Snapshot,
    SnapshotStore, StoredPage, StoredVersion, Version, VersionNote, VersionStore,
};
use crate::store::memory::MemoryStore;

/// The call that the store is about to perform, or has just performed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    ReadAll(GlobalPosition),
    /// Reads events that wait behind a parked key.
    ReadPositions,
    LoadDocuments(Vec<String>),
    /// The documents have been read but not returned yet.
    Loaded,
    Save(DocumentBatch),
    /// The batch has been stored but the result has not been returned yet.
    Saved,
    /// The batch was refused because its lease is lost.
    Fenced,
    LoadCheckpoint,
    ListDocuments,
    Renew,
    Join,
}

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

#[derive(Clone)]
pub(crate) struct TestStore {
    pub(crate) memory: MemoryStore,
    hook: Arc<dyn Fn(Call) -> Answer + Send + Sync>,
    hints: bool,
    is_shared: bool,
}

impl TestStore {
    pub(crate) fn new(hook: impl Fn(Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::over(MemoryStore::new(), hook)
    }

    pub(crate) fn over(
        memory: MemoryStore,
        hook: impl Fn(Call) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self { memory, hook: Arc::new(hook), hints: true, is_shared: false }
    }

    /// Disables the hints of a new head, so that only polling finds it.
    pub(crate) fn deaf(self) -> Self {
        Self { hints: false, ..self }
    }

    /// Makes the store report that other processes write to it too.
    pub(crate) fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }
}

/// Appends events of one stream, given as (type, payload).
pub(crate) async fn append(store: &MemoryStore, stream: (&str, &str), events: &[(&str, String)]) {
    let event = |(name, payload): &(&str, String)| NewEvent {
        event_id: Uuid::now_v7(),
        event_type: (*name).to_owned().into(),
        schema_version: 1,
        payload: payload.as_str().into(),
        metadata: "{}".into(),
    };
    let append = Append {
        stream: StreamId::new(stream.0, stream.1).unwrap(),
        expected: ExpectedVersion::Any,
        events: events.iter().map(event).collect(),
        command: None,
        claims: vec![],
        chained: false,
    };
    let outcomes = store.append(vec![append]).await;
    assert!(matches!(outcomes[..], [AppendOutcome::Committed(_)]), "{outcomes:?}");
}

#[async_trait]
impl EventStore for TestStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        self.memory.append(appends).await
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        self.memory.confirm(stream, version, command).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.memory.read_stream(stream, after, limit).await
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        (self.hook)(Call::ReadAll(after)).await?;
        self.memory.read_all(after, filter, limit).await
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        (self.hook)(Call::ReadPositions).await?;
        self.memory.read_positions(positions, limit).await
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        self.memory.claim_holder(kind, value).await
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        self.memory.prune_commands(recorded_before, at_most).await
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        self.memory.claim_program(name).await
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        self.memory.head().await
    }

    fn identity(&self) -> LogIdentity {
        self.memory.identity()
    }

    fn watch_history(&self) -> watch::Receiver<Option<String>> {
        self.memory.watch_history()
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        match self.hints {
            true => self.memory.watch_head(),
            false => watch::Sender::new(GlobalPosition::ZERO).subscribe(),
        }
    }

    fn is_sole_writer(&self) -> bool {
        !self.is_shared
    }
}

#[async_trait]
impl SnapshotStore for TestStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        self.memory.load_snapshot(stream).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.memory.save_snapshot(snapshot).await
    }
}

#[async_trait]
impl CheckpointStore for TestStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        (self.hook)(Call::LoadCheckpoint).await?;
        self.memory.load_checkpoint(partition).await
    }

    async fn load_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
    ) -> Result<Vec<ParkedKey>, StoreError> {
        self.memory.load_parked(model, of).await
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        self.memory.load_skipped(model).await
    }

    async fn load_requests(
        &self,
        model: &str,
    ) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, StoreError> {
        self.memory.load_requests(model).await
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        self.memory.request_parked(model, key, position, request).await
    }
}

#[async_trait]
impl DocumentStore for TestStore {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        (self.hook)(Call::LoadDocuments(keys.to_vec())).await?;
        let documents = self.memory.load_documents(model, keys).await?;
        (self.hook)(Call::Loaded).await?;
        Ok(documents)
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        (self.hook)(Call::LoadDocuments(keys.to_vec())).await?;
        let loaded = self.memory.load_documents_at(partition, keys).await?;
        (self.hook)(Call::Loaded).await?;
        Ok(loaded)
    }

    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.memory.scan_documents(model, after, limit).await
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        (self.hook)(Call::ListDocuments).await?;
        self.memory.list_documents(model, range).await
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        (self.hook)(Call::Save(batch.clone())).await?;
        let saved = self.memory.save_documents(batch).await;
        if let Err(StoreError::LeaseLost { .. }) = saved {
            (self.hook)(Call::Fenced).await?;
        }
        saved?;
        (self.hook)(Call::Saved).await
    }
}

#[async_trait]
impl LeaseStore for TestStore {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.memory.acquire_lease(name, owner, duration).await
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        (self.hook)(Call::Renew).await?;
        self.memory.renew_lease(lease, duration).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.memory.release_lease(lease).await
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        self.memory.holders(names).await
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        (self.hook)(Call::Join).await?;
        self.memory.join(model, process, duration).await
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.memory.leave(model, process).await
    }
}

#[async_trait]
impl VersionStore for TestStore {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        self.memory.register_version(name, version, partitions).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        self.memory.versions(name).await
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        self.memory.all_versions().await
    }

    async fn retire_version(&self, name: &str, version: u32) -> Result<(), StoreError> {
        self.memory.retire_version(name, version).await
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        self.memory.note_version(name, version, note, text).await
    }

    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        self.memory.version_note(name, version, note).await
    }

    async fn serve_version(&self, name: &str, from: u32, to: u32) -> Result<bool, StoreError> {
        self.memory.serve_version(name, from, to).await
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        self.memory.drop_version(name, version).await
    }
}

impl ProjectionStore for TestStore {}
