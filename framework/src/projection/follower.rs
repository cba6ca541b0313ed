//! One partition of a projection: pages of the log become rows, in one transaction with the checkpoint.
//!
//! Nothing in memory outlives a term. Whatever the database replied or did not, the next term
//! continues from what is stored.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument;

use super::Projection;
use super::batch::Batch;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::parking::{Full, Parking};
use crate::partition::{
    CheckpointWriter, End, Follower, LeaseGrant, LeaseSession, NextPage, Pacing, PartitionProgress,
    Plan, Reached,
};
use crate::spans;
use crate::store::contract::{
    Checkpoint, Filter, Page, ParkedQuery, PartitionId, ProjectionDatabase, SqlTransaction, Store,
};
use crate::subscription::sources::EventSources;

/// One partition of a projection, and the memory of its current term.
pub(crate) struct ProjectionFollower<P: Projection> {
    pub(super) store: Arc<dyn Store>,
    /// True if other processes can write to the store. Remembered, because it never changes and is
    /// needed for every page.
    is_shared: bool,
    pub(super) database: Arc<dyn ProjectionDatabase>,
    pub(super) sources: EventSources<P::Event>,
    pub(super) progress: Arc<PartitionProgress>,
    pub(super) pacing: Pacing,
    pub(super) grant: LeaseGrant,
    pub(super) checkpoints: CheckpointWriter,
    /// End of what was looked through. Behind the checkpoint there was nothing to apply.
    reached: Reached,
    /// Time since which `reached` is ahead of the checkpoint.
    ahead_since: Option<Instant>,
    /// Until then events gather, unless a reader waits.
    gathers_until: Option<Instant>,
    pub(super) parking: Parking,
    looked_at_parked: Instant,
    /// True if so many keys are parked that they are retried before more events are applied, because
    /// these may park more keys.
    tries_parked_first: bool,
}

impl<P: Projection> ProjectionFollower<P> {
    pub(super) fn new(
        store: Arc<dyn Store>,
        database: Arc<dyn ProjectionDatabase>,
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
    ) -> Self {
        let grant = LeaseGrant::void();
        Self {
            is_shared: !store.info().is_sole_writer,
            store,
            database,
            sources: P::sources(),
            grant: grant.clone(),
            checkpoints: CheckpointWriter::new(progress.id().clone(), grant, None),
            reached: Reached::of(None),
            ahead_since: None,
            gathers_until: None,
            parking: Parking::none(),
            looked_at_parked: Instant::now(),
            tries_parked_first: false,
            progress,
            pacing,
        }
    }

    pub(super) fn id(&self) -> &PartitionId {
        self.progress.id()
    }

    /// Begins a term from a checkpoint and the parked keys that are stored with it.
    pub(super) async fn begin_term(
        &mut self,
        grant: &LeaseGrant,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        let id = self.progress.id().clone();
        let parked = self.database.load_parked(&id.model, &ParkedQuery::default()).await?.keys;
        let (parking, now) = (self.pacing.parking.clone(), std::time::Instant::now());
        self.parking = Parking::resume(id.number, parking, parked, now);
        self.grant = grant.clone();
        self.checkpoints = CheckpointWriter::new(id, grant.clone(), checkpoint);
        self.reached = Reached::of(checkpoint);
        (self.ahead_since, self.gathers_until) = (None, None);
        self.looked_at_parked = Instant::now();
        self.tries_parked_first = self.parking.is_crowded();
        Ok(())
    }

    pub(super) fn halted(&self, reason: String) -> End {
        End::Halted { position: self.reached.position.next(), reason }
    }

    pub(super) fn saved(&self) -> GlobalPosition {
        self.checkpoints.saved().position
    }

    fn is_wanted(&self) -> bool {
        self.progress.is_wanted(self.saved())
    }

    /// Saves the checkpoint alone, if it is behind what was looked through.
    async fn save_reached(&mut self) -> Result<(), StoreError> {
        // Not for every page without events of its own, because that would be a commit for nothing.
        if self.reached.position <= self.saved() {
            return Ok(());
        }
        let transaction = self.begin_transaction().await?;
        self.commit(transaction, self.reached).await
    }

    /// Commits what the transaction holds, with the checkpoint and what was parked.
    pub(super) async fn commit(
        &mut self,
        transaction: Box<dyn SqlTransaction>,
        reached: Reached,
    ) -> Result<(), StoreError> {
        let mut draft = self.checkpoints.update(reached, self.parking.hand_out());
        // After the user's code, because the parked keys of this batch belong to the same commit.
        let update = draft.build(&*self.store).await?;
        transaction.commit(Some(&update)).await?;
        self.checkpoints.is_saved(draft.to());
        self.parking.saved();
        self.reached = draft.to();
        self.ahead_since = None;
        self.progress.committed(self.reached.position);
        self.progress.count_save();
        self.progress.parked(self.parking.len());
        Ok(())
    }

    /// Applies a page. Breaks if the term ends with it.
    pub(super) async fn apply_page(&mut self, page: &Page) -> Result<ControlFlow<End>, StoreError> {
        let number = self.id().number;
        let mut batch = Batch::of::<P>(&self.sources.routes, number, &self.parking, page);
        let (reached, halt) = (batch.reached, batch.halt.take());
        if !batch.is_empty() {
            let span = spans::project(P::NAME, batch.events.len());
            let transaction = self.project(&mut batch).instrument(span).await?;
            if let Err(full @ Full { .. }) = self.park(&mut batch) {
                return Ok(ControlFlow::Break(self.halted(full.to_string())));
            }
            self.commit(transaction, reached).await?;
            self.progress.count_events(batch.events.len());
        } else if reached.position > self.reached.position {
            self.reached = reached;
            // The checkpoint may stay behind for a while, because a page without events of the
            // partition costs nothing to read again.
            self.ahead_since.get_or_insert_with(Instant::now);
            if self.is_wanted() {
                self.save_reached().await?;
            }
        }
        let Some((position, reason)) = halt else { return Ok(ControlFlow::Continue(())) };
        // What was before the event is saved, so that the release which can decode it does not
        // begin further back.
        self.save_reached().await?;
        Ok(ControlFlow::Break(End::Halted { position, reason }))
    }
}

impl<P: Projection> Follower for ProjectionFollower<P> {
    fn filter(&self) -> Filter {
        self.sources.routes.filter()
    }

    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.database.load_checkpoint(self.id()).await
    }

    async fn resume(&mut self, session: &LeaseSession) -> Result<Option<Checkpoint>, StoreError> {
        self.database.resume(self.id(), session.lease()).await
    }

    async fn begin(
        &mut self,
        session: &LeaseSession,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        self.begin_term(session.grant(), checkpoint).await
    }

    fn plan(&mut self, _until: Option<Instant>, is_at_tail: bool) -> Plan {
        // No page before that: it could park the few keys that are left, and halt a partition that
        // new code would have cleared.
        if self.tries_parked_first {
            let due = Some(Instant::now());
            return Plan { due, next_page: NextPage::NotYet, page_events: usize::MAX };
        }
        let within = self.pacing.checkpoint_within(self.is_shared);
        let checkpoint = self.ahead_since.map(|since| since + within);
        let parked = self.looked_at_parked + self.pacing.requests_every;
        let parked = (!self.parking.is_empty()).then_some(parked);
        // Nothing gathers while it is behind, because the next page is there already.
        let gathers_until = self.gathers_until.filter(|_| is_at_tail && !self.is_wanted());
        Plan {
            due: [checkpoint, parked].into_iter().flatten().min(),
            next_page: gathers_until.map_or(NextPage::Now, NextPage::At),
            page_events: usize::MAX,
        }
    }

    async fn apply(&mut self, page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError> {
        let saved = self.saved();
        let flow = self.apply_page(page).await?;
        // After a commit events gather for a moment, because a transaction costs the same for one
        // event as for many.
        let has_committed = self.saved() > saved;
        self.gathers_until = has_committed.then(|| Instant::now() + self.pacing.gather_for);
        Ok(flow)
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        self.save_reached().await?;
        self.tries_parked_first = false;
        self.look_at_parked().await?;
        self.looked_at_parked = Instant::now();
        Ok(())
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        match self.is_wanted() {
            true => self.save_reached().await,
            false => Ok(()),
        }
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.save_reached().await
    }

    fn reached(&self) -> GlobalPosition {
        self.reached.position.max(self.saved())
    }
}
