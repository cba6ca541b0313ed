//! The follower of a read model: it passes pages from the driver to the actor, and what the actor
//! reports back to the driver.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::ReadModel;
use super::actor::{Order, ReadModelActor};
use super::role::Report;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::{End, Follower, LeaseSession, NextPage, PartitionProgress, Plan};
use crate::store::contract::{Checkpoint, Filter, Page, ParkedQuery, Store};

/// One partition of a read model, as its driver sees it.
pub(super) struct ReadModelFollower<M: ReadModel> {
    addr: Addr<ReadModelActor<M>>,
    store: Arc<dyn Store>,
    progress: Arc<PartitionProgress>,
    /// Reports of the current term. There are few: one for each page at most.
    reports: UnboundedReceiver<Report>,
    room: Option<usize>,
    /// Pages of this term that the actor was given, and those that it has folded.
    given: u64,
    folded: u64,
    /// Position before the event that a fault was about.
    failed_after: Option<GlobalPosition>,
    /// The actor halts, and saves what it had folded before.
    halts: bool,
    stop_within: Duration,
}

impl<M: ReadModel> ReadModelFollower<M> {
    pub(super) fn new(
        addr: Addr<ReadModelActor<M>>,
        store: Arc<dyn Store>,
        progress: Arc<PartitionProgress>,
        stop_within: Duration,
    ) -> Self {
        let (_, reports) = unbounded_channel();
        Self {
            addr,
            store,
            progress,
            reports,
            room: None,
            given: 0,
            folded: 0,
            failed_after: None,
            halts: false,
            stop_within,
        }
    }

    fn reporter(&mut self) -> UnboundedSender<Report> {
        let (sender, receiver) = unbounded_channel();
        (self.reports, self.room, self.failed_after) = (receiver, None, None);
        (self.given, self.folded, self.halts) = (0, 0, false);
        sender
    }
}

impl<M: ReadModel> Follower for ReadModelFollower<M> {
    fn filter(&self) -> Filter {
        M::sources().routes.filter()
    }

    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.store.load_checkpoint(self.progress.id()).await
    }

    async fn begin(
        &mut self,
        session: &LeaseSession,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        let parked =
            self.store.load_parked(&self.progress.id().model, &ParkedQuery::default()).await?.keys;
        let (grant, reports) = (session.grant().clone(), self.reporter());
        self.addr.do_send(Order::Own { grant, checkpoint, parked, reports });
        Ok(())
    }

    fn plan(&mut self, _until: Option<Instant>, _is_at_tail: bool) -> Plan {
        Plan {
            due: None,
            next_page: if self.room.is_some() { NextPage::Now } else { NextPage::NotYet },
            page_events: self.room.unwrap_or(1),
        }
    }

    async fn apply(&mut self, page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError> {
        self.room = None;
        self.given += 1;
        self.addr.do_send(Order::Fold(Arc::clone(page)));
        Ok(ControlFlow::Continue(()))
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        Ok(()) // the actor has timers of its own
    }

    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        match self.reports.recv().await {
            Some(Report::Room { events, folded }) => {
                (self.room, self.folded) = (Some(events), folded);
                Ok(ControlFlow::Continue(()))
            }
            Some(Report::Folded(folded)) => {
                self.folded = folded;
                Ok(ControlFlow::Continue(()))
            }
            Some(Report::Halts { position, reason }) => {
                self.halts = true;
                Ok(ControlFlow::Break(End::Halted { position, reason }))
            }
            Some(Report::Fault { position, fault }) => {
                self.failed_after = Some(GlobalPosition(position.0.saturating_sub(1)));
                Err(fault)
            }
            // The actor is gone, and with it the application.
            None => Ok(ControlFlow::Break(End::Stopped)),
        }
    }

    fn is_idle(&self) -> bool {
        self.folded == self.given
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        self.addr.do_send(Order::SaveNow);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let (reply, finished) = oneshot::channel();
        self.addr.do_send(Order::Finish(reply));
        // An error says that the actor is gone, so nothing more can be saved.
        finished.await.unwrap_or(Ok(()))
    }

    fn reached(&self) -> GlobalPosition {
        self.failed_after.unwrap_or_else(|| self.progress.reached())
    }

    async fn ended(&mut self) {
        if self.halts {
            // With a limit, because the lease is to be released.
            let _ = timeout(self.stop_within, self.finish()).await;
        }
        // Replies once the actor answers nothing from its memory any more.
        let (reply, stands_by) = oneshot::channel();
        self.addr.do_send(Order::StandBy(reply));
        let _ = stands_by.await; // the actor is gone
    }

    fn saw(&mut self, checkpoint: Option<Checkpoint>) {
        self.addr.do_send(Order::Saw(checkpoint));
    }
}
