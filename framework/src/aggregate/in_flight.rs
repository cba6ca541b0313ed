//! Idempotency keys whose commands are running in this process.
//!
//! A second command with the same key waits for the first one and gets its outcome, so many retries
//! at once cost one decision. If the first one was not carried out, nothing was stored, and the
//! next waiter is decided. Commands in other processes are not visible here; for those the store
//! checks the key.
//!
//! See `docs/decisions.md`, "Who waits behind a command with the same key, and where?"

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::command::{CommandKey, Committed};

/// Fingerprint of a command's request, and the result of the command.
type Outcome = ([u8; 16], Committed);

/// Commands that wait for each running key.
type Waiting = HashMap<Arc<str>, Vec<oneshot::Sender<Outcome>>>;

/// The running keys of a process: at most one for each command in flight.
#[derive(Clone, Default)]
pub(crate) struct RunningKeys {
    keys: Arc<Mutex<Waiting>>,
}

/// A key whose command is running. The key is free again when this is dropped.
pub(crate) struct RunningKey {
    keys: RunningKeys,
    id: Arc<str>,
    fingerprint: [u8; 16],
    outcome: Option<Outcome>,
}

impl RunningKeys {
    /// Waits until no other command runs under the key. Returns `Err` with the outcome of another
    /// command if it was the same request. For a different request under the same key, the store
    /// returns the error.
    pub(crate) async fn enter(&self, key: &CommandKey) -> Result<RunningKey, Committed> {
        loop {
            let first = match self.take(key) {
                Ok(running) => return Ok(running),
                Err(first) => first,
            };
            // The receiver fails if the first command ended without storing anything.
            if let Ok((fingerprint, committed)) = first.await
                && fingerprint == key.fingerprint
            {
                return Err(Committed { replayed: true, ..committed });
            }
        }
    }

    fn take(&self, key: &CommandKey) -> Result<RunningKey, oneshot::Receiver<Outcome>> {
        let mut keys = self.locked();
        if let Some(waiting) = keys.get_mut(key.id.as_str()) {
            let (told, first) = oneshot::channel();
            waiting.push(told);
            return Err(first);
        }
        let id: Arc<str> = key.id.as_str().into();
        keys.insert(Arc::clone(&id), Vec::new());
        Ok(RunningKey { keys: self.clone(), id, fingerprint: key.fingerprint, outcome: None })
    }

    /// No code under the lock can panic halfway, so a poisoned lock still holds a consistent map.
    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningKey {
    /// Records the outcome. The waiting commands get it when the key is dropped.
    pub(crate) fn carried_out(mut self, committed: Committed) {
        self.outcome = Some((self.fingerprint, committed));
    }
}

impl Drop for RunningKey {
    fn drop(&mut self) {
        // Removed before the waiting commands are woken, because one of them enters the key next.
        let waiting = self.keys.locked().remove(&self.id).unwrap_or_default();
        if let Some(outcome) = self.outcome {
            for told in waiting {
                // A send fails if the caller has gone away.
                let _ = told.send(outcome);
            }
        }
    }
}
