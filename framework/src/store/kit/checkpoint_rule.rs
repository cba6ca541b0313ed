//! The checkpoint rule: is an update stored? One pure function, the same for every store.
//!
//! Positions say if the update continues from the stored checkpoint. Token and sequence number tell
//! a batch that is sent again from new work, and one that arrives late from either.

use std::cmp::Ordering;

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, CheckpointUpdate};

/// The last update of a partition, as a store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Token of the lease it was written under.
    pub token: u64,
    /// Sequence number of the update under that lease.
    pub sequence: u64,
}

impl Stored {
    /// The row that a store keeps once it has taken the update.
    pub fn after(update: &CheckpointUpdate) -> Self {
        Self { checkpoint: update.checkpoint, token: update.lease.token, sequence: update.sequence }
    }
}

/// Compares an update with what is stored of its partition. Returns true if it is to be stored now,
/// and false if this very update is stored already, so that nothing is to be done.
///
/// The lease is not looked at: check it first, in the same transaction.
///
/// # Errors
/// [`StoreError::Checkpoint`] if the update does not continue from there; store nothing then.
pub fn continues(update: &CheckpointUpdate, stored: Option<Stored>) -> Result<bool, StoreError> {
    let CheckpointUpdate { partition, from, checkpoint, .. } = update;
    let refuse = |reason| Err(StoreError::Checkpoint { name: partition.to_string(), reason });
    if let Some(stored) = stored {
        let step = (update.lease.token, update.sequence);
        match step.cmp(&(stored.token, stored.sequence)) {
            Ordering::Equal if stored.checkpoint == *checkpoint => return Ok(false),
            Ordering::Equal => return refuse("another step of this number is stored".into()),
            Ordering::Less => return refuse("a later step is stored".into()),
            Ordering::Greater => {}
        }
        if checkpoint.position == stored.checkpoint.position && *checkpoint != stored.checkpoint {
            return refuse(format!("at {} it saw another event", checkpoint.position));
        }
    }
    let at = stored.map_or(GlobalPosition::ZERO, |stored| stored.checkpoint.position);
    if checkpoint.position < *from && !update.is_replay {
        return refuse(format!("it would move back to {}", checkpoint.position));
    }
    match at == *from {
        true => Ok(true),
        false => refuse(format!("it is at {at}, the writer believed {from}")),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::contract::{Lease, PartitionId};

    fn checkpoint(position: u64) -> Checkpoint {
        Checkpoint {
            log_id: Uuid::nil(),
            position: GlobalPosition(position),
            event_id: Uuid::from_u128(position.into()),
        }
    }

    /// The step of this token and number from one position to another.
    fn an_update((token, step): (u64, u64), from: u64, to: u64) -> CheckpointUpdate {
        let partition = PartitionId::new("m@1", 0);
        let lease = Lease { name: partition.to_string(), owner: Uuid::nil(), token };
        let (from, checkpoint) = (GlobalPosition(from), checkpoint(to));
        let (parked, work) = (Vec::new(), Vec::new());
        CheckpointUpdate {
            partition,
            from,
            sequence: step,
            checkpoint,
            parked,
            work,
            lease,
            is_replay: false,
        }
    }

    fn told(step: (u64, u64), from: u64, to: u64, stored: Option<Stored>) -> Option<bool> {
        continues(&an_update(step, from, to), stored).ok()
    }

    fn stored(token: u64, step: u64, position: u64) -> Option<Stored> {
        Some(Stored { checkpoint: checkpoint(position), token, sequence: step })
    }

    #[test]
    fn a_step_continues_only_from_the_stored_checkpoint() {
        assert_eq!(told((1, 1), 0, 3, None), Some(true));
        assert_eq!(told((1, 2), 3, 5, stored(1, 1, 3)), Some(true));
        assert_eq!(told((1, 2), 0, 5, stored(1, 1, 3)), None, "behind");
        assert_eq!(told((1, 2), 4, 5, stored(1, 1, 3)), None, "ahead");
        assert_eq!(told((1, 1), 1, 5, None), None, "never saved");
        assert_eq!(told((1, 2), 3, 2, stored(1, 1, 3)), None, "backwards");
        let replay = |step, from| CheckpointUpdate { is_replay: true, ..an_update(step, from, 2) };
        assert_eq!(continues(&replay((1, 2), 3), stored(1, 1, 3)).ok(), Some(true), "on purpose");
        assert_eq!(continues(&replay((1, 2), 3), stored(1, 2, 2)).ok(), Some(false), "sent again");
        assert_eq!(continues(&replay((1, 2), 4), stored(1, 1, 3)).ok(), None, "from elsewhere");
        assert_eq!(continues(&replay((1, 2), 3), stored(2, 1, 3)).ok(), None, "of a former owner");
    }

    #[test]
    fn a_step_is_taken_once_though_its_checkpoint_stands() {
        assert_eq!(told((1, 2), 3, 5, stored(1, 2, 5)), Some(false), "sent again");
        assert_eq!(told((1, 2), 5, 5, stored(1, 1, 5)), Some(true), "in place");
        assert_eq!(told((1, 2), 5, 5, stored(1, 2, 5)), Some(false), "in place, sent again");
        assert_eq!(told((1, 2), 5, 5, stored(1, 3, 5)), None, "late");
        assert_eq!(told((2, 1), 5, 5, stored(1, 9, 5)), Some(true), "of the next owner");
        assert_eq!(told((1, 9), 5, 5, stored(2, 1, 5)), None, "of the owner before");
        assert_eq!(told((1, 2), 3, 6, stored(1, 2, 5)), None, "two steps of one number");
        let mut other = an_update((1, 2), 5, 5);
        other.checkpoint.event_id = Uuid::max();
        assert!(continues(&other, stored(1, 1, 5)).is_err(), "another event at that position");
    }
}
