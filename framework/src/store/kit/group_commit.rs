//! Group commit: one writer, one transaction for all that queued while the last one was in flight.
//!
//! There is no timer: an idle system commits at once, a loaded one makes its own batches. The
//! writer lives on a thread of its own, so no caller can cancel a commit by going away. When a
//! commit's fate is unknown the same batch is sent again, with the same ids, until the store
//! answers; only then are the callers. The queue is bounded by number and by bytes: a full one makes
//! appenders wait.

mod parts;
mod queued;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use self::queued::Queued;
use crate::byte_budget::{ByteBudget, Reservation};
use crate::error::{StartError, StoreError};
use crate::event::{ExpectedVersion, GlobalPosition, StreamVersion};
use crate::metrics::CommitMetrics;
use crate::store::contract::{Append, AppendOutcome, NotCommitted};
use crate::threads;

/// Maximum number of submissions that wait; beyond it appenders wait to submit.
const QUEUE: usize = 4096;

/// Default for the bytes of the submissions that wait or are being written: 64 MiB. Beyond it
/// appenders wait to submit; a larger submission waits until it is alone.
pub const QUEUE_BYTES: usize = 64 << 20;

/// When a batch is full: it bounds the transaction's memory and time, not the throughput.
const MAX_BATCH_EVENTS: usize = 1000;
const MAX_BATCH_BYTES: usize = 8 << 20;

/// Most bytes of one call that go into one transaction, which must end in the time it has. A larger
/// call is split.
const MAX_CALL_BYTES: usize = 64 << 20;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Time between two probes of a database whose last commit failed.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Writes that share one transaction.
#[derive(Debug)]
pub struct Batch<S> {
    /// Appends, in the order in which they were queued.
    pub appends: Vec<Append>,
    /// Other writes in the same transaction, which so cost no sync of their own. They are independent
    /// of the appends and of one another: one that fails leaves the others alone.
    pub side_writes: Vec<S>,
}

impl<S> Batch<S> {
    /// Number of its events that were stored just now.
    fn stored(&self, written: &Written) -> usize {
        let outcomes = self.appends.iter().zip(&written.appends);
        let is_stored = |outcome: &_| matches!(outcome, AppendOutcome::Committed(c) if !c.replayed);
        outcomes.filter(|(_, outcome)| is_stored(outcome)).map(|(a, _)| a.events.len()).sum()
    }
}

/// Outcome of a batch that was committed.
#[derive(Debug, Default)]
pub struct Written {
    /// One for each append, in order.
    pub appends: Vec<AppendOutcome>,
    /// One for each side write, in order; what was asked of it is told by the side write.
    pub side_writes: Vec<Result<bool, StoreError>>,
    /// The last position of the log.
    pub head: GlobalPosition,
}

/// Failure of a batch: it was not committed, or perhaps not.
#[derive(Debug)]
pub enum WriteFailure {
    /// Certainly nothing of it was stored.
    NotCommitted(String),
    /// Perhaps. The writer must be reopened and the batch sent again.
    Unknown(String),
    /// The database holds another history than the batch was decided on. Sending it again is of no
    /// use: if an earlier attempt was stored, then in the history that is gone.
    #[allow(dead_code, reason = "not every store can lose its history")]
    OtherHistory(String),
}

impl WriteFailure {
    /// The message of the database.
    pub fn reason(&self) -> &str {
        let (Self::NotCommitted(reason) | Self::Unknown(reason) | Self::OtherHistory(reason)) =
            self;
        reason
    }
}

/// A batch that was given up.
struct GivenUp {
    reason: String,
    /// An earlier attempt may have been stored.
    is_in_doubt: bool,
}

/// The one connection that writes.
#[async_trait(?Send)]
pub trait Writer {
    /// Type of its writes beside the appends.
    type Side: Send + 'static;

    /// Writes the batch in one transaction. `again` says that an earlier attempt of this very
    /// batch may have been committed: then what stands already is answered, not written twice.
    async fn write(
        &mut self,
        batch: &Batch<Self::Side>,
        again: bool,
    ) -> Result<Written, WriteFailure>;

    /// Throws the connection away and opens a new one.
    async fn reopen(&mut self) -> Result<(), StoreError>;

    /// Checks whether the last commit failed, so that [`Writer::probe`] is called until one succeeds.
    fn is_troubled(&self) -> bool {
        false
    }

    /// Tries a commit of no consequence: without it a store that nobody writes to would report its
    /// last failure for ever.
    async fn probe(&mut self) {}

    /// The queue is closed and empty: the last chance to close the connection in order. Returns the
    /// reason if the database could not be left as a clean stop should leave it.
    async fn close(&mut self) -> Result<(), String>;
}

enum Job<S> {
    Append(Vec<Append>, oneshot::Sender<Vec<AppendOutcome>>, Bytes),
    #[allow(dead_code, reason = "not every store writes beside the appends")]
    Side(S, oneshot::Sender<Result<bool, StoreError>>, Bytes),
    #[allow(dead_code, reason = "not every store is closed by its application")]
    Close(oneshot::Sender<Result<(), String>>),
}

impl<S> Job<S> {
    /// Answers that nothing was stored. Returns the reply of a request to close.
    fn refuse(self) -> Option<oneshot::Sender<Result<(), String>>> {
        let reason = || "the writer has stopped".to_owned();
        match self {
            Self::Append(appends, reply, _) => {
                let refused = NotCommitted::Unavailable(reason());
                let _ = reply.send(vec![AppendOutcome::NotCommitted(refused); appends.len()]);
            }
            Self::Side(_, reply, _) => drop(reply.send(Err(StoreError::Unavailable(reason())))),
            Self::Close(reply) => return Some(reply),
        }
        None
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(.., Bytes { bytes, .. }) | Self::Side(.., Bytes { bytes, .. }) => *bytes,
            Self::Close(_) => 0,
        }
    }
}

/// Size of a job, counted in the queue's budget until the job is answered.
struct Bytes {
    bytes: usize,
    _reserved: Option<Reservation>,
}

/// The queue in front of a [`Writer`]. When the last clone is gone the writer finishes what is
/// queued and closes.
pub struct Committer<S> {
    queue: mpsc::Sender<Job<S>>,
    budget: ByteBudget,
}

impl<S> Clone for Committer<S> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), budget: self.budget.clone() }
    }
}

impl<S: Send + 'static> Committer<S> {
    /// Starts the writer's thread. `open` makes the writer there; `head` is raised with every
    /// commit. At most `queue_bytes` wait in the queue or are being written.
    pub fn start<W, F>(
        head: Arc<watch::Sender<GlobalPosition>>,
        queue_bytes: usize,
        open: F,
    ) -> Result<Self, StartError>
    where
        W: Writer<Side = S> + 'static,
        F: FnOnce() -> W + Send + 'static,
    {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let metrics = CommitMetrics::new();
        let write = move |runtime: Runtime| runtime.block_on(run(open(), jobs, head, metrics));
        threads::start(thread::Builder::new().name("actum-committer".into()), write)
            .map_err(|e| StartError::Thread(e.to_string()))?;
        Ok(Self { queue, budget: ByteBudget::new(queue_bytes) })
    }

    /// See `EventStore::append`. A call that is too large for one transaction is split.
    pub async fn append(&self, appends: Vec<Append>) -> Vec<AppendOutcome> {
        if appends.iter().map(Append::bytes).sum::<usize>() <= MAX_CALL_BYTES {
            return self.append_whole(appends).await;
        }
        let (committer, count) = (self.clone(), appends.len());
        // On a task of its own, because the write goes on when the caller stops waiting.
        let parts = tokio::spawn(async move { committer.append_in_parts(appends).await });
        let lost = || AppendOutcome::Unknown("the writer stopped before it answered".into());
        parts.await.unwrap_or_else(|_| vec![lost(); count])
    }

    async fn append_whole(&self, mut appends: Vec<Append>) -> Vec<AppendOutcome> {
        let count = appends.len();
        let bytes = appends.iter().map(Append::bytes).sum();
        // In the batch it may come right after another caller's append to its stream, which is not
        // what it was decided on: so it shall expect what no stream is.
        if let Some(first) = appends.first_mut().filter(|first| first.chained) {
            first.expected = ExpectedVersion::Exact(StreamVersion(u64::MAX));
        }
        let (reply, outcome) = oneshot::channel();
        let bytes = self.reserve(bytes).await;
        if self.queue.send(Job::Append(appends, reply, bytes)).await.is_err() {
            let stopped = NotCommitted::Unavailable("the writer has stopped".into());
            return vec![AppendOutcome::NotCommitted(stopped); count];
        }
        let lost = || AppendOutcome::Unknown("the writer stopped before it answered".into());
        outcome.await.unwrap_or_else(|_| vec![lost(); count])
    }

    async fn reserve(&self, bytes: usize) -> Bytes {
        Bytes { bytes, _reserved: self.budget.reserve(bytes).await }
    }

    /// Writes beside the appends, so many bytes; answers when it is durable.
    pub async fn write(&self, side_write: S, bytes: usize) -> Result<bool, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let bytes = self.reserve(bytes).await;
        if self.queue.send(Job::Side(side_write, reply, bytes)).await.is_err() {
            return Err(StoreError::Unavailable("the writer has stopped".into()));
        }
        let lost = |_| StoreError::Unknown("the writer stopped before it answered".into());
        outcome.await.unwrap_or_else(|e| Err(lost(e)))
    }

    /// Settles everything that is queued, closes the writer and ends its thread. Later calls are
    /// answered that the writer has stopped.
    pub async fn close(&self) -> Result<(), String> {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Job::Close(reply)).await.is_err() {
            return Ok(()); // it has been closed before
        }
        closed.await.unwrap_or_else(|_| Err("the writer stopped before it was closed".into()))
    }
}

async fn run<W: Writer>(
    mut writer: W,
    mut jobs: mpsc::Receiver<Job<W::Side>>,
    head: Arc<watch::Sender<GlobalPosition>>,
    metrics: CommitMetrics,
) {
    let mut answering = tokio::spawn(async {});
    let (mut kept, mut closing) = (None, None);
    while closing.is_none() {
        let next = match kept.take() {
            Some(job) => Some(job),
            None => next(&mut writer, &mut jobs).await,
        };
        let Some(job) = next else { break };
        let mut queued = Queued::new();
        closing = queued.take(job);
        while closing.is_none()
            && !queued.is_full()
            && let Ok(job) = jobs.try_recv()
        {
            if !queued.has_room_for(&job) {
                kept = Some(job);
                break;
            }
            closing = queued.take(job);
        }
        if queued.is_empty() && closing.is_some() {
            break;
        }
        let began = Instant::now();
        let result = settle(&mut writer, &queued.batch, &metrics).await;
        let stored = result.as_ref().map_or(0, |written| queued.batch.stored(written));
        metrics.settled(began, queued.batch.appends.len(), stored);
        if let Ok(written) = &result {
            raise(&head, written.head);
        }
        // The answers go out while the next batch is with the database.
        answering = tokio::spawn(async move { queued.answer(result) });
    }
    // The last ones to be answered; it cannot fail, because sending cannot panic.
    let _ = answering.await;
    // Nothing of what came after the request to close is stored, so its outcome is not unknown.
    let mut closers = Vec::from_iter(closing);
    jobs.close();
    while let Some(job) = jobs.recv().await {
        closers.extend(job.refuse());
    }
    let closed = writer.close().await;
    match &closed {
        Err(reason) if closers.is_empty() => warn!(%reason, "the database was not closed in order"),
        _ => {}
    }
    for reply in closers {
        let _ = reply.send(closed.clone()); // whoever closed it may have given up
    }
}

/// The next job. While the last commit stands failed, probes the database once a second.
async fn next<W: Writer>(
    writer: &mut W,
    jobs: &mut mpsc::Receiver<Job<W::Side>>,
) -> Option<Job<W::Side>> {
    while writer.is_troubled() {
        match timeout(PROBE_EVERY, jobs.recv()).await {
            Ok(job) => return job,
            Err(_) => writer.probe().await,
        }
    }
    jobs.recv().await
}

/// Tells who watches the head of a later one.
pub(crate) fn raise(head: &watch::Sender<GlobalPosition>, to: GlobalPosition) {
    head.send_if_modified(|known| {
        let later = to > *known;
        *known = (*known).max(to);
        later
    });
}

/// Writes the batch until it is certain what became of it, or until nobody can learn it any more.
async fn settle<W: Writer>(
    writer: &mut W,
    batch: &Batch<W::Side>,
    metrics: &CommitMetrics,
) -> Result<Written, GivenUp> {
    let mut again = false;
    let mut pause = FIRST_PAUSE;
    loop {
        let reason = match writer.write(batch, again).await {
            Ok(written) => return Ok(written),
            Err(WriteFailure::NotCommitted(reason)) if !again => {
                return Err(GivenUp { reason, is_in_doubt: false });
            }
            Err(WriteFailure::OtherHistory(reason)) => {
                return Err(GivenUp { reason, is_in_doubt: again });
            }
            // An earlier attempt is still in doubt: only an answer to all of it settles that.
            Err(WriteFailure::NotCommitted(reason) | WriteFailure::Unknown(reason)) => reason,
        };
        metrics.in_doubt();
        error!(%reason, appends = batch.appends.len(), "the outcome of a commit is unknown; resending the same batch");
        again = true;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match writer.reopen().await {
                Ok(()) => break,
                Err(error @ StoreError::OtherHistory(_)) => {
                    return Err(GivenUp { reason: error.to_string(), is_in_doubt: true });
                }
                Err(error) => warn!(%error, "the writer's connection cannot be reopened yet"),
            }
        }
    }
}
