//! A memory store that counts its calls, can be held, lets others write in between, and lies.
//!
//! While it is held, it answers no append and no read of a stream, so all commands for one
//! aggregate wait and come into one round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actum::store::{
    Append, AppendOutcome, Confirmation, MemoryStore, PageLimit, RecordedEvent, Store, StoreInfo,
};
use actum::testing::{InterceptedStore, Interceptor};
use actum::{CommandKey, StoreError, StreamId, StreamVersion};
use async_trait::async_trait;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

/// A memory store around which [`Watched`] counts. Clones share the log and the counts.
pub type WatchedStore = InterceptedStore<Watched>;

/// Makes an empty store.
pub fn watched_store() -> WatchedStore {
    let watched = Watched::default();
    InterceptedStore::around(watched.memory.clone(), watched)
}

/// Counts and orders of a [`WatchedStore`].
#[derive(Default)]
pub struct Watched {
    /// The log itself: what is appended to it directly is another process's.
    pub memory: MemoryStore,
    held: Arc<RwLock<()>>,
    intruders: Mutex<VecDeque<Append>>,
    lies: Mutex<VecDeque<Vec<AppendOutcome>>>,
    appends: AtomicUsize,
    events_read: AtomicUsize,
    largest_read: AtomicUsize,
    confirmations: AtomicUsize,
}

impl Watched {
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
impl Interceptor for Watched {
    fn info(&self, store: &dyn Store) -> StoreInfo {
        let mut info = store.info();
        info.is_sole_writer = false;
        info
    }

    async fn append(&self, store: &dyn Store, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let _held = self.held.read().await;
        self.appends.fetch_add(appends.len(), Ordering::SeqCst);
        let intruder = self.intruders.lock().unwrap().pop_front();
        if let Some(intruder) = intruder {
            store.append(vec![intruder]).await;
        }
        let lie = self.lies.lock().unwrap().pop_front();
        match lie {
            Some(outcomes) => outcomes,
            None => store.append(appends).await,
        }
    }

    async fn confirm(
        &self,
        store: &dyn Store,
        stream: &StreamId,
        version: StreamVersion,
        command: Option<CommandKey>,
    ) -> Result<Confirmation, StoreError> {
        self.confirmations.fetch_add(1, Ordering::SeqCst);
        store.confirm(stream, version, command).await
    }

    async fn read_stream(
        &self,
        store: &dyn Store,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let _held = self.held.read().await;
        let events = store.read_stream(stream, after, limit).await?;
        self.events_read.fetch_add(events.len(), Ordering::SeqCst);
        self.largest_read.fetch_max(events.len(), Ordering::SeqCst);
        Ok(events)
    }
}
