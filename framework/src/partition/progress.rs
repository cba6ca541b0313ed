//! Progress of a partition: written by its actor, read by its handles, by status and by metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::work::Work;
use crate::event::GlobalPosition;
use crate::store::contract::PartitionId;

/// State of a partition of a read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not yet past the events that the log held at the start; no read is answered.
    CatchingUp,
    /// Follows the log.
    Live,
    /// Stopped for good: an event cannot be applied, or another process wrote without the lease.
    Halted {
        /// Position of the event that cannot be applied.
        position: GlobalPosition,
        /// Why.
        reason: String,
    },
    /// Ended by its application.
    Stopped,
}

/// Progress of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Reads reflect everything up to here.
    pub(crate) applied: GlobalPosition,
    /// After a crash it would go on from here.
    pub(crate) saved: GlobalPosition,
    /// Last position of the log at the start.
    pub(crate) head_at_start: GlobalPosition,
    /// True if this process folds and saves; if not, another one does and this one answers from what
    /// is saved.
    pub(crate) is_owner: bool,
    /// Number of parked keys.
    pub(crate) parked_keys: usize,
    /// Last error, with its time.
    pub(crate) last_error: Option<(Instant, String)>,
    /// State of the partition.
    pub(crate) state: State,
}

/// Progress that the actor writes and its handles read.
pub(crate) struct SharedProgress {
    applied: AtomicU64,
    saved: AtomicU64,
    head_at_start: GlobalPosition,
    /// Nothing older is answered: the head at start, and what was answered before a lease was lost.
    answers_from: AtomicU64,
    is_owner: AtomicBool,
    pub(crate) work: Work,
    state: Mutex<State>,
}

impl SharedProgress {
    pub(crate) fn new(
        id: &PartitionId,
        position: GlobalPosition,
        head_at_start: GlobalPosition,
    ) -> Arc<Self> {
        let state = if position < head_at_start { State::CatchingUp } else { State::Live };
        Arc::new(Self {
            applied: AtomicU64::new(position.0),
            saved: AtomicU64::new(position.0),
            head_at_start,
            answers_from: AtomicU64::new(head_at_start.0),
            is_owner: AtomicBool::new(false),
            work: Work::new(id),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn applied(&self, position: GlobalPosition) {
        self.applied.store(position.0, Ordering::Release);
        if position >= self.head_at_start && self.state() == State::CatchingUp {
            self.turn(State::Live);
        }
    }

    pub(crate) fn saved(&self, position: GlobalPosition) {
        self.saved.store(position.0, Ordering::Release);
    }

    pub(crate) fn owns(&self, is_owner: bool) {
        self.is_owner.store(is_owner, Ordering::Release);
    }

    /// Nothing older than this is answered any more.
    pub(crate) fn answer_from(&self, position: GlobalPosition) {
        self.answers_from.fetch_max(position.0, Ordering::AcqRel);
    }

    pub(crate) fn answers_from(&self) -> GlobalPosition {
        GlobalPosition(self.answers_from.load(Ordering::Acquire))
    }

    pub(crate) fn turn(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads are answered up to here.
    pub(crate) fn reached(&self) -> GlobalPosition {
        GlobalPosition(self.applied.load(Ordering::Acquire))
    }

    /// Returns `false` once the partition has halted or stopped.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state(), State::CatchingUp | State::Live)
    }

    pub(crate) fn progress(&self) -> Progress {
        let at = |counter: &AtomicU64| GlobalPosition(counter.load(Ordering::Acquire));
        Progress {
            applied: at(&self.applied),
            saved: at(&self.saved),
            head_at_start: self.head_at_start,
            is_owner: self.is_owner.load(Ordering::Acquire),
            parked_keys: self.work.parked_keys(),
            last_error: self.work.last_error(),
            state: self.state(),
        }
    }
}
