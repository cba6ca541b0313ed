//! A memory store that counts its calls, can be held, lets others write in between, and lies.
//!
//! While it is held, it answers no append and no read of a stream, so all commands for one
//! aggregate wait and come into one round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actum::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, CommandKey, Confirmation, DocumentBatch,
    DocumentRange, DocumentStore, DocumentsAt, EventStore, Filter, GlobalPosition, Lease,
    LeaseStore, LogIdentity, MemoryStore, Page, PageLimit, ParkedKey, ParkedRequest, PartitionId,
    ProjectionStore, RecordedEvent, SkippedEvent, Snapshot, SnapshotStore, StoreError, StoredPage,
    StoredVersion, StreamId, StreamVersion, Version, VersionNote, VersionStore,
};
use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};
use uuid::Uuid;

/// Clones share the log and the counts.
#[derive(Clone, Default)]
pub struct WatchedStore {
    /// The log itself: what is appended to it directly is another process's.
    pub memory: MemoryStore,
    held: Arc<RwLock<()>>,
    intruders: Arc<Mutex<VecDeque<Append>>>,
    lies: Arc<Mutex<VecDeque<Vec<AppendOutcome>>>>,
    appends: Arc<AtomicUsize>,
    events_read: Arc<AtomicUsize>,
    largest_read: Arc<AtomicUsize>,
    confirmations: Arc<AtomicUsize>,
}

impl WatchedStore {
    /// Holds the store until the guard is dropped.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.held).write_owned().await
    }

    /// Lets another writer append this just before the next append, and a second one before the
    /// append after that.
    pub fn intrude(&self, append: Append) {
        self.intruders.lock().unwrap().push_back(append);
    }

    /// Answers the next append with these outcomes, and does not execute it.
    pub fn lie(&self, outcomes: Vec<AppendOutcome>) {
        self.lies.lock().unwrap().push_back(outcomes);
    }

    /// Number of appends since the last call of this method.
    pub fn appends(&self) -> usize {
        self.appends.swap(0, Ordering::SeqCst)
    }

    /// Number of stream events read since the last call of this method.
    pub fn events_read(&self) -> usize {
        self.events_read.swap(0, Ordering::SeqCst)
    }

    /// Most events of a stream in one read since the last call of this method.
    pub fn largest_read(&self) -> usize {
        self.largest_read.swap(0, Ordering::SeqCst)
    }

    /// Number of confirmations since the last call of this method.
    pub fn confirmations(&self) -> usize {
        self.confirmations.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl EventStore for WatchedStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let _held = self.held.read().await;
        self.appends.fetch_add(appends.len(), Ordering::SeqCst);
        let intruder = self.intruders.lock().unwrap().pop_front();
        if let Some(intruder) = intruder {
            self.memory.append(vec![intruder]).await;
        }
        let lie = self.lies.lock().unwrap().pop_front();
        match lie {
            Some(outcomes) => outcomes,
            None => self.memory.append(appends).await,
        }
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        self.confirmations.fetch_add(1, Ordering::SeqCst);
        self.memory.confirm(stream, version, command).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let _held = self.held.read().await;
        let events = self.memory.read_stream(stream, after, limit).await?;
        self.events_read.fetch_add(events.len(), Ordering::SeqCst);
        self.largest_read.fetch_max(events.len(), Ordering::SeqCst);
        Ok(events)
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        self.memory.read_all(after, filter, limit).await
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
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
        self.memory.watch_head()
    }

    fn is_sole_writer(&self) -> bool {
        false
    }
}

#[async_trait]
impl SnapshotStore for WatchedStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        self.memory.load_snapshot(stream).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.memory.save_snapshot(snapshot).await
    }
}

#[async_trait]
impl CheckpointStore for WatchedStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
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
impl DocumentStore for WatchedStore {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.memory.load_documents(model, keys).await
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        self.memory.load_documents_at(partition, keys).await
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
        self.memory.list_documents(model, range).await
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        self.memory.save_documents(batch).await
    }
}

#[async_trait]
impl LeaseStore for WatchedStore {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.memory.acquire_lease(name, owner, duration).await
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
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
        self.memory.join(model, process, duration).await
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.memory.leave(model, process).await
    }
}

#[async_trait]
impl VersionStore for WatchedStore {
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

impl ProjectionStore for WatchedStore {}
