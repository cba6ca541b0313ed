//! One partition of an event handler: events are handled beside the loop, the checkpoint follows.
//!
//! Nothing in memory outlives a term. Whatever was handled and not saved is handled again by the next
//! term, which continues from what is stored.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::attempt::Done;
use super::window::Window;
use super::{EventHandler, HandlerSettings};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::parking::Parking;
use crate::partition::{
    CheckpointWriter, End, Follower, LeaseGrant, LeaseSession, NextPage, Pacing, PartitionProgress,
    Plan, Reached,
};
use crate::reaction::start_position::resume;
use crate::store::contract::{Checkpoint, DocumentBatch, Filter, Page, ParkedQuery, Store};
use crate::subscription::sources::EventSources;

/// Delay before the next look while the lease is not surely held: it is renewed or lost soon.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// An event handler, and the memory of its current term in one partition.
pub(super) struct HandlerFollower<H: EventHandler> {
    pub(super) handler: Arc<H>,
    pub(super) settings: HandlerSettings,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sources: Arc<EventSources<H::Event>>,
    pub(super) progress: Arc<PartitionProgress>,
    pub(super) pacing: Pacing,
    /// Position after which a handler without a checkpoint starts.
    starts_after: GlobalPosition,
    checkpoints: CheckpointWriter,
    /// End of what is taken from the log.
    pub(super) reached: Reached,
    /// Page of which not all events are taken.
    pub(super) page: Option<Arc<Page>>,
    pub(super) window: Window<H::Event>,
    pub(super) parking: Parking,
    pub(super) running: JoinSet<Done<H::Event>>,
    /// Time until which the lease is surely held, if it is.
    pub(super) until: Option<Instant>,
    /// Time of the next save.
    save_at: Option<Instant>,
    /// Time of the next look at parked keys.
    pub(super) look_at: Instant,
    /// Time of the next look at requests.
    pub(super) requests_at: Instant,
    /// Position of the first event that can be neither handled nor parked, and the reason.
    pub(super) halts: Option<(GlobalPosition, String)>,
}

impl<H: EventHandler> HandlerFollower<H> {
    pub(super) fn new(
        handler: Arc<H>,
        (store, clock): (Arc<dyn Store>, Arc<dyn Clock>),
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
        starts_after: GlobalPosition,
    ) -> Self {
        let id = progress.id().clone();
        Self {
            settings: handler.settings(),
            handler,
            store,
            clock,
            sources: Arc::new(H::sources()),
            checkpoints: CheckpointWriter::new(id, LeaseGrant::void(), None),
            progress,
            pacing,
            starts_after,
            reached: Reached::of(None),
            page: None,
            window: Window::new(),
            parking: Parking::none(),
            running: JoinSet::new(),
            until: None,
            save_at: None,
            look_at: Instant::now(),
            requests_at: Instant::now(),
            halts: None,
        }
    }

    pub(super) fn saved(&self) -> GlobalPosition {
        self.checkpoints.saved().position
    }

    /// Checks that another attempt may start.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < self.settings.at_once.max(1)
    }

    /// Saves at the latest after this time.
    pub(super) fn save_within(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.save_at = Some(self.save_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Saves how far everything is handled, and what was parked.
    async fn save(&mut self) -> Result<(), StoreError> {
        self.save_at = None;
        let saved = self.checkpoints.saved();
        let to = self.window.oldest().map_or(self.reached, Reached::before);
        let to = if to.position <= saved.position { saved } else { to };
        for (key, position) in self.window.take_behind(to.position) {
            self.parking.queue(&key, position);
        }
        if to.position <= saved.position && self.parking.unsaved() == 0 {
            return Ok(());
        }
        let mut draft = self.checkpoints.update(to, self.parking.hand_out());
        let update = draft.build(&*self.store).await?;
        crate::failpoints::point("handler.before_checkpoint");
        let batch = DocumentBatch { documents: Vec::new(), deleted: Vec::new(), update };
        // If this fails, the term ends, and the next one continues from what is stored. So what was
        // handed out is not needed again.
        self.store.save_documents(batch).await?;
        crate::failpoints::point("handler.after_checkpoint");
        self.checkpoints.is_saved(draft.to());
        self.parking.saved();
        self.progress.committed(draft.to().position);
        self.progress.count_save();
        self.progress.parked(self.parking.len());
        Ok(())
    }

    fn done(&mut self, done: Result<Done<H::Event>, JoinError>) -> Result<(), StoreError> {
        match done {
            Ok(Done::Attempt { key, item, result }) => self.settle(key, item, result),
            Ok(Done::Drain { drain, found, applied, reason }) => {
                self.drained(drain, &found, applied, reason);
            }
            // The next term handles its event again. Without that, the event would stay open.
            Err(lost) => return Err(StoreError::Unavailable(format!("an attempt ended: {lost}"))),
        }
        Ok(())
    }

    /// Checks that everything before the event is handled at which the partition is to halt.
    fn is_at_halt(&self) -> bool {
        let is_reached = |(position, _): &(GlobalPosition, String)| {
            self.window.oldest().is_none_or(|oldest| oldest >= *position)
        };
        self.halts.as_ref().is_some_and(is_reached)
    }

    fn is_saved(&self) -> bool {
        let to = self.window.oldest().map_or(self.reached, Reached::before);
        to.position <= self.saved() && self.parking.unsaved() == 0
    }
}

impl<H: EventHandler> Follower for HandlerFollower<H> {
    fn filter(&self) -> Filter {
        self.sources.routes.filter()
    }

    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.store.load_checkpoint(self.progress.id()).await
    }

    async fn resume(&mut self, session: &LeaseSession) -> Result<Option<Checkpoint>, StoreError> {
        resume(&*self.store, self.progress.id(), session, self.starts_after).await
    }

    async fn begin(
        &mut self,
        session: &LeaseSession,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        let id = self.progress.id().clone();
        let parked = self.store.load_parked(&id.model, &ParkedQuery::default()).await?.keys;
        let (settings, now) = (self.pacing.parking.clone(), std::time::Instant::now());
        self.parking = Parking::resume(id.number, settings, parked, now);
        self.progress.parked(self.parking.len());
        self.checkpoints = CheckpointWriter::new(id, session.grant().clone(), checkpoint);
        self.reached = self.checkpoints.saved();
        (self.window, self.page, self.halts) = (Window::new(), None, None);
        self.save_at = None;
        (self.look_at, self.requests_at) = (Instant::now(), Instant::now());
        Ok(())
    }

    fn plan(&mut self, until: Option<Instant>, _is_at_tail: bool) -> Plan {
        self.until = until;
        self.take_page();
        self.start_work();
        let now = Instant::now();
        let is_full = self.window.is_full();
        // A save makes room, because the checkpoint passes events that wait behind parked keys.
        if (is_full && self.window.may_pass_behind()) || (self.is_at_halt() && !self.is_saved()) {
            self.save_at = Some(now);
        }
        let next = self.window.next_due(now).filter(|_| self.has_room());
        // Work may be due while the lease is not surely held. Without this delay the driver would
        // spin until it is.
        let next = next.map(|due| due.max(now + LOOK_AGAIN));
        let parked = (!self.parking.is_empty()).then_some(self.look_at);
        // Keys that are due after a restart go first if many are parked, because new code may
        // release them, and more events might park more.
        let is_crowded = self.parking.is_crowded() && self.parking.is_due(now.into_std());
        let stays = self.page.is_some() || is_full || is_crowded || self.halts.is_some();
        Plan {
            due: [next, self.save_at, parked].into_iter().flatten().min(),
            next_page: if stays { NextPage::NotYet } else { NextPage::Now },
            page_events: usize::MAX,
        }
    }

    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        // The only await is cancel-safe, because the driver drops this future whenever something
        // else happens. So a halt is saved by `do_due`, and ends the term here afterwards.
        if self.is_at_halt()
            && self.is_saved()
            && let Some((position, reason)) = self.halts.take()
        {
            return Ok(ControlFlow::Break(End::Halted { position, reason }));
        }
        match self.running.join_next().await {
            Some(done) => self.done(done)?,
            None => std::future::pending().await,
        }
        // All that have ended, because each round of the driver's loop costs as much as an event.
        while let Some(done) = self.running.try_join_next() {
            self.done(done)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn apply(&mut self, page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError> {
        self.page = Some(Arc::clone(page));
        self.take_page();
        Ok(ControlFlow::Continue(()))
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.save_at.is_some_and(|at| at <= now) {
            self.save().await?;
        }
        if !self.parking.is_empty() && self.look_at <= now {
            self.look_at_parked().await?;
        }
        Ok(()) // `plan` starts what is due
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        Ok(()) // no reader waits for a handler
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let finish_within = self.pacing.finish_within;
        let finishing = async {
            while let Some(done) = self.running.join_next().await {
                self.done(done)?;
            }
            Ok(())
        };
        // Events whose attempts are still running then are handled again by the next owner.
        timeout(finish_within, finishing).await.unwrap_or(Ok(()))?;
        self.save().await
    }

    fn reached(&self) -> GlobalPosition {
        self.reached.position
    }

    fn is_idle(&self) -> bool {
        // What the window still holds is handled by the next term.
        self.running.is_empty()
    }

    async fn ended(&mut self) {
        // Aborted, because another process may handle the same events from here on.
        self.running = JoinSet::new();
        self.progress.parked(0);
    }
}
