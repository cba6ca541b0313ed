//! Handle of a running read model, for reads, status and shutdown.
//!
//! A clone costs a counter, and a handle works on any thread. It knows the partition of each key. Reads
//! in flight are bounded here, because an actor's mailbox is not.

use std::cmp::max;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::Addr;
use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::actor::{Order, ReadModelActor};
use super::read::Read;
use super::{Document, ReadModel};
use crate::error::{ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::metrics::ReadMetrics;
use crate::partition::{FollowerControl, Followers, PartitionProgress, State};
use crate::store::contract::{Store, is_valid_key, partition_of};

/// A running read model: all its partitions.
pub(crate) struct ReadModelHandle<M: ReadModel> {
    inner: Arc<Inner<M>>,
}

pub(super) struct Inner<M: ReadModel> {
    pub(super) partitions: Vec<Partition<M>>,
    followers: Followers,
    pub(super) reads: Arc<Semaphore>,
    metrics: ReadMetrics,
    /// Weak, so that a handle does not keep the store open.
    store: Weak<dyn Store>,
}

/// A running partition.
pub(super) struct Partition<M: ReadModel> {
    pub(super) addr: Addr<ReadModelActor<M>>,
    pub(super) progress: Arc<PartitionProgress>,
}

impl<M: ReadModel> Clone for ReadModelHandle<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M: ReadModel> ReadModelHandle<M> {
    /// `partitions` by number.
    pub(super) fn new(
        partitions: Vec<Partition<M>>,
        followers: Followers,
        store: &Arc<dyn Store>,
        waiting_reads: usize,
    ) -> Self {
        let reads = Arc::new(Semaphore::new(waiting_reads));
        let (metrics, store) = (ReadMetrics::new(M::NAME), Arc::downgrade(store));
        let inner = Inner { partitions, followers, reads, metrics, store };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn inner(&self) -> &Inner<M> {
        &self.inner
    }

    /// The document of a key, at or after a position, and never before its partition has caught up
    /// with the head that the log had at start; waits at most `within` for that. That there is no
    /// such document is answered only from the log's head at the time of the call: a read model that
    /// is behind does not deny what the log has.
    ///
    /// # Errors
    /// [`ReadError`]
    pub(crate) async fn read(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Document<M>, ReadError> {
        let arrived = Instant::now();
        let answer = match self.ask(key, after, within).await {
            Err(ReadError::NotFound { reflects, .. }) if is_valid_key(key) => {
                self.ask_at_head(key, reflects, arrived, within).await
            }
            answer => answer,
        };
        self.inner.metrics.answered(arrived, &answer);
        answer
    }

    /// Reads again, from the head of the log, what was not there at `reflects`.
    async fn ask_at_head(
        &self,
        key: &str,
        reflects: GlobalPosition,
        arrived: Instant,
        within: Duration,
    ) -> Result<Document<M>, ReadError> {
        let left = || within.saturating_sub(arrived.elapsed());
        let late = || StoreError::Unavailable(format!("no head of the log within {within:?}"));
        let store = self.inner.store.upgrade().ok_or(ReadError::Stopping)?;
        let head = tokio::time::timeout(left(), store.head()).await;
        let head = head.map_err(|_| late())??;
        match head <= reflects {
            true => Err(ReadError::NotFound { model: M::NAME, key: key.to_owned(), reflects }),
            false => self.ask(key, head, left()).await,
        }
    }

    async fn ask(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Document<M>, ReadError> {
        if !is_valid_key(key) {
            // At any position: no event can have such a key.
            let reflects = self.inner.partitions[0].progress.reached();
            return Err(ReadError::NotFound { model: M::NAME, key: key.to_owned(), reflects });
        }
        // A mailbox of actix is not bounded for `do_send`, so the reads in flight are.
        let permit = Arc::clone(&self.inner.reads).try_acquire_owned();
        let permit = permit.map_err(|_| ReadError::Overloaded(M::NAME))?;
        let partitions = &self.inner.partitions;
        // As many as fit a u32, and the answer is below their number.
        let partition = &partitions[partition_of(key, partitions.len() as u32) as usize];
        partition.read(key, after, within, permit).await
    }
}

impl<M: ReadModel> Partition<M> {
    async fn read(
        &self,
        key: &str,
        after: GlobalPosition,
        within: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Result<Document<M>, ReadError> {
        // Never before what was answered already, or before the head at the start, so no read goes
        // back in time.
        let wanted = max(after, self.progress.answers_from());
        let (reply, answer) = oneshot::channel();
        // A dead actor drops the message, and with it `reply`.
        self.addr.do_send(Read { key: key.to_owned(), wanted, reply, _permit: permit });
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => Err(self.late(wanted, within)),
        }
    }

    fn late(&self, wanted: GlobalPosition, waited: Duration) -> ReadError {
        let wanted = max(wanted, self.progress.answers_from());
        let reached = self.progress.reached();
        match reached < wanted {
            true => {
                let paused = self.progress.pause_in_words();
                ReadError::NotYet { model: M::NAME, wanted, reached, waited, paused }
            }
            false => StoreError::Unavailable(format!("no document within {waited:?}")).into(),
        }
    }

    pub(super) fn ended(&self) -> ReadError {
        match self.progress.state() {
            State::Halted { position, reason } => {
                ReadError::Halted { model: M::NAME, position, reason }
            }
            State::CatchingUp | State::Live | State::Stopped => ReadError::Stopping,
        }
    }
}

#[async_trait]
impl<M: ReadModel> FollowerControl for ReadModelHandle<M> {
    fn followers(&self) -> &Followers {
        &self.inner.followers
    }

    fn requested(&self) {
        for partition in &self.inner.partitions {
            // A partition that has ended has nothing to do either.
            partition.addr.do_send(Order::LookForRequests);
        }
    }

    async fn flush_and_stop(&self) {
        let Inner { partitions, followers, .. } = &*self.inner;
        // First, so that no reader waits for events that are not folded any more.
        partitions.iter().for_each(|partition| partition.addr.do_send(Order::Refuse));
        followers.stop().await;
        for partition in partitions.iter().filter(|partition| partition.progress.is_running()) {
            partition.addr.do_send(Order::End);
        }
    }
}
