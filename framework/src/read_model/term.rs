//! What an actor has in memory while it is the owner of its partition, or while it is not.
//!
//! A term begins and ends as a whole: whoever loses its lease throws all of it away, so nothing
//! folded under one lease can be saved, or mixed up with what is folded, under another.

use std::time::Instant;

use actix::SpawnHandle;

use super::ReadModel;
use super::documents::Documents;
use super::fold::Decoded;
use super::sizes::Sizes;
use crate::event::GlobalPosition;
use crate::partition::parking::Parking;
use crate::partition::{CheckpointWriter, LeaseGrant, LeaseSession, Reached};
use crate::store::contract::{Checkpoint, PartitionId};
use crate::subscription::Subscription;

pub(super) struct Term<M> {
    /// `None` on a standby.
    pub(super) session: Option<LeaseSession>,
    pub(super) checkpoints: CheckpointWriter,
    pub(super) documents: Documents<M>,
    pub(super) sizes: Sizes,
    /// Reads are answered up to here: what is folded, or, on a standby, what the owner has saved.
    pub(super) reached: Reached,
    /// The last save that was begun reaches up to here.
    pub(super) handed_out: GlobalPosition,
    pub(super) parking: Parking,
    /// When the store was last asked for requests.
    pub(super) asked_at: Instant,
    /// When the oldest step that no save has taken up was folded.
    pub(super) unsaved_since: Option<Instant>,
    pub(super) is_saving: bool,
    /// The page to be folded next, whose documents are being loaded.
    pub(super) loading: Option<Decoded<M>>,
    /// The page after that one.
    pub(super) ahead: Option<Decoded<M>>,
    /// Too much is unsaved: the next page waits for a save to end.
    pub(super) is_paused: bool,
    /// What is in memory is not the fold of the log, or not ours to save: nothing more is folded or
    /// saved.
    pub(super) is_in_doubt: bool,
    /// It is to be saved and left to another process.
    pub(super) is_leaving: bool,
    /// All is saved, and the lease is being given up.
    pub(super) is_released: bool,
    /// A standby tries to be granted the lease.
    pub(super) is_trying: bool,
    /// A standby looks how far the owner has saved, or has just done so.
    pub(super) is_looking: bool,
    /// `None` while the next page is awaited, after the last one, and on a standby.
    pub(super) subscription: Option<Subscription>,
    /// Awaits the next page, and has the subscription meanwhile.
    pub(super) pulling: Option<SpawnHandle>,
}

impl<M: ReadModel> Term<M> {
    /// Nothing in memory, and nothing to be kept there.
    pub(super) fn standby(partition: &PartitionId, seen: Option<Checkpoint>) -> Self {
        let id = partition.clone();
        Self {
            session: None,
            checkpoints: CheckpointWriter::new(id, LeaseGrant::void(), seen),
            documents: Documents::none(),
            sizes: Sizes::default(),
            reached: Reached::of(seen),
            handed_out: position(seen),
            parking: Parking::none(),
            asked_at: Instant::now(),
            unsaved_since: None,
            is_saving: false,
            loading: None,
            ahead: None,
            is_paused: false,
            is_in_doubt: false,
            is_leaving: false,
            is_released: false,
            is_trying: false,
            is_looking: false,
            subscription: None,
            pulling: None,
        }
    }

    /// The same after a term that had saved up to here.
    pub(super) fn standby_at(partition: &PartitionId, saved: Reached) -> Self {
        let mut standby = Self::standby(partition, None);
        standby.reached = saved;
        standby.handed_out = saved.position;
        standby.checkpoints.is_saved(saved);
        standby
    }

    /// Folds on from the checkpoint.
    pub(super) fn owner(
        partition: &PartitionId,
        session: LeaseSession,
        checkpoint: Option<Checkpoint>,
        hot_documents: usize,
        subscription: Subscription,
        parking: Parking,
    ) -> Self {
        Self {
            checkpoints: CheckpointWriter::new(
                partition.clone(),
                session.grant().clone(),
                checkpoint,
            ),
            session: Some(session),
            documents: Documents::new(hot_documents, checkpoint.is_none()),
            subscription: Some(subscription),
            parking,
            ..Self::standby(partition, checkpoint)
        }
    }

    pub(super) fn saved(&self) -> GlobalPosition {
        self.checkpoints.saved().position
    }

    /// Lets documents leave memory. Not while a page waits for those that are not there: the others
    /// must still be there then.
    pub(super) fn evict(&mut self) {
        if self.loading.is_none() {
            self.documents.forget_unreadable();
            self.documents.evict();
        }
    }
}

/// Where a read model that has saved this stands.
pub(super) fn position(checkpoint: Option<Checkpoint>) -> GlobalPosition {
    checkpoint.map(|checkpoint| checkpoint.position).unwrap_or_default()
}
