//! Deletes idempotency keys that are older than the settings allow.
//!
//! Deletes a few at a time with a pause in between, so an append waits for one small delete at
//! most. Keys that open work has are kept. The store knows those of stored work. This module knows how
//! far the executor of deferred commands and the process managers have stored their work.

#[cfg(all(test, feature = "testing"))]
mod tests;

use std::collections::HashMap;
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
use crate::store::contract::{Filter, PageLimit, ParkedQuery, PartitionId, Store};

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
        let mut clear_to = ClearTo::new();
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

/// Positions up to which nothing is left to store, by partition, so that no call reads again what one
/// before it has read.
type ClearTo = HashMap<PartitionId, GlobalPosition>;

/// Deletes some keys that are older than `keep`. Returns true if there may be more.
async fn forget(
    running: &Running,
    keep: Duration,
    clear_to: &mut ClearTo,
) -> Result<bool, StoreError> {
    let Running { store, clock, .. } = running;
    let (store, now) = (&**store, clock.now());
    let has_executor = !running.answers_later.is_empty();
    let Some(mut until) = executed_until(store, has_executor, now, clear_to).await? else {
        return Ok(false);
    };
    let followers = running.read_side.iter().map(|it| it.followers());
    for follower in followers.filter(|it| it.derives_keys) {
        for partition in &follower.progress {
            let folded = folded_until(store, partition.id(), &follower.filter, now, clear_to);
            until = until.min(folded.await?);
        }
    }
    forget_before(store, until, keep).await
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
async fn executed_until(
    store: &dyn Store,
    has_executor: bool,
    now: OffsetDateTime,
    clear_to: &mut ClearTo,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let executor = PartitionId::new(format!("{}@1", Executor::NAME), 0);
    let Some(checkpoint) = store.load_checkpoint(&executor).await? else {
        return Ok((!has_executor).then_some(now));
    };
    let commands = Filter { aggregate_types: vec![AcceptedCommand::TYPE.to_owned()] };
    let clear_to = clear_to.entry(executor).or_default();
    *clear_to = checkpoint.position.max(*clear_to);
    first_after(store, &commands, now, clear_to).await.map(Some)
}

/// Time until which a partition of a process manager has folded and saved everything. An event after it
/// may be folded again, and its commands are sent again under their keys.
async fn folded_until(
    store: &dyn Store,
    partition: &PartitionId,
    filter: &Filter,
    now: OffsetDateTime,
    clear_to: &mut ClearTo,
) -> Result<OffsetDateTime, StoreError> {
    let checkpoint = store.load_checkpoint(partition).await?;
    let saved = checkpoint.map_or(GlobalPosition::ZERO, |checkpoint| checkpoint.position);
    let clear_to = clear_to.entry(partition.clone()).or_default();
    *clear_to = saved.max(*clear_to);
    let folded = first_after(store, filter, now, clear_to).await?;
    // An instance that could not be stored was parked at the event that it lacks, after its commands
    // were sent. They are sent again when the key is released.
    let parked = store.load_parked(&partition.model, &ParkedQuery::default()).await?.keys;
    let Some(first) = parked.iter().map(|parked| parked.position).min() else { return Ok(folded) };
    let at = store.read_positions(&[first], PageLimit::events(1)).await?;
    Ok(at.first().map_or(folded, |event| event.recorded_at.min(folded)))
}

/// Time of the first of these events after a position, which moves up to it; `now` if there is none.
async fn first_after(
    store: &dyn Store,
    filter: &Filter,
    now: OffsetDateTime,
    after: &mut GlobalPosition,
) -> Result<OffsetDateTime, StoreError> {
    loop {
        let page = store.read_all(*after, filter, PageLimit::events(1)).await?;
        if let Some(first) = page.events.first() {
            return Ok(first.recorded_at.min(now));
        }
        if page.scanned_to == *after {
            return Ok(now);
        }
        *after = page.scanned_to;
    }
}
