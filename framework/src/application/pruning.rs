//! Command keys are kept as long as the settings say; this forgets the older ones.
//!
//! A few at a time, with a pause after each: whoever appends waits for one small delete at most.

#[cfg(all(test, feature = "testing"))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::running::Running;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::store::contract::Store;

/// How many go at once.
const AT_MOST: usize = 500;

/// Between two deletes, as long as there is more.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked for old ones, at most and at least.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(60);

/// Begins to forget, if the settings say so, and goes on as long as the application is there.
pub(super) fn prune(running: &Arc<Running>) {
    let Some(keep) = running.settings.keep_commands else { return };
    let every = (keep / 10).clamp(SOONEST, LATEST);
    let watched = Arc::downgrade(running);
    running.arbiters.spawn(0, async move {
        loop {
            let Some(running) = watched.upgrade() else { return };
            let pruned = forget(&*running.store, &*running.clock, keep).await;
            drop(running);
            let pause = match pruned {
                Ok(true) => PAUSE,
                Ok(false) => every,
                Err(error) => {
                    tracing::warn!(%error, "old command keys could not be forgotten yet");
                    every
                }
            };
            sleep(pause).await;
        }
    });
}

/// Forgets some that are older than `keep`; whether there may be more.
async fn forget(store: &dyn Store, clock: &dyn Clock, keep: Duration) -> Result<bool, StoreError> {
    // Longer than time itself: nothing is that old.
    let Ok(keep) = time::Duration::try_from(keep) else { return Ok(false) };
    let Some(before) = clock.now().checked_sub(keep) else { return Ok(false) };
    store.prune_commands(before, AT_MOST).await
}
