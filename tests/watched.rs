//! A memory store that counts what it is asked, can be held, lets others write in between, and lies.
//!
//! Held, it answers no append and no read of a stream: what is asked of one aggregate meanwhile
//! waits for it and comes into one round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actum::{
    Append, AppendOutcome, Checkpoint, CommandKey, Confirmation, DocumentBatch, DocumentStore,
    EventStore, Filter, GlobalPosition, Lease, LeaseStore, LogIdentity, MemoryStore, Page,
    RecordedEvent, Snapshot, SnapshotStore, StoreError, StreamId, StreamVersion,
};
use async_trait::async_trait;
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
    events_read: Arc<AtomicUsize>,
    confirmations: Arc<AtomicUsize>,
}

impl WatchedStore {
    /// Holds the store until the guard is dropped.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.held).write_owned().await
    }

    /// Somebody else is to be faster than the next append by this; than the one after it by the next.
    pub fn intrude(&self, append: Append) {
        self.intruders.lock().unwrap().push_back(append);
    }

    /// The next append is answered so, and not carried out.
    pub fn lie(&self, outcomes: Vec<AppendOutcome>) {
        self.lies.lock().unwrap().push_back(outcomes);
    }

    /// How many events of streams were read since it was asked last.
    pub fn events_read(&self) -> usize {
        self.events_read.swap(0, Ordering::SeqCst)
    }

    /// How many confirmations were asked for since it was asked last.
    pub fn confirmations(&self) -> usize {
        self.confirmations.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl EventStore for WatchedStore {
    async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let _held = self.held.read().await;
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
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let _held = self.held.read().await;
        let events = self.memory.read_stream(stream, after, limit).await?;
        self.events_read.fetch_add(events.len(), Ordering::SeqCst);
        Ok(events)
    }

    async fn read_all(
        &self,
        after: GlobalPosition,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.memory.read_all(after, filter, limit).await
    }

    async fn head(&self) -> Result<GlobalPosition, StoreError> {
        self.memory.head().await
    }

    fn identity(&self) -> LogIdentity {
        self.memory.identity()
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
impl DocumentStore for WatchedStore {
    async fn load_checkpoint(&self, model: &str) -> Result<Option<Checkpoint>, StoreError> {
        self.memory.load_checkpoint(model).await
    }

    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.memory.load_documents(model, keys).await
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
}
