//! The actor of one partition: it folds the pages that the driver passes to it, and answers reads.
//!
//! Everything that waits (cold documents, a save, a look at the store) is a future beside the mailbox,
//! so reads are answered meanwhile; only folding itself, pure code on one page, holds them up. The
//! driver decides about the role; faults are reported to it.

use std::mem::replace;
use std::sync::Arc;
use std::time::Instant;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::info;

use super::ReadModel;
use super::folder::Folder;
use super::read::{Read, Reads};
use super::role::{Owner, Report, Role};
use crate::clock::Clock;
use crate::error::{ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::partition::parking::Parking;
use crate::partition::{LeaseGrant, Pacing, PartitionProgress, Reached, Retry, State};
use crate::store::contract::{Checkpoint, Page, ParkedKey, PartitionId, Store};
use crate::subscription::Tail;

/// The actor of one partition of a read model.
pub(crate) struct ReadModelActor<M: ReadModel> {
    pub(super) partition: Arc<PartitionId>,
    pub(super) store: Arc<dyn Store>,
    /// True if other processes can write to the store. Remembered, because it never changes and is
    /// needed after every page.
    pub(super) is_shared: bool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tail: Tail,
    pub(super) folder: Folder<M>,
    pub(super) role: Role<M>,
    /// Number of terms so far. Work of an earlier term comes to nothing.
    pub(super) terms: u64,
    pub(super) reads: Reads<M>,
    pub(super) is_stopping: bool,
    is_ticking: bool,
    pub(super) progress: Arc<PartitionProgress>,
    pub(super) pacing: Pacing,
}

/// An order of the driver, or of a handle.
pub(super) enum Order {
    /// Fold from this checkpoint on, under this lease.
    Own {
        grant: LeaseGrant,
        checkpoint: Option<Checkpoint>,
        parked: Vec<ParkedKey>,
        reports: UnboundedSender<Report>,
    },
    Fold(Arc<Page>),
    /// Fold no more, save what is not saved, and reply then.
    Finish(oneshot::Sender<Result<(), StoreError>>),
    /// Forget what is in memory, and reply then.
    StandBy(oneshot::Sender<()>),
    /// A standby sees what the owner has saved.
    Saw(Option<Checkpoint>),
    /// A reader waits for the checkpoint.
    SaveNow,
    /// There are requests for parked keys.
    LookForRequests,
    /// The application stops: refuse every read.
    Refuse,
    End,
}

impl Message for Order {
    type Result = ();
}

impl<M: ReadModel> Actor for ReadModelActor<M> {
    type Context = Context<Self>;
}

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tail: Tail,
        progress: Arc<PartitionProgress>,
        pacing: Pacing,
        checkpoint: Option<Checkpoint>,
    ) -> Self {
        let partition = Arc::new(progress.id().clone());
        Self {
            is_shared: !store.info().is_sole_writer,
            folder: Folder::standby(partition.number, M::PARTITIONS, Reached::of(checkpoint)),
            partition,
            store,
            clock,
            tail,
            role: Role::STANDBY,
            terms: 0,
            reads: Reads::new(),
            is_stopping: false,
            is_ticking: false,
            progress,
            pacing,
        }
    }

    pub(super) fn reached(&self) -> GlobalPosition {
        self.folder.reached.position
    }

    pub(super) fn halted(&self) -> Option<ReadError> {
        match self.progress.state() {
            State::Halted { position, reason } => {
                Some(ReadError::Halted { model: M::NAME, position, reason })
            }
            State::CatchingUp | State::Live | State::Stopped => None,
        }
    }

    /// Attempts at one call to the store.
    pub(super) fn retry(&self) -> Retry {
        Retry::new(Arc::clone(&self.progress), self.pacing.backoff())
    }

    /// Runs `work` beside the mailbox and then `then`, unless the term has ended by then.
    pub(super) fn beside<T: 'static>(
        &self,
        ctx: &mut Context<Self>,
        work: impl Future<Output = T> + 'static,
        then: impl FnOnce(T, &mut Self, &mut Context<Self>) + 'static,
    ) {
        // The number, and not the role: an owner that saves the last time is of the same term, and a
        // later owner is not.
        let term = self.terms;
        ctx.spawn(work.into_actor(self).map(move |done, act, ctx| {
            if act.terms == term {
                then(done, act, ctx);
                act.settle(ctx);
            }
        }));
    }

    /// Ends every piece of work: reports parked keys, and starts the timer if anything is due later.
    /// An idle partition has no timer.
    pub(super) fn settle(&mut self, ctx: &mut Context<Self>) {
        self.progress.parked(self.folder.parking.len());
        // A timer for each idle partition would wake a hundred of them forty times a second.
        let is_unsaved = self.role.saver().is_some_and(|owner| owner.unsaved_since.is_some());
        let is_due = is_unsaved || !self.folder.parking.is_empty() || !self.reads.is_empty();
        if is_due && !replace(&mut self.is_ticking, true) {
            ctx.run_later(self.pacing.tick, |act, ctx| {
                act.is_ticking = false;
                act.tick(ctx);
                act.settle(ctx);
            });
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.reads.forget_abandoned();
        self.drain_if_due(ctx);
        let requests_every = self.pacing.requests_every;
        if self.role.owner().is_some_and(|owner| owner.asked_at.elapsed() >= requests_every) {
            self.look_for_requests(ctx);
        }
        self.save_if_due(ctx);
    }

    fn own(
        &mut self,
        (grant, checkpoint): (LeaseGrant, Option<Checkpoint>),
        parked: Vec<ParkedKey>,
        reports: UnboundedSender<Report>,
        ctx: &mut Context<Self>,
    ) {
        let Pacing { hot_documents, parking, .. } = self.pacing.clone();
        let parking = Parking::resume(self.partition.number, parking, parked, Instant::now());
        let is_new = checkpoint.is_none();
        self.folder.begin(Reached::of(checkpoint), hot_documents, is_new, parking);
        let id = PartitionId::clone(&self.partition);
        self.role = Role::Owner(Owner::new(id, grant, checkpoint, reports));
        self.terms += 1;
        self.answer_due(ctx);
        self.drain_if_due(ctx);
        self.want_page(ctx);
    }

    /// Forgets what is in memory. What was answered stays the least that is answered, though the
    /// store may not be there yet.
    fn stand_by(&mut self, ctx: &mut Context<Self>) {
        let saved = match &self.role {
            Role::Owner(owner) | Role::Leaving(owner, _) | Role::InDoubt(owner) => {
                owner.checkpoints.saved()
            }
            Role::Standby { .. } => self.folder.reached,
        };
        // Before memory goes, because a read may have been answered from it a moment ago.
        self.progress.answer_from(self.reached());
        self.folder = Folder::standby(self.partition.number, M::PARTITIONS, saved);
        self.role = Role::STANDBY;
        self.terms += 1;
        self.progress.committed(saved.position);
        for read in self.reads.take_all() {
            self.receive(read, ctx);
        }
    }

    /// Reports a fault, after which nothing is folded or saved: memory may not be the fold of the log,
    /// or another process may own the partition.
    pub(super) fn fail(&mut self, position: GlobalPosition, fault: StoreError) {
        self.stop_folding(Report::Fault { position, fault }, false);
    }

    /// Reports that nothing more can be folded. What was folded before is saved, if it is whole.
    pub(super) fn halt(&mut self, position: GlobalPosition, reason: String, is_whole: bool) {
        self.stop_folding(Report::Halts { position, reason }, is_whole);
    }

    fn stop_folding(&mut self, report: Report, is_whole: bool) {
        self.role = match replace(&mut self.role, Role::STANDBY) {
            Role::Owner(owner) => {
                owner.report(report);
                if is_whole { Role::Leaving(owner, None) } else { Role::InDoubt(owner) }
            }
            Role::Leaving(owner, reply) => {
                match (reply, report) {
                    (Some(reply), Report::Fault { fault, .. }) => drop(reply.send(Err(fault))),
                    (reply, report) => {
                        if let Some(reply) = reply {
                            let _ = reply.send(Ok(())); // there is nothing that may be saved
                        }
                        owner.report(report);
                    }
                }
                Role::InDoubt(owner)
            }
            other @ (Role::Standby { .. } | Role::InDoubt(_)) => other,
        };
    }

    /// Folds no more. Replies once everything is saved.
    fn finish(&mut self, reply: oneshot::Sender<Result<(), StoreError>>, ctx: &mut Context<Self>) {
        match replace(&mut self.role, Role::STANDBY) {
            Role::Owner(owner) | Role::Leaving(owner, _) => {
                self.role = Role::Leaving(owner, Some(reply));
                self.reply_if_saved(ctx);
            }
            other @ (Role::Standby { .. } | Role::InDoubt(_)) => {
                self.role = other;
                let _ = reply.send(Ok(())); // there is nothing that may be saved
            }
        }
    }
}

impl<M: ReadModel> Handler<Read<M>> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, read: Read<M>, ctx: &mut Self::Context) {
        self.receive(read, ctx);
        self.settle(ctx);
    }
}

impl<M: ReadModel> Handler<Order> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        match order {
            Order::Own { grant, checkpoint, parked, reports } => {
                self.own((grant, checkpoint), parked, reports, ctx);
            }
            Order::Fold(page) => self.take_page(page, ctx),
            Order::Finish(reply) => self.finish(reply, ctx),
            Order::StandBy(reply) => {
                self.stand_by(ctx);
                let _ = reply.send(()); // the application is stopping
            }
            Order::Saw(checkpoint) => self.saw(checkpoint, ctx),
            Order::SaveNow => self.save(ctx),
            Order::LookForRequests => self.look_for_requests(ctx),
            Order::Refuse => {
                self.is_stopping = true;
                self.reads.refuse_all(&ReadError::Stopping);
            }
            Order::End => {
                info!(model = %self.partition, saved = %self.progress.now().saved, "a read model stops");
                return ctx.stop();
            }
        }
        self.settle(ctx);
    }
}

impl<M: ReadModel> Drop for ReadModelActor<M> {
    /// However the actor ends, its handles learn of it.
    fn drop(&mut self) {
        if self.progress.is_running() {
            let position = self.reached();
            self.progress.turn(match std::thread::panicking() {
                true => State::Halted { position, reason: "its actor panicked".into() },
                false => State::Stopped,
            });
        }
    }
}
