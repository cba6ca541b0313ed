//! Everything that moves with a checkpoint, built in one place: where it continues from, its sequence
//! number, the id of its event, what was parked, changes to open work, and the lease.

use uuid::Uuid;

use super::lease_session::LeaseGrant;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, Page, ParkedChange, PartitionId, Store, WorkChange,
};
use crate::subscription::event_at;

/// A position reached, and the id of the event there if it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) position: GlobalPosition,
    pub(crate) event_id: Option<Uuid>,
}

impl Reached {
    /// A position whose event is not known.
    pub(crate) fn at(position: GlobalPosition) -> Self {
        Self { position, event_id: None }
    }

    /// The end of a page.
    pub(crate) fn end_of(page: &Page) -> Self {
        let last = page.events.last().filter(|last| last.position == page.scanned_to);
        Self { position: page.scanned_to, event_id: last.map(|last| last.event_id) }
    }

    /// The place after which events are handled again; the beginning of the log has no event.
    pub(crate) fn after(position: GlobalPosition) -> Self {
        match position {
            GlobalPosition::ZERO => Self::of(None),
            _ => Self::at(position),
        }
    }

    /// Just before an event.
    pub(crate) fn before(position: GlobalPosition) -> Self {
        Self::at(GlobalPosition(position.0.saturating_sub(1)))
    }

    /// The position of a checkpoint; the beginning of the log if there is none.
    pub(crate) fn of(checkpoint: Option<Checkpoint>) -> Self {
        let reached = checkpoint.map(|checkpoint| (checkpoint.position, checkpoint.event_id));
        // No event is at position 0, so the log is never asked for one.
        let (position, event_id) = reached.unwrap_or_default();
        Self { position, event_id: Some(event_id) }
    }
}

/// Writes the checkpoints of one partition under one lease, one after the other.
pub(crate) struct CheckpointWriter {
    partition: PartitionId,
    grant: LeaseGrant,
    saved: Reached,
}

/// A checkpoint update before the id of its event is known.
pub(crate) struct UpdateDraft {
    partition: PartitionId,
    grant: LeaseGrant,
    from: GlobalPosition,
    sequence: u64,
    to: Reached,
    parked: Vec<ParkedChange>,
    work: Vec<WorkChange>,
    is_replay: bool,
}

impl CheckpointWriter {
    /// Continues from a stored checkpoint.
    pub(crate) fn new(
        partition: PartitionId,
        grant: LeaseGrant,
        stored: Option<Checkpoint>,
    ) -> Self {
        Self { partition, grant, saved: Reached::of(stored) }
    }

    /// The last checkpoint that was saved.
    pub(crate) fn saved(&self) -> Reached {
        self.saved
    }

    /// Begins a save. A position equal to the saved one moves parked keys and open work alone.
    pub(crate) fn update(&self, to: Reached, parked: Vec<ParkedChange>) -> UpdateDraft {
        let is_same = to.position == self.saved.position;
        UpdateDraft {
            partition: self.partition.clone(),
            grant: self.grant.clone(),
            from: self.saved.position,
            // Each save has a number of its own, so that the store can tell a batch that is sent
            // again from the next one, even if the position stays the same.
            sequence: self.grant.next_sequence(),
            to: if is_same { self.saved } else { to },
            parked,
            work: Vec::new(),
            is_replay: false,
        }
    }

    /// The update to this position is stored.
    pub(crate) fn is_saved(&mut self, to: Reached) {
        self.saved = to;
    }
}

impl UpdateDraft {
    /// Adds changes to open work.
    pub(crate) fn with_work(self, work: Vec<WorkChange>) -> Self {
        Self { work, ..self }
    }

    /// Lets it move the checkpoint back.
    pub(crate) fn replaying(self) -> Self {
        Self { is_replay: true, ..self }
    }

    /// Builds the update. Asks the log for the id of the event if it was not seen, because a
    /// checkpoint without it could not be verified after a restore of the log.
    ///
    /// # Errors
    /// [`StoreError::Checkpoint`] if the log has no such event any more, or the store did not reply.
    pub(crate) async fn build(
        &mut self,
        store: &dyn Store,
    ) -> Result<CheckpointUpdate, StoreError> {
        let position = self.to.position;
        let event_id = match self.to.event_id {
            Some(event_id) => event_id,
            None => event_at(store, position).await?.ok_or_else(|| StoreError::Checkpoint {
                name: self.partition.to_string(),
                reason: format!("the log has no event at position {position} any more"),
            })?,
        };
        self.to.event_id = Some(event_id);
        Ok(CheckpointUpdate {
            partition: self.partition.clone(),
            from: self.from,
            sequence: self.sequence,
            checkpoint: Checkpoint { log_id: store.info().identity.log_id, position, event_id },
            parked: std::mem::take(&mut self.parked),
            work: std::mem::take(&mut self.work),
            lease: self.grant.lease().clone(),
            is_replay: self.is_replay,
        })
    }

    /// The position that it moves to.
    pub(crate) fn to(&self) -> Reached {
        self.to
    }
}
