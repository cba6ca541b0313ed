//! A memory store that tests can delay, interrupt and make fail.
//!
//! Every call of the read side first runs a hook, which may wait or return an error. Events are
//! appended directly to the memory store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use crate::error::StoreError;
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, RecordedEvent, StreamId};
use crate::store::contract::{
    Append, AppendOutcome, Checkpoint, DocumentBatch, DocumentRange, DocumentsAt, EventStore,
    Filter, Lease, Page, PageLimit, PartitionId, Store, StoreInfo, StoredPage,
};
use crate::store::memory::MemoryStore;
use crate::testing::{InterceptedStore, Interceptor};

#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a test makes few of them")]
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

/// A memory store with a hook; dereferences to [`Hooked`].
pub(crate) type TestStore = InterceptedStore<Hooked>;

/// Hook of a [`TestStore`], and the memory store behind it.
#[derive(Clone)]
pub(crate) struct Hooked {
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
        Self::of(Hooked { memory, hook: Arc::new(hook), hints: true, is_shared: false })
    }

    fn of(hooked: Hooked) -> Self {
        Self::around(hooked.memory.clone(), hooked)
    }

    /// Gives no hint of a new head any more.
    pub(crate) fn deaf(self) -> Self {
        Self::of(Hooked { hints: false, ..Hooked::clone(&self) })
    }

    /// Says that other processes write to it too.
    pub(crate) fn shared(self) -> Self {
        Self::of(Hooked { is_shared: true, ..Hooked::clone(&self) })
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
impl Interceptor for Hooked {
    fn info(&self, store: &dyn Store) -> StoreInfo {
        StoreInfo { is_sole_writer: !self.is_shared, ..store.info() }
    }

    fn watch_head(&self, store: &dyn Store) -> watch::Receiver<GlobalPosition> {
        match self.hints {
            true => store.watch_head(),
            false => watch::Sender::new(GlobalPosition::ZERO).subscribe(),
        }
    }

    async fn read_all(
        &self,
        store: &dyn Store,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        (self.hook)(Call::ReadAll(after)).await?;
        store.read_all(after, filter, limit).await
    }

    async fn read_positions(
        &self,
        store: &dyn Store,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        (self.hook)(Call::ReadPositions).await?;
        store.read_positions(positions, limit).await
    }

    async fn load_checkpoint(
        &self,
        store: &dyn Store,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        (self.hook)(Call::LoadCheckpoint).await?;
        store.load_checkpoint(partition).await
    }

    async fn load_documents(
        &self,
        store: &dyn Store,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        (self.hook)(Call::LoadDocuments(keys.to_vec())).await?;
        let loaded = store.load_documents(partition, keys).await?;
        (self.hook)(Call::Loaded).await?;
        Ok(loaded)
    }

    async fn list_documents(
        &self,
        store: &dyn Store,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        (self.hook)(Call::ListDocuments).await?;
        store.list_documents(model, range).await
    }

    async fn save_documents(
        &self,
        store: &dyn Store,
        batch: DocumentBatch,
    ) -> Result<(), StoreError> {
        (self.hook)(Call::Save(batch.clone())).await?;
        let saved = store.save_documents(batch).await;
        if let Err(StoreError::LeaseLost { .. }) = saved {
            (self.hook)(Call::Fenced).await?;
        }
        saved?;
        (self.hook)(Call::Saved).await
    }

    async fn renew_lease(
        &self,
        store: &dyn Store,
        lease: &Lease,
        duration: Duration,
    ) -> Result<bool, StoreError> {
        (self.hook)(Call::Renew).await?;
        store.renew_lease(lease, duration).await
    }

    async fn join(
        &self,
        store: &dyn Store,
        model: &str,
        process: Uuid,
        duration: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        (self.hook)(Call::Join).await?;
        store.join(model, process, duration).await
    }
}
