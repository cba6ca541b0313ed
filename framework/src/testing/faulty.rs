//! A store that fails on demand, wrapped around a working one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::command::CommandKey;
use crate::error::{StartError, StoreError};
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, Confirmation, DocumentBatch, DocumentRange,
    DocumentStore, DocumentsAt, EventStore, Filter, Lease, LeaseStore, LogIdentity, NotCommitted,
    Page, PageLimit, ParkedKey, ParkedRequest, PartitionId, ProjectionDatabase, ProjectionStore,
    SkippedEvent, Snapshot, SnapshotStore, Store, StoredPage, StoredVersion, Version, VersionNote,
    VersionStore,
};

/// A fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next append fails, and nothing is stored.
    Unavailable,
    /// The next append is stored, but its result is lost.
    UnknownButStored,
    /// The next append is not stored, and its result is lost.
    UnknownNotStored,
    /// The next read of a stream fails.
    ReadError,
    /// The next read of a stream returns only one event, which the contract allows.
    ShortRead,
}

/// A store that wraps another one and fails on demand. Clones share the pending faults.
#[derive(Clone)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    page_delay: Arc<Mutex<Duration>>,
}

impl<S: Store> FaultyStore<S> {
    /// Creates a store without faults.
    pub fn new(inner: S) -> Self {
        Self { inner, faults: Arc::default(), page_delay: Arc::default() }
    }

    /// Delays each read of a page of the log by this time, like a slow disk.
    pub fn delay_pages(&self, by: Duration) {
        *self.page_delay.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// Adds a fault. Faults of the same kind of call occur in the order in which they were added.
    pub fn fail_next(&self, fault: Fault) {
        self.faults().push_back(fault);
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut faults = self.faults();
        let index = faults.iter().position(|fault| concerns(*fault))?;
        faults.remove(index)
    }
}

fn concerns_reads(fault: Fault) -> bool {
    matches!(fault, Fault::ReadError | Fault::ShortRead)
}

#[async_trait]
impl<S: Store> EventStore for FaultyStore<S> {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let count = appends.len();
        let unknown = || vec![AppendOutcome::Unknown("told to lose the answer".into()); count];
        match self.take(|fault| !concerns_reads(fault)) {
            None | Some(Fault::ReadError | Fault::ShortRead) => self.inner.append(appends).await,
            Some(Fault::Unavailable) => {
                let reason = NotCommitted::Unavailable("told to fail".into());
                vec![AppendOutcome::NotCommitted(reason); count]
            }
            Some(Fault::UnknownNotStored) => unknown(),
            Some(Fault::UnknownButStored) => {
                self.inner.append(appends).await;
                unknown()
            }
        }
    }

    async fn confirm(
        &self,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<&CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        self.inner.confirm(stream, version, command).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        match self.take(concerns_reads) {
            Some(Fault::ReadError) => Err(StoreError::Unavailable("told to fail".into())),
            Some(_) => {
                self.inner.read_stream(stream, after, PageLimit::events(limit.events.min(1))).await
            }
            None => self.inner.read_stream(stream, after, limit).await,
        }
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        let delay = *self.page_delay.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(delay).await;
        self.inner.read_all(after, filter, limit).await
    }

    async fn read_positions(
        &self,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        self.inner.read_positions(positions, limit).await
    }

    async fn claim_holder(&self, kind: &str, value: &str) -> Result<Option<StreamId>, StoreError> {
        self.inner.claim_holder(kind, value).await
    }

    async fn prune_commands(
        &self,
        recorded_before: OffsetDateTime,
        at_most: usize,
    ) -> Result<bool, StoreError> {
        self.inner.prune_commands(recorded_before, at_most).await
    }

    async fn claim_program(&self, name: &str) -> Result<String, StoreError> {
        self.inner.claim_program(name).await
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        self.inner.head().await
    }

    fn identity(&self) -> LogIdentity {
        self.inner.identity()
    }

    fn watch_history(&self) -> watch::Receiver<Option<String>> {
        self.inner.watch_history()
    }

    fn watch_head(&self) -> watch::Receiver<GlobalPosition> {
        self.inner.watch_head()
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }

    fn wal_bytes(&self) -> Option<u64> {
        self.inner.wal_bytes()
    }

    async fn release(&self) -> Result<(), StoreError> {
        self.inner.release().await
    }

    /// Always false, so decisions are confirmed like with several writing processes.
    fn is_sole_writer(&self) -> bool {
        false
    }
}

#[async_trait]
impl<S: Store> SnapshotStore for FaultyStore<S> {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.load_snapshot(stream).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.inner.save_snapshot(snapshot).await
    }
}

#[async_trait]
impl<S: Store> CheckpointStore for FaultyStore<S> {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.load_checkpoint(partition).await
    }

    async fn load_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
    ) -> Result<Vec<ParkedKey>, StoreError> {
        self.inner.load_parked(model, of).await
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        self.inner.load_skipped(model).await
    }

    async fn load_requests(
        &self,
        model: &str,
    ) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, StoreError> {
        self.inner.load_requests(model).await
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        self.inner.request_parked(model, key, position, request).await
    }
}

#[async_trait]
impl<S: Store> DocumentStore for FaultyStore<S> {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.inner.load_documents(model, keys).await
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        self.inner.load_documents_at(partition, keys).await
    }

    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.inner.scan_documents(model, after, limit).await
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        self.inner.list_documents(model, range).await
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        self.inner.save_documents(batch).await
    }
}

#[async_trait]
impl<S: Store> LeaseStore for FaultyStore<S> {
    async fn acquire_lease(
        &self,
        name: &str,
        owner: Uuid,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.inner.acquire_lease(name, owner, duration).await
    }

    async fn renew_lease(&self, lease: &Lease, duration: Duration) -> Result<bool, StoreError> {
        self.inner.renew_lease(lease, duration).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release_lease(lease).await
    }

    async fn holders(&self, names: &[String]) -> Result<Vec<Option<Uuid>>, StoreError> {
        self.inner.holders(names).await
    }

    async fn join(
        &self,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.inner.join(model, process, duration).await
    }

    async fn leave(&self, model: &str, process: Uuid) -> Result<(), StoreError> {
        self.inner.leave(model, process).await
    }
}

#[async_trait]
impl<S: Store> VersionStore for FaultyStore<S> {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        self.inner.register_version(name, version, partitions).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        self.inner.versions(name).await
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        self.inner.all_versions().await
    }

    async fn retire_version(&self, name: &str, version: u32) -> Result<(), StoreError> {
        self.inner.retire_version(name, version).await
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        self.inner.note_version(name, version, note, text).await
    }

    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        self.inner.version_note(name, version, note).await
    }

    async fn serve_version(&self, name: &str, from: u32, to: u32) -> Result<bool, StoreError> {
        self.inner.serve_version(name, from, to).await
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        self.inner.drop_version(name, version).await
    }
}

/// Projections have their own connections, which scripted faults do not reach.
#[async_trait]
impl<S: Store> ProjectionStore for FaultyStore<S> {
    async fn open_projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Arc<dyn ProjectionDatabase>, StartError> {
        self.inner.open_projection(name, version).await
    }

    async fn drop_projection(&self, name: &str, version: u32) -> Result<(), StoreError> {
        self.inner.drop_projection(name, version).await
    }
}
