//! Replay: an operator moves the checkpoints of a follower back, so that its events are handled again.
//!
//! The operator acquires the lease of each partition for it. So no owner runs meanwhile, and whatever
//! a former owner still sends is refused by its token, like any write after a lost lease.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;
use uuid::Uuid;

use super::control::Followers;
use super::lease_session::LeaseGrant;
use super::parking::replayed;
use super::{CheckpointWriter, Reached};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, DocumentBatch, Lease, ParkedQuery, PartitionId, Store};
use crate::subscription::verify;

/// Time for which the leases are acquired: a replay takes milliseconds, or as long as it takes to
/// search the log for the events behind a parked key.
const LEASE_FOR: Duration = Duration::from_secs(30);

/// Longest wait for owners that still finish their work.
const OWNERS_FINISH_WITHIN: Duration = Duration::from_secs(7);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The reason why nothing is handled again.
#[derive(Debug)]
pub(crate) enum NotReplayed {
    /// A partition has an owner.
    Owned,
    /// Nothing after this position was handled.
    Reached(GlobalPosition),
    Store(StoreError),
}

impl From<StoreError> for NotReplayed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Moves the checkpoint of every partition back to `after`, unless it is there or before it already.
///
/// # Errors
/// See [`NotReplayed`]. After an error of the store some partitions may be moved; a second call moves
/// the others.
pub(crate) async fn replay(
    store: &dyn Store,
    followers: &Followers,
    operator: Uuid,
    after: GlobalPosition,
) -> Result<(), NotReplayed> {
    let deadline = Instant::now() + OWNERS_FINISH_WITHIN;
    let mut leases = Vec::new();
    let moved = async {
        for partition in &followers.progress {
            leases.push(acquire(store, partition.id(), operator, deadline).await?);
        }
        move_back(store, followers, &leases, after).await
    };
    let moved = moved.await;
    for lease in &leases {
        if let Err(error) = store.release_lease(lease).await {
            warn!(lease = %lease.name, %error, "a lease is not released; it will expire");
        }
    }
    moved
}

async fn acquire(
    store: &dyn Store,
    partition: &PartitionId,
    operator: Uuid,
    deadline: Instant,
) -> Result<Lease, NotReplayed> {
    let name = partition.to_string();
    loop {
        if let Some(lease) = store.acquire_lease(&name, operator, LEASE_FOR).await? {
            return Ok(lease);
        }
        if Instant::now() >= deadline {
            return Err(NotReplayed::Owned);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn move_back(
    store: &dyn Store,
    followers: &Followers,
    leases: &[Lease],
    after: GlobalPosition,
) -> Result<(), NotReplayed> {
    let mut stored = Vec::new();
    for partition in &followers.progress {
        let checkpoint = store.load_checkpoint(partition.id()).await?;
        // A checkpoint of another history is not moved: that it does not fit must stay visible.
        verify(store, &partition.id().to_string(), checkpoint).await?;
        stored.push(checkpoint);
    }
    let position = |it: &Option<Checkpoint>| it.map(|checkpoint| checkpoint.position);
    let reached = stored.iter().filter_map(position).max().unwrap_or_default();
    if after > reached {
        return Err(NotReplayed::Reached(reached));
    }
    for ((partition, checkpoint), lease) in followers.progress.iter().zip(stored).zip(leases) {
        if position(&checkpoint).is_some_and(|position| position > after) {
            move_one(store, followers, partition.id(), (checkpoint, lease), after).await?;
        }
    }
    Ok(())
}

/// Moves one partition, and releases what is parked after the position.
async fn move_one(
    store: &dyn Store,
    followers: &Followers,
    id: &PartitionId,
    (checkpoint, lease): (Option<Checkpoint>, &Lease),
    after: GlobalPosition,
) -> Result<(), StoreError> {
    let Some(concerns) = &followers.replays else { return Ok(()) };
    let mut parked = store.load_parked(&id.model, &ParkedQuery::default()).await?.keys;
    parked.retain(|parked| parked.partition == id.number);
    let changes = replayed(store, &followers.filter, &**concerns, parked, after).await?;
    let writer = CheckpointWriter::new(id.clone(), LeaseGrant::after(lease.clone(), 0), checkpoint);
    let mut draft = writer.update(Reached::after(after), changes).replaying();
    let update = draft.build(store).await?;
    store.save_documents(DocumentBatch { documents: Vec::new(), deleted: Vec::new(), update }).await
}
