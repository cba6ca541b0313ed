//! The stage of one request, shared by its caller and its actor.
//!
//! A caller that runs out of patience must know if anything of its command can still be stored. So
//! there is one compare-and-set: either the actor begins to decide the request, or the caller withdraws
//! it, never both. A withdrawn request is never decided, and its key is free at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::in_flight::RunningKey;
use crate::command::Committed;

pub(crate) struct Ticket(Mutex<Stage>);

enum Stage {
    /// Nothing of the request has been passed to the store.
    Waiting(Option<RunningKey>),
    /// The actor decides it, or the store has it.
    Decided(Option<RunningKey>),
    /// Answered or withdrawn.
    Over,
}

impl Ticket {
    pub(crate) fn new(running: Option<RunningKey>) -> Self {
        Self(Mutex::new(Stage::Waiting(running)))
    }

    /// Nothing under the lock runs user code or panics.
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a decision; false if the caller has withdrawn the request.
    pub(crate) fn begin(&self) -> bool {
        let mut stage = self.stage();
        match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(running) | Stage::Decided(running) => {
                *stage = Stage::Decided(running);
                true
            }
            Stage::Over => false,
        }
    }

    /// The decision passed nothing to the store, or the store refused all of it.
    pub(crate) fn stored_nothing(&self) {
        let mut stage = self.stage();
        *stage = match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Decided(running) => Stage::Waiting(running),
            stage => stage,
        };
    }

    /// Withdraws the request; false if it may have been stored.
    pub(crate) fn withdraw(&self) -> bool {
        let withdrawn = {
            let mut stage = self.stage();
            match &*stage {
                Stage::Waiting(_) => std::mem::replace(&mut *stage, Stage::Over),
                Stage::Decided(_) | Stage::Over => return false,
            }
        };
        // Frees the key, which has a lock of its own.
        drop(withdrawn);
        true
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.stage(), Stage::Over)
    }

    /// Ends the request. Callers with the same key learn what was committed, if anything was.
    pub(crate) fn finish(&self, committed: Option<Committed>) {
        let stage = std::mem::replace(&mut *self.stage(), Stage::Over);
        if let (Stage::Waiting(Some(running)) | Stage::Decided(Some(running)), Some(committed)) =
            (stage, committed)
        {
            running.carried_out(committed);
        }
    }
}
