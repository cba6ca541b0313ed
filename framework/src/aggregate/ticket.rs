//! Stage of one request, shared by its caller and its actor.
//!
//! After a timeout, the caller must know if anything of its command can still be stored. So under
//! one lock either the actor begins to decide the request, or the caller withdraws it, never both.
//! A withdrawn request is never decided, and its key is free at once.
//!
//! See `docs/decisions.md`, "What does a caller get when its time is over?"

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::in_flight::RunningKey;
use crate::command::Committed;

pub(crate) struct Ticket(Mutex<Stage>);

enum Stage {
    /// Nothing of the request has been passed to the store.
    Waiting(Option<RunningKey>),
    /// The actor is deciding the request, or the store has it.
    Decided(Option<RunningKey>),
    /// The request is finished or was withdrawn.
    Over,
}

impl Ticket {
    pub(crate) fn new(running: Option<RunningKey>) -> Self {
        Self(Mutex::new(Stage::Waiting(running)))
    }

    /// No code under the lock runs user code or panics, so a poisoned lock is still valid.
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a decision. Returns false if the caller has withdrawn the request.
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

    /// Marks the request as not stored: the decision appended nothing, or the store refused the
    /// append.
    pub(crate) fn stored_nothing(&self) {
        let mut stage = self.stage();
        *stage = match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Decided(running) => Stage::Waiting(running),
            stage => stage,
        };
    }

    /// Withdraws the request. Returns false if it may have been stored, or has ended.
    pub(crate) fn withdraw(&self) -> bool {
        let withdrawn = {
            let mut stage = self.stage();
            match &*stage {
                Stage::Waiting(_) => std::mem::replace(&mut *stage, Stage::Over),
                Stage::Decided(_) | Stage::Over => return false,
            }
        };
        // Outside the lock, because dropping the running key takes its lock too.
        drop(withdrawn);
        true
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.stage(), Stage::Over)
    }

    /// Ends the request. Waiting commands with the same key get the result, if the command was
    /// committed.
    pub(crate) fn finish(&self, committed: Option<Committed>) {
        let stage = std::mem::replace(&mut *self.stage(), Stage::Over);
        if let (Stage::Waiting(Some(running)) | Stage::Decided(Some(running)), Some(committed)) =
            (stage, committed)
        {
            running.carried_out(committed);
        }
    }
}
