//! The interface between the driver of a partition and the follower that it runs.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::time::Instant;

use super::lease_session::LeaseSession;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, Filter, Page};

/// The reason why a term ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The application stops.
    Stopped,
    /// The lease is lost: another process owns the partition, or may.
    Lost,
    /// The partition is to be left to another process.
    StepsDown,
    /// The store did not reply, or nobody knows the outcome of a write: continue from what is stored.
    Again(StoreError),
    /// Nothing more can be applied.
    Halted { position: GlobalPosition, reason: String },
}

/// When the next page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextPage {
    Now,
    /// More events gather until then.
    At(Instant),
    /// [`Follower::work`] has to end first.
    NotYet,
}

/// Times at which a follower has work, and the size of its next page.
pub(crate) struct Plan {
    /// Time of [`Follower::do_due`].
    pub(crate) due: Option<Instant>,
    pub(crate) next_page: NextPage,
    /// Largest number of events in the next page.
    pub(crate) page_events: usize,
}

/// A follower of the log in one partition: resumes, applies pages and commits.
///
/// A method that returns an error ends the term, and the driver judges the error. After
/// [`Follower::begin`] nothing of an earlier term counts.
pub(crate) trait Follower {
    /// Events that it follows.
    fn filter(&self) -> Filter;

    // Futures of these methods are dropped when the lease is lost, so a method may end at any await.
    // What it wrote then is either stored or refused by the store: both are what `resume` finds.

    /// Loads the stored checkpoint.
    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError>;

    /// Loads the checkpoint that a term under this lease continues from. Writes of a former owner,
    /// or of an earlier term, are stored by then or never will be.
    async fn resume(&mut self, _session: &LeaseSession) -> Result<Option<Checkpoint>, StoreError> {
        self.load_checkpoint().await
    }

    /// Begins a term from a checkpoint that fits the log.
    async fn begin(
        &mut self,
        session: &LeaseSession,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError>;

    /// Says what to wait for. Called before each wait, so it may start what is due. Nothing may
    /// start that acts outside the store after `until`.
    fn plan(&mut self, until: Option<Instant>, is_at_tail: bool) -> Plan;

    /// Applies a page.
    async fn apply(&mut self, page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError>;

    /// Does what is due by time.
    async fn do_due(&mut self) -> Result<(), StoreError>;

    /// Waits for what runs beside the loop. The driver drops this future whenever something else
    /// happens, so it must lose nothing then.
    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        std::future::pending().await
    }

    /// Saves for a reader that waits for the checkpoint.
    async fn save_for_reader(&mut self) -> Result<(), StoreError>;

    /// Ends the term in order, while the lease is held: saves what is not saved.
    async fn finish(&mut self) -> Result<(), StoreError>;

    /// Returns `true` if another process may be able to do what this one cannot.
    fn wants_to_step_aside(&self) -> bool {
        false
    }

    /// Position that the term has reached.
    fn reached(&self) -> GlobalPosition;

    /// Returns `true` if every page that it was given is applied.
    fn is_idle(&self) -> bool {
        true
    }

    /// The term is over, whatever ended it. Nothing of it may be answered after that.
    async fn ended(&mut self) {}

    /// The owner, here or elsewhere, has saved up to this checkpoint.
    fn saw(&mut self, _checkpoint: Option<Checkpoint>) {}
}
