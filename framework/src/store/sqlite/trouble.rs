//! The reason why the store cannot commit at the moment, for status and readiness.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The reason why the last commit failed, until one succeeds.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Keeps the reason why the last commit failed, or why its outcome is unknown.
    pub(super) fn report(&self, reason: &str) {
        *self.reason() = Some(reason.to_owned());
    }

    /// Forgets the reason, because a commit succeeded.
    pub(super) fn clear(&self) {
        *self.reason() = None;
    }

    /// The reason, if there is one.
    pub(super) fn now(&self) -> Option<String> {
        self.reason().clone()
    }

    /// Nothing under the lock can panic, so a poisoned one is whole.
    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
