//! The contract of checkpoints: how far a partition of a read model or projection has come.
//!
//! A [`CheckpointUpdate`] is all that moves with one: the checkpoint, what was parked or released on
//! the way, the work that events opened or that was done, and the [`Lease`] it is written under. A store keeps it in the transaction of what the
//! events changed, so the effect of each is exactly once however often the process dies.
//!
//! Parked keys change while the checkpoint stays where it is, so the position alone cannot tell a
//! batch that is sent again, or that arrives late, from new work. Therefore a store keeps the token
//! and the [`CheckpointUpdate::sequence`] of the last one: the same again changes nothing, and an
//! older one is refused.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lease_store::Lease;
use super::open_work::WorkChange;
use super::parked_key::{ParkedChange, ParkedPage, ParkedQuery, ParkedRequest, SkippedEvent};
use crate::error::StoreError;
use crate::event::GlobalPosition;

/// One partition of one version of a read model or projection, shown `balance@1/0`: what is owned,
/// folded and saved as one. Which keys are in it is told by [`partition_of`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionId {
    /// The versioned name, such as `balance@1`.
    pub model: String,
    /// From 0.
    pub number: u32,
}

impl PartitionId {
    /// That partition of that model.
    pub fn new(model: impl Into<String>, number: u32) -> Self {
        Self { model: model.into(), number }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.number)
    }
}

/// The partition of `partitions` that a key belongs to: by FNV-1a, 64 bit, the same for ever.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // Its low bits alone are weak; the remainder is below `partitions`, so it fits.
    ((hash ^ (hash >> 32)) % u64::from(partitions.max(1))) as u32
}

/// Place in a log that a partition has reached. It is verified at start, so that a restored or
/// rewound log is noticed and nothing is silently skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log's id.
    pub log_id: Uuid,
    /// Everything up to here is taken in: applied, or parked.
    pub position: GlobalPosition,
    /// The id of the event at that position.
    pub event_id: Uuid,
}

/// A step of a partition, from one checkpoint to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointUpdate {
    /// The partition.
    pub partition: PartitionId,
    /// The position it continues from; the store refuses it unless its own checkpoint is there.
    pub from: GlobalPosition,
    /// Sequence number under this lease, greater than that of any update before it. An update that
    /// is sent again after a lost reply has the same number, and changes nothing if it is stored
    /// already.
    pub sequence: u64,
    /// The new checkpoint. It may be where the old one is if parked keys or open work changed.
    pub checkpoint: Checkpoint,
    /// Changes to parked keys, in this order.
    pub parked: Vec<ParkedChange>,
    /// Changes to open work, in this order. Read models and projections have none.
    pub work: Vec<WorkChange>,
    /// The lease under which it is written; a store refuses another token than the last.
    pub lease: Lease,
    /// True if it may move the checkpoint back, because an operator wants events handled again. A store
    /// refuses any other update that would.
    #[serde(default)]
    pub is_replay: bool,
}

/// A store of checkpoints and of what is parked beside them.
#[async_trait]
pub trait CheckpointStore: Send + Sync + 'static {
    /// The checkpoint of the partition; `None` if it never saved.
    ///
    /// # Errors
    /// The store is not available.
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError>;

    /// The parked keys of a model that match the query, by key.
    ///
    /// # Errors
    /// The store is not available.
    async fn load_parked(&self, model: &str, query: &ParkedQuery)
    -> Result<ParkedPage, StoreError>;

    /// The skipped events of a model, by position.
    ///
    /// # Errors
    /// The store is not available.
    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError>;

    /// Leaves a request for the owner of a parked key; `false` if no key is parked at that position.
    /// A later request takes the place of one that was not carried out yet.
    ///
    /// # Errors
    /// The store is not available.
    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another answer would look for documents in partitions that do not have them.
    #[test]
    fn the_partition_of_a_key_never_changes() {
        let places = ["", "42", "account-7", "ünïcode"].map(|key| partition_of(key, 12));
        assert_eq!(places, [9, 0, 2, 4]);
        assert!((0..1000).all(|n| partition_of(&n.to_string(), 1) == 0));
    }

    #[test]
    fn partitions_are_about_equal() {
        let mut counts = [0_u32; 12];
        for n in 0..12_000 {
            counts[partition_of(&n.to_string(), 12) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
