//! Progress of one partition in this process: the follower writes it; readers, status and metrics
//! read it.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::event::GlobalPosition;
use crate::metrics::WorkMetrics;
use crate::store::contract::{MAX_DOCUMENT_BYTES, PartitionId, Pause};

/// Size of a document from which on a warning is logged.
const WARN_ABOVE: usize = 1 << 20;

/// State of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not yet past the events that the log held at the start; no read is answered.
    CatchingUp,
    /// Follows the log.
    Live,
    /// Stopped for good: an event cannot be applied, or another process wrote without the lease.
    Halted { position: GlobalPosition, reason: String },
    /// Ended by its application.
    Stopped,
}

/// Progress of a partition at one moment, or of several partitions together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Reads reflect everything up to here.
    pub(crate) applied: GlobalPosition,
    /// Position of the checkpoint, as this process knows it.
    pub(crate) saved: GlobalPosition,
    /// Last position of the log at the start.
    pub(crate) head_at_start: GlobalPosition,
    /// True if this process owns the partition; if not, it answers from what the owner has saved.
    pub(crate) is_owner: bool,
    /// The pause of the follower, as this process knows it. An owner first finishes its work.
    pub(crate) pause: Option<Pause>,
    /// Number of parked keys, or of work items that this release cannot perform.
    pub(crate) parked_keys: usize,
    /// Last error, with its time.
    pub(crate) last_error: Option<(Instant, String)>,
    /// State of the partition.
    pub(crate) state: State,
}

/// Progress of one partition, shared by its follower and all who watch it.
pub(crate) struct PartitionProgress {
    id: PartitionId,
    metrics: WorkMetrics,
    now: watch::Sender<Progress>,
    /// Position below which no read is answered: the head at start, or what was answered before a
    /// lease was lost. Each read needs it, so it stands beside the lock.
    answers_from: AtomicU64,
    /// Position that a reader waits for. A saved checkpoint resets it: a reader that still waits
    /// then asks again.
    wanted: AtomicU64,
    wish: Notify,
    /// Size of the document that was warned of last.
    warned_at: AtomicUsize,
    /// Number of work items that run or can start.
    open_now: AtomicUsize,
    /// Time of the next item that waits, in microseconds since 1970.
    next_due: AtomicI64,
}

/// Marks a partition as running until it is dropped.
pub(crate) struct Running(Arc<PartitionProgress>);

impl PartitionProgress {
    pub(crate) fn new(
        id: PartitionId,
        position: GlobalPosition,
        head_at_start: GlobalPosition,
    ) -> Arc<Self> {
        let state = if position < head_at_start { State::CatchingUp } else { State::Live };
        let now = Progress {
            applied: position,
            saved: position,
            head_at_start,
            is_owner: false,
            pause: None,
            parked_keys: 0,
            last_error: None,
            state,
        };
        Arc::new(Self {
            metrics: WorkMetrics::new(&id.model, id.number),
            id,
            now: watch::Sender::new(now),
            answers_from: AtomicU64::new(head_at_start.0),
            wanted: AtomicU64::new(0),
            wish: Notify::new(),
            warned_at: AtomicUsize::new(0),
            open_now: AtomicUsize::new(0),
            next_due: AtomicI64::new(i64::MAX),
        })
    }

    pub(crate) fn id(&self) -> &PartitionId {
        &self.id
    }

    pub(crate) fn now(&self) -> Progress {
        self.now.borrow().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.now.borrow().state.clone()
    }

    /// Returns `false` once the partition has halted or stopped.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.now.borrow().state, State::CatchingUp | State::Live)
    }

    pub(crate) fn is_catching_up(&self) -> bool {
        self.now.borrow().state == State::CatchingUp
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.now.subscribe()
    }

    /// Sets the number of work items that run or can start, and the time of the next one that waits.
    pub(crate) fn set_open(&self, now: usize, next_due: Option<OffsetDateTime>) {
        self.open_now.store(now, Ordering::Release);
        let micros = |at: OffsetDateTime| (at.unix_timestamp_nanos() / 1_000) as i64;
        self.next_due.store(next_due.map_or(i64::MAX, micros), Ordering::Release);
    }

    /// Returns true if everything up to this position is applied, and what it led to until this time is
    /// performed.
    #[allow(dead_code, reason = "the test kit, a feature, waits for it")]
    pub(crate) fn is_settled(&self, head: GlobalPosition, at: OffsetDateTime) -> bool {
        // The position first: what an event opens is counted before its position is applied.
        self.now.borrow().applied >= head
            && self.open_now.load(Ordering::Acquire) == 0
            && self.next_due.load(Ordering::Acquire) > (at.unix_timestamp_nanos() / 1_000) as i64
    }

    /// Events up to here are applied in memory.
    pub(crate) fn applied(&self, position: GlobalPosition) {
        self.now.send_modify(|now| now.apply(position));
    }

    /// The checkpoint has reached this position.
    pub(crate) fn saved(&self, position: GlobalPosition) {
        // First, because a reader that learns of this checkpoint may at once wait for the next.
        self.wanted.store(0, Ordering::Release);
        self.now.send_modify(|now| now.saved = position);
    }

    /// Events are applied and saved up to here, as in a follower whose effects are its checkpoint's.
    pub(crate) fn committed(&self, position: GlobalPosition) {
        // One change and not two, because a reader that is woken looks at both positions.
        self.wanted.store(0, Ordering::Release);
        self.now.send_modify(|now| {
            now.saved = position;
            now.apply(position);
        });
    }

    pub(crate) fn owns(&self, is_owner: bool) {
        self.now.send_modify(|now| now.is_owner = is_owner);
    }

    /// The follower is paused, or with `None` resumed.
    pub(crate) fn pause(&self, pause: Option<Pause>) {
        self.now.send_modify(|now| now.pause = pause);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.now.borrow().pause.is_some()
    }

    /// The pause of the follower in words, for a reader who waits.
    pub(crate) fn pause_in_words(&self) -> Option<String> {
        self.now.borrow().pause.as_ref().map(Pause::to_string)
    }

    pub(crate) fn turn(&self, state: State) {
        self.now.send_modify(|now| now.state = state);
    }

    /// Halts the partition for good. From here on this process does not own it.
    pub(crate) fn halt(&self, position: GlobalPosition, reason: String) {
        self.failed(format_args!("halted at position {position}: {reason}"));
        self.now.send_modify(|now| {
            now.is_owner = false;
            now.state = State::Halted { position, reason };
        });
    }

    /// Sets the number of parked keys.
    pub(crate) fn parked(&self, keys: usize) {
        // Called after each piece of work, so it wakes nobody unless the number has changed.
        self.now.send_if_modified(|now| std::mem::replace(&mut now.parked_keys, keys) != keys);
    }

    /// Keeps an error for status, whether the follower recovered from it or not.
    pub(crate) fn failed(&self, error: impl Display) {
        let error = Some((Instant::now(), error.to_string()));
        self.now.send_modify(|now| now.last_error = error);
    }

    /// Counts events that were applied.
    pub(crate) fn count_events(&self, events: usize) {
        self.metrics.events.increment(events as u64);
    }

    /// Counts a save.
    pub(crate) fn count_save(&self) {
        self.metrics.saves.increment(1);
    }

    /// Reports the largest document of a save. Logs a warning when a document reaches 1 MiB, and
    /// again each time that the largest one has doubled.
    pub(crate) fn largest_document(&self, key: &str, bytes: usize) {
        self.metrics.largest_document.set(bytes as f64);
        let warned_at = self.warned_at.load(Ordering::Relaxed);
        if bytes >= WARN_ABOVE.max(warned_at.saturating_mul(2)) {
            self.warned_at.store(bytes, Ordering::Relaxed);
            let model = &self.id;
            warn!(%model, %key, bytes, limit = MAX_DOCUMENT_BYTES, "a document is large: it is copied for every event and written whole; divide it among several keys");
        }
    }

    /// Position up to which reads are answered.
    pub(crate) fn reached(&self) -> GlobalPosition {
        self.now.borrow().applied
    }

    /// From here on no read is answered from before this position.
    pub(crate) fn answer_from(&self, position: GlobalPosition) {
        self.answers_from.fetch_max(position.0, Ordering::AcqRel);
    }

    pub(crate) fn answers_from(&self) -> GlobalPosition {
        GlobalPosition(self.answers_from.load(Ordering::Acquire))
    }

    /// A reader waits for a checkpoint at this position.
    pub(crate) fn want(&self, position: GlobalPosition) {
        // Notified once, because it ends what the follower waits for, a read of the store too.
        if self.wanted.fetch_max(position.0, Ordering::AcqRel) < position.0 {
            self.wish.notify_one();
        }
    }

    /// Checks that a reader waits for more than this process has saved.
    pub(crate) fn is_wanted(&self, saved: GlobalPosition) -> bool {
        self.wanted.load(Ordering::Acquire) > saved.0
    }

    /// Waits until a reader waits for a checkpoint.
    pub(crate) async fn wish(&self) {
        self.wish.notified().await;
    }

    /// Waits until the partition has halted or stopped.
    pub(crate) async fn ended(&self) {
        let has_ended = |now: &Progress| matches!(now.state, State::Stopped | State::Halted { .. });
        // Cannot fail: the sender is in `self`.
        let _ = self.watch().wait_for(has_ended).await;
    }

    pub(crate) fn running(self: &Arc<Self>) -> Running {
        Running(Arc::clone(self))
    }
}

impl Progress {
    /// Returns true if it is paused, and its work is finished as far as this process can tell.
    pub(crate) fn stands_still(&self) -> bool {
        self.pause.is_some() && !self.is_owner
    }

    fn apply(&mut self, position: GlobalPosition) {
        self.applied = position;
        if position >= self.head_at_start && self.state == State::CatchingUp {
            self.state = State::Live;
        }
    }
}

impl Drop for Running {
    /// However a follower ends, all who watch it learn of it.
    fn drop(&mut self) {
        let is_panic = std::thread::panicking();
        self.0.now.send_modify(|now| {
            now.is_owner = false;
            if matches!(now.state, State::Halted { .. }) {
                return;
            }
            now.state = State::Stopped;
            if is_panic {
                let (position, reason) = (now.applied.next(), "its task panicked".to_owned());
                now.state = State::Halted { position, reason };
            }
        });
    }
}

/// All partitions as one: the least of their positions and the worst of their states.
pub(crate) fn overall(partitions: &[Arc<PartitionProgress>]) -> Progress {
    let rank = |state: &State| match state {
        State::Live => 0,
        State::CatchingUp => 1,
        State::Stopped => 2,
        State::Halted { .. } => 3,
    };
    let all = partitions.iter().map(|partition| partition.now());
    let merged = all.reduce(|one, other| Progress {
        applied: one.applied.min(other.applied),
        saved: one.saved.min(other.saved),
        head_at_start: one.head_at_start,
        is_owner: one.is_owner && other.is_owner,
        pause: one.pause.or(other.pause),
        parked_keys: one.parked_keys + other.parked_keys,
        last_error: one.last_error.or(other.last_error),
        state: if rank(&other.state) > rank(&one.state) { other.state } else { one.state },
    });
    merged.unwrap_or(Progress {
        applied: GlobalPosition::ZERO,
        saved: GlobalPosition::ZERO,
        head_at_start: GlobalPosition::ZERO,
        is_owner: true,
        pause: None,
        parked_keys: 0,
        last_error: None,
        state: State::Live,
    })
}
