//! The role of a partition's actor, with what each role needs.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::fold::Decoded;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::{CheckpointWriter, LeaseGrant};
use crate::store::contract::{Checkpoint, PartitionId};

/// A report of the actor to the driver.
#[derive(Debug)]
pub(super) enum Report {
    /// There is room for a page of so many events, and so many pages are folded.
    Room { events: usize, folded: u64 },
    /// Number of folded pages. Room for one of them was reported already.
    Folded(u64),
    /// Nothing can be folded after this event, or its limit.
    Halts { position: GlobalPosition, reason: String },
    /// A fault, and the position of the event that was not applied because of it.
    Fault { position: GlobalPosition, fault: StoreError },
}

/// Role of the actor in its partition.
pub(super) enum Role<M> {
    /// Another process owns the partition: follows nothing, and answers from what is saved.
    Standby { is_looking: bool },
    /// Folds and saves.
    Owner(Owner<M>),
    /// Folds no more, and saves what is not saved. Replies to the driver when that is done.
    Leaving(Owner<M>, Option<oneshot::Sender<Result<(), StoreError>>>),
    /// Memory is not the fold of the log, or not this process's to save: folds and saves nothing.
    InDoubt(#[allow(dead_code, reason = "its reports keep the driver's channel open")] Owner<M>),
}

/// State of an owner beside its folder.
pub(super) struct Owner<M> {
    pub(super) checkpoints: CheckpointWriter,
    pub(super) reports: UnboundedSender<Report>,
    /// The last save that was begun reaches up to here.
    pub(super) handed_out: GlobalPosition,
    /// Time at which the oldest change that no save has taken up was made.
    pub(super) unsaved_since: Option<Instant>,
    pub(super) is_saving: bool,
    /// The page to be folded next, whose documents are being loaded.
    pub(super) loading: Option<Decoded<M>>,
    /// The page after that one.
    pub(super) ahead: Option<Decoded<M>>,
    /// The driver was asked for a page that has not come yet.
    pub(super) awaits_page: bool,
    /// Number of pages that were folded in this term.
    pub(super) folded: u64,
    /// Too much is unsaved: the next page waits for a save to end.
    pub(super) is_paused: bool,
    /// Time of the last look for requests.
    pub(super) asked_at: Instant,
}

impl<M> Owner<M> {
    pub(super) fn new(
        partition: PartitionId,
        grant: LeaseGrant,
        checkpoint: Option<Checkpoint>,
        reports: UnboundedSender<Report>,
    ) -> Self {
        let checkpoints = CheckpointWriter::new(partition, grant, checkpoint);
        Self {
            handed_out: checkpoints.saved().position,
            checkpoints,
            reports,
            unsaved_since: None,
            is_saving: false,
            loading: None,
            ahead: None,
            awaits_page: false,
            folded: 0,
            is_paused: false,
            asked_at: Instant::now(),
        }
    }

    /// Something has changed that is to be saved.
    pub(super) fn is_changed(&mut self) {
        self.unsaved_since.get_or_insert_with(Instant::now);
    }

    /// Reports to the driver. The channel has no bound, because there is one report for each page, and
    /// the driver sends a page only after a report.
    pub(super) fn report(&self, report: Report) {
        let _ = self.reports.send(report); // the application is stopping
    }
}

impl<M> Role<M> {
    pub(super) const STANDBY: Self = Self::Standby { is_looking: false };

    /// Checks that memory holds what this process has folded, whether it may still save it or not.
    pub(super) fn has_memory(&self) -> bool {
        !matches!(self, Self::Standby { .. })
    }

    /// The owner, as long as it folds.
    pub(super) fn owner(&mut self) -> Option<&mut Owner<M>> {
        match self {
            Self::Owner(owner) => Some(owner),
            Self::Standby { .. } | Self::Leaving(..) | Self::InDoubt(_) => None,
        }
    }

    /// The owner, as long as it saves.
    pub(super) fn saver(&mut self) -> Option<&mut Owner<M>> {
        match self {
            Self::Owner(owner) | Self::Leaving(owner, _) => Some(owner),
            Self::Standby { .. } | Self::InDoubt(_) => None,
        }
    }
}
