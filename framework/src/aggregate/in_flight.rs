//! Which keys have a command under way in this process.
//!
//! A second command with the key waits behind the first and is told what the first did, so that
//! many at once cost one decision. What was not carried out left no trace: then the next in line
//! is judged anew. Of other processes nothing is known here: among those the store decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::command::{CommandKey, Committed};

/// What a key's command did, and the request it was.
type Outcome = ([u8; 16], Committed);

/// Who waits behind each key under way.
type Waiting = HashMap<Arc<str>, Vec<oneshot::Sender<Outcome>>>;

/// The keys under way. As many as there are commands in flight.
#[derive(Clone, Default)]
pub(crate) struct RunningKeys {
    keys: Arc<Mutex<Waiting>>,
}

/// A key whose command is under way until this is dropped.
pub(crate) struct RunningKey {
    keys: RunningKeys,
    id: Arc<str>,
    fingerprint: [u8; 16],
    outcome: Option<Outcome>,
}

impl RunningKeys {
    /// Waits until no other command has the key. `Err` is what another one did meanwhile, if it
    /// was the same request; what another request did with the key, the store will tell.
    pub(crate) async fn enter(&self, key: &CommandKey) -> Result<RunningKey, Committed> {
        loop {
            let first = match self.take(key) {
                Ok(running) => return Ok(running),
                Err(first) => first,
            };
            // An error says that the first is gone and carried nothing out.
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

    /// Nothing under the lock can panic half way.
    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningKey {
    /// Tells those behind what the command did.
    pub(crate) fn carried_out(mut self, committed: Committed) {
        self.outcome = Some((self.fingerprint, committed));
    }
}

impl Drop for RunningKey {
    fn drop(&mut self) {
        // Free before those behind are woken: one of them takes it next.
        let waiting = self.keys.locked().remove(&self.id).unwrap_or_default();
        if let Some(outcome) = self.outcome {
            for told in waiting {
                // Who has left meanwhile need not be told.
                let _ = told.send(outcome);
            }
        }
    }
}
