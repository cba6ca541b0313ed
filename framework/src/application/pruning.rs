//! Deletes idempotency keys that are older than the settings allow.
//!
//! Deletes a few at a time with a pause in between, so an append waits for one small delete at
//! most.

#[cfg(all(test, feature = "testing"))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::running::Running;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::store::contract::Store;

/// Maximum number of keys per delete.
const AT_MOST: usize = 500;

/// Pause between two deletes while there are more old keys.
const PAUSE: Duration = Duration::from_millis(50);

/// Minimum and maximum interval between two searches for old keys.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(60);

/// Starts pruning, if the settings enable it. Ends with the application.
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
                    tracing::warn!(%error, "cannot delete old idempotency keys; retrying");
                    every
                }
            };
            sleep(pause).await;
        }
    });
}

/// Deletes some keys that are older than `keep`. Returns true if there may be more.
async fn forget(store: &dyn Store, clock: &dyn Clock, keep: Duration) -> Result<bool, StoreError> {
    // No key can be older than the longest representable time.
    let Ok(keep) = time::Duration::try_from(keep) else { return Ok(false) };
    let Some(before) = clock.now().checked_sub(keep) else { return Ok(false) };
    store.prune_commands(before, AT_MOST).await
}
