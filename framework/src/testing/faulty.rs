//! A store that fails on demand, around one that works.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::intercepted::{InterceptedStore, Interceptor};
use crate::error::StoreError;
use crate::event::{GlobalPosition, RecordedEvent, StreamId, StreamVersion};
use crate::store::contract::{
    AnyStore, Append, AppendOutcome, Filter, NotCommitted, Page, PageLimit, Store, StoreInfo,
};

/// A failure that a [`FaultyStore`] produces once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next append is refused.
    Unavailable,
    /// The next append is stored, but its reply is lost.
    UnknownButStored,
    /// The next append is lost, and so is its reply.
    UnknownNotStored,
    /// The next read of a stream fails.
    ReadError,
    /// The next read of a stream returns one event only, which the contract allows.
    ShortRead,
}

/// Faults to come and the delay of pages; see [`FaultyStore`].
#[derive(Default)]
pub struct Faults {
    queue: Mutex<VecDeque<Fault>>,
    page_delay: Mutex<Duration>,
}

/// A store around another that fails on demand. Clones share the faults to come.
///
/// Decisions are confirmed as they are with several writing processes, because it reports that
/// other processes can write.
pub type FaultyStore = InterceptedStore<Faults>;

impl FaultyStore {
    /// A store that passes every call on until [`Faults::fail_next`] is called.
    pub fn new(inner: impl Into<AnyStore>) -> Self {
        Self::around(inner, Faults::default())
    }
}

impl Faults {
    /// Delays each page of the log by this much from now on, as on a slow disk.
    pub fn delay_pages(&self, by: Duration) {
        *self.page_delay.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// Adds a fault. Faults of one kind of call occur in the order in which they were added.
    pub fn fail_next(&self, fault: Fault) {
        self.queue().push_back(fault);
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut queue = self.queue();
        let index = queue.iter().position(|fault| concerns(*fault))?;
        queue.remove(index)
    }
}

fn concerns_reads(fault: Fault) -> bool {
    matches!(fault, Fault::ReadError | Fault::ShortRead)
}

#[async_trait]
impl Interceptor for Faults {
    fn info(&self, store: &dyn Store) -> StoreInfo {
        StoreInfo { is_sole_writer: false, ..store.info() }
    }

    async fn append(&self, store: &dyn Store, appends: Vec<Append>) -> Vec<AppendOutcome> {
        let count = appends.len();
        let lost = "injected fault: the result is lost";
        let unknown = || vec![AppendOutcome::Unknown(lost.into()); count];
        match self.take(|fault| !concerns_reads(fault)) {
            None | Some(Fault::ReadError | Fault::ShortRead) => store.append(appends).await,
            Some(Fault::Unavailable) => {
                let reason = NotCommitted::Unavailable("injected fault".into());
                vec![AppendOutcome::NotCommitted(reason); count]
            }
            Some(Fault::UnknownNotStored) => unknown(),
            Some(Fault::UnknownButStored) => {
                store.append(appends).await;
                unknown()
            }
        }
    }

    async fn read_stream(
        &self,
        store: &dyn Store,
        stream: &StreamId,
        after: StreamVersion,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        match self.take(concerns_reads) {
            Some(Fault::ReadError) => Err(StoreError::Unavailable("injected fault".into())),
            Some(_) => {
                store.read_stream(stream, after, PageLimit::events(limit.events.min(1))).await
            }
            None => store.read_stream(stream, after, limit).await,
        }
    }

    async fn read_all(
        &self,
        store: &dyn Store,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        let delay = *self.page_delay.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(delay).await;
        store.read_all(after, filter, limit).await
    }
}
