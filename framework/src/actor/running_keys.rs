//! Which keys have a command under way in this process.
//!
//! A second command with the key waits behind the first and is told what the first did, so that
//! many at once cost one decision. What was not carried out left no trace: then the next in line
//! is judged anew. Of other processes nothing is known here: among those the store decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::command::{CommandKey, Committed};

/// What a key's command did, and the request it was.
type Outcome = Option<([u8; 16], Committed)>;

/// The keys under way, each with its outcome to come. As many as there are commands in flight.
#[derive(Clone, Default)]
pub(crate) struct RunningKeys {
    keys: Arc<Mutex<HashMap<String, watch::Receiver<Outcome>>>>,
}

/// A key whose command is under way until this is dropped.
pub(crate) struct RunningKey {
    keys: RunningKeys,
    key: CommandKey,
    outcome: Outcome,
    told: watch::Sender<Outcome>,
}

impl RunningKeys {
    /// Waits until no other command has the key. `Err` is what another one did meanwhile, if it
    /// was the same request; what another request did with the key, the store will tell.
    pub(crate) async fn enter(&self, key: &CommandKey) -> Result<RunningKey, Committed> {
        loop {
            let mut first = match self.take(key) {
                Ok(running) => return Ok(running),
                Err(first) => first,
            };
            // An error says that the first is gone and carried nothing out.
            if let Ok(outcome) = first.wait_for(Option::is_some).await
                && let Some((fingerprint, committed)) = *outcome
                && fingerprint == key.fingerprint
            {
                return Err(Committed { replayed: true, ..committed });
            }
        }
    }

    fn take(&self, key: &CommandKey) -> Result<RunningKey, watch::Receiver<Outcome>> {
        let mut keys = self.locked();
        if let Some(first) = keys.get(&key.id) {
            return Err(first.clone());
        }
        let (told, outcome) = watch::channel(None);
        keys.insert(key.id.clone(), outcome);
        Ok(RunningKey { keys: self.clone(), key: key.clone(), outcome: None, told })
    }

    /// Nothing under the lock can panic half way.
    fn locked(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Outcome>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningKey {
    /// Tells those behind what the command did.
    pub(crate) fn carried_out(mut self, committed: Committed) {
        self.outcome = Some((self.key.fingerprint, committed));
    }
}

impl Drop for RunningKey {
    fn drop(&mut self) {
        // Free before those behind are woken: one of them takes it next.
        self.keys.locked().remove(&self.key.id);
        self.told.send_replace(self.outcome);
    }
}
