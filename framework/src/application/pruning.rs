//! Deletes idempotency keys that are older than the settings allow.
//!
//! Deletes a few at a time with a pause in between, so an append waits for one small delete at
//! most. Keys that open work has are kept. The store knows those of stored work; this module knows how
//! far the executor of deferred commands has stored its work.

#[cfg(all(test, feature = "testing"))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;

use super::running::Running;
use crate::aggregate::Aggregate;
use crate::deferred::{AcceptedCommand, Executor};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::reaction::Reaction;
use crate::store::contract::{Filter, PageLimit, PartitionId, Store};

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
        let mut clear_to = GlobalPosition::ZERO;
        loop {
            let Some(running) = watched.upgrade() else { return };
            let pruned = forget(&running, keep, &mut clear_to).await;
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
async fn forget(
    running: &Running,
    keep: Duration,
    clear_to: &mut GlobalPosition,
) -> Result<bool, StoreError> {
    let Running { store, clock, .. } = running;
    let has_executor = !running.answers_later.is_empty();
    match stored_until(&**store, has_executor, clock.now(), clear_to).await? {
        Some(now) => forget_before(&**store, now, keep).await,
        None => Ok(false),
    }
}

/// Deletes some keys that were older than `keep` at that time.
async fn forget_before(
    store: &dyn Store,
    now: OffsetDateTime,
    keep: Duration,
) -> Result<bool, StoreError> {
    // No key can be older than the longest representable time.
    let Ok(keep) = time::Duration::try_from(keep) else { return Ok(false) };
    let Some(before) = now.checked_sub(keep) else { return Ok(false) };
    store.prune_commands(before, AT_MOST).await
}

/// Time until which all deferred commands are stored as open work, if they are open. A command that
/// was accepted later may have been carried out by a process that died before it stored anything, so
/// keys that are not older than it have to stay. `None` while an executor has stored nothing at all.
///
/// `clear_to` is the position up to which this found nothing that is not stored, so that no call
/// reads again what one before it has read.
async fn stored_until(
    store: &dyn Store,
    has_executor: bool,
    now: OffsetDateTime,
    clear_to: &mut GlobalPosition,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let executor = PartitionId::new(format!("{}@1", Executor::NAME), 0);
    let Some(checkpoint) = store.load_checkpoint(&executor).await? else {
        return Ok((!has_executor).then_some(now));
    };
    let commands = Filter { aggregate_types: vec![AcceptedCommand::TYPE.to_owned()] };
    *clear_to = checkpoint.position.max(*clear_to);
    loop {
        let page = store.read_all(*clear_to, &commands, PageLimit::events(1)).await?;
        if let Some(unstored) = page.events.first() {
            return Ok(Some(unstored.recorded_at.min(now)));
        }
        if page.scanned_to == *clear_to {
            return Ok(Some(now));
        }
        *clear_to = page.scanned_to;
    }
}
