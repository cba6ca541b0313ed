//! How the partitions of a projection stand: written by each, watched by whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

use super::progress::{Progress, State};
use super::work::Work;
use crate::event::GlobalPosition;
use crate::store::contract::PartitionId;

/// One partition.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The checkpoint, as this process knows it.
    pub(crate) saved: GlobalPosition,
    pub(crate) is_owner: bool,
    pub(crate) state: State,
}

/// What holds of all partitions.
pub(crate) struct Overall {
    pub(crate) saved: GlobalPosition,
    pub(crate) is_owner: bool,
    pub(crate) state: State,
}

/// All partitions.
pub(crate) struct Standings {
    head_at_start: GlobalPosition,
    all: Vec<watch::Sender<Standing>>,
    work: Vec<Work>,
    wishes: Vec<Wish>,
}

/// What is waited for in one partition.
#[derive(Default)]
struct Wish {
    /// This is to be in the checkpoint, though there may be nothing to take in. A step of the
    /// checkpoint ends it: who still waits then says so again.
    wanted: AtomicU64,
    made: Notify,
}

/// A partition whose thread has not ended.
pub(crate) struct Running {
    standings: Arc<Standings>,
    number: u32,
}

impl Standings {
    pub(crate) fn new(ids: &[PartitionId], head_at_start: GlobalPosition) -> Self {
        let state = match head_at_start {
            GlobalPosition::ZERO => State::Live,
            _ => State::CatchingUp,
        };
        let standing = Standing { saved: GlobalPosition::ZERO, is_owner: false, state };
        let all = ids.iter().map(|_| watch::Sender::new(standing.clone())).collect();
        let wishes = ids.iter().map(|_| Wish::default()).collect();
        let work = ids.iter().map(Work::new).collect();
        Self { head_at_start, all, work, wishes }
    }

    fn change(&self, number: u32, change: impl FnOnce(&mut Standing)) {
        self.all[number as usize].send_modify(change);
    }

    pub(crate) fn saved(&self, number: u32, position: GlobalPosition) {
        let head_at_start = self.head_at_start;
        // First: who learns of this step may have a wish again at once.
        self.wishes[number as usize].wanted.store(0, Ordering::Release);
        self.change(number, |standing| {
            standing.saved = position;
            if position >= head_at_start && standing.state == State::CatchingUp {
                standing.state = State::Live;
            }
        });
    }

    pub(crate) fn owns(&self, number: u32, is_owner: bool) {
        self.change(number, |standing| standing.is_owner = is_owner);
    }

    /// What a partition tells of its work.
    pub(crate) fn work(&self, number: u32) -> &Work {
        &self.work[number as usize]
    }

    pub(crate) fn turn(&self, number: u32, state: State) {
        self.change(number, |standing| standing.state = state);
    }

    /// The thread of a partition panicked outside of the user's code.
    pub(crate) fn panicked(&self, number: u32) {
        self.change(number, |standing| {
            standing.is_owner = false;
            let (position, reason) = (standing.saved.next(), "its task panicked".to_owned());
            standing.state = State::Halted { position, reason };
        });
    }

    /// Until the partition is dropped it runs.
    pub(crate) fn running(self: &Arc<Self>, number: u32) -> Running {
        Running { standings: Arc::clone(self), number }
    }

    /// Nothing older is answered.
    pub(crate) fn head_at_start(&self) -> GlobalPosition {
        self.head_at_start
    }

    /// Somebody waits for this position in every partition.
    pub(crate) fn want(&self, position: GlobalPosition) {
        for wish in &self.wishes {
            // Told once: it ends what the partition waits for, a read of the store too.
            if wish.wanted.fetch_max(position.0, Ordering::AcqRel) < position.0 {
                wish.made.notify_one();
            }
        }
    }

    /// Whether somebody waits for what comes after `saved`.
    pub(crate) fn is_wanted(&self, number: u32, saved: GlobalPosition) -> bool {
        self.wishes[number as usize].wanted.load(Ordering::Acquire) > saved.0
    }

    /// Waits until somebody waits.
    pub(crate) async fn wish(&self, number: u32) {
        self.wishes[number as usize].made.notified().await;
    }

    pub(crate) fn watch(&self) -> Vec<watch::Receiver<Standing>> {
        self.all.iter().map(watch::Sender::subscribe).collect()
    }

    pub(crate) fn each(&self) -> Vec<Progress> {
        let head_at_start = self.head_at_start;
        let progress = |(standing, work): (&watch::Sender<Standing>, &Work)| {
            let Standing { saved, is_owner, state } = standing.borrow().clone();
            let (parked_keys, last_error) = (work.parked_keys(), work.last_error());
            let applied = saved;
            Progress { applied, saved, head_at_start, is_owner, parked_keys, last_error, state }
        };
        self.all.iter().zip(&self.work).map(progress).collect()
    }

    /// All of it as one: the least of them, and the worst.
    pub(crate) fn overall(&self) -> Overall {
        let worst = |progress: &Progress| match progress.state {
            State::Halted { .. } => 3,
            State::Stopped => 2,
            State::CatchingUp => 1,
            State::Live => 0,
        };
        let each = self.each();
        let state = each.iter().max_by_key(|one| worst(one)).map(|one| one.state.clone());
        Overall {
            saved: each.iter().map(|one| one.saved).min().unwrap_or_default(),
            is_owner: each.iter().all(|one| one.is_owner),
            state: state.unwrap_or(State::Live),
        }
    }
}

impl Drop for Running {
    /// However the thread ends, whoever waits learns of it.
    fn drop(&mut self) {
        let is_panic = std::thread::panicking();
        self.standings.change(self.number, |standing| {
            standing.is_owner = false;
            if !matches!(standing.state, State::Halted { .. }) {
                let position = standing.saved.next();
                let reason = "its task panicked".to_owned();
                standing.state = match is_panic {
                    true => State::Halted { position, reason },
                    false => State::Stopped,
                };
            }
        });
    }
}
