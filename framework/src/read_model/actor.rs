//! The actor of one partition: what it is made of, how it stands still and how it ends.
//!
//! Everything that waits (the next page, cold documents, a save, the lease) is a future beside the
//! mailbox, so reads are answered meanwhile; only folding itself, pure code on one page, holds them
//! up. What an owner does is in `owner`, what a standby does in `standby`, and how one becomes the
//! other in `ownership`.

use std::sync::Arc;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::ownership::Attempt;
use super::read::{Read, Reads};
use super::term::Term;
use super::{ReadModel, Sources};
use crate::clock::Clock;
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::partition::{Assignment, LeaseRenewer, Pacing, PartitionProgress, State};
use crate::store::contract::{PartitionId, Store, partition_of};
use crate::subscription::Tail;

/// What an actor starts from.
pub(super) struct Start<M> {
    pub(super) partition: PartitionId,
    /// How many there are.
    pub(super) partitions: u32,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sources: Sources<M>,
    pub(super) tail: Tail,
    pub(super) renewer: LeaseRenewer,
    pub(super) attempt: Attempt,
    pub(super) assignment: Assignment,
    pub(super) progress: Arc<PartitionProgress>,
    pub(super) settings: Pacing,
}

/// The actor of one partition of a read model.
pub(crate) struct ReadModelActor<M: ReadModel> {
    pub(super) partition: Arc<PartitionId>,
    /// How many there are.
    partitions: u32,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// Other processes may write to the store, and answer from it.
    pub(super) is_shared: bool,
    pub(super) sources: Sources<M>,
    pub(super) tail: Tail,
    pub(super) renewer: LeaseRenewer,
    /// As they were at start, until the actor runs.
    beginning: Option<(Attempt, Assignment)>,
    pub(super) term: Term<M>,
    /// How many terms there were before this one.
    pub(super) terms: u64,
    pub(super) reads: Reads<M>,
    pub(super) stopping: Vec<oneshot::Sender<()>>,
    pub(super) progress: Arc<PartitionProgress>,
    pub(super) settings: Pacing,
}

/// End the actor.
pub(super) enum Stop {
    /// Answered when all is saved, as far as it can be, and the lease is given up.
    AfterSaving(oneshot::Sender<()>),
    AtOnce,
}

impl Message for Stop {
    type Result = ();
}

/// Somebody has asked for a parked key.
pub(super) struct Requested;

impl Message for Requested {
    type Result = ();
}

impl<M: ReadModel> Actor for ReadModelActor<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.settings.tick, |act, ctx| act.tick(ctx));
        if let Some((attempt, assignment)) = self.beginning.take() {
            self.begin(attempt, ctx);
            self.follow_assignment(assignment, ctx);
        }
    }
}

impl<M: ReadModel> ReadModelActor<M> {
    pub(super) fn new(start: Start<M>) -> Self {
        Self {
            term: Term::standby(&start.partition, start.attempt.checkpoint),
            terms: 0,
            partition: Arc::new(start.partition),
            partitions: start.partitions,
            is_shared: !start.store.is_sole_writer(),
            store: start.store,
            clock: start.clock,
            sources: start.sources,
            tail: start.tail,
            renewer: start.renewer,
            beginning: Some((start.attempt, start.assignment)),
            reads: Reads::new(),
            stopping: Vec::new(),
            progress: start.progress,
            settings: start.settings,
        }
    }

    pub(super) fn progress(&self) -> &PartitionProgress {
        &self.progress
    }

    pub(super) fn reached(&self) -> GlobalPosition {
        self.term.reached.position
    }

    pub(super) fn halted(&self) -> Option<ReadError> {
        match self.progress.state() {
            State::Halted { position, reason } => {
                Some(ReadError::Halted { model: M::NAME, position, reason })
            }
            State::CatchingUp | State::Live | State::Stopped => None,
        }
    }

    /// Whether more is to be folded.
    pub(super) fn is_following(&self) -> bool {
        let Term { is_leaving, is_in_doubt, .. } = self.term;
        self.stopping.is_empty() && !is_leaving && !is_in_doubt && self.halted().is_none()
    }

    /// Whether the document with this key is in this partition.
    pub(super) fn is_ours(&self, key: &str) -> bool {
        partition_of(key, self.partitions) == self.partition.number
    }

    /// Runs `work` beside the mailbox and then `then`, unless the term has ended by then.
    pub(super) fn beside<T: 'static>(
        &self,
        ctx: &mut Context<Self>,
        work: impl Future<Output = T> + 'static,
        then: impl FnOnce(T, &mut Self, &mut Context<Self>) + 'static,
    ) -> SpawnHandle {
        let term = self.terms;
        ctx.spawn(work.into_actor(self).map(move |done, act, ctx| {
            if act.terms == term {
                then(done, act, ctx);
            }
        }))
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if !ctx.connected() {
            return ctx.stop(); // nobody has a handle any more
        }
        self.progress.parked(self.term.parking.len());
        self.reads.forget_abandoned();
        self.drain_if_due(ctx);
        if self.term.asked_at.elapsed() >= self.settings.requests_every {
            self.look_for_requests(ctx);
        }
        self.save_if_due(ctx);
    }

    /// Halts for good. What was folded before is saved if it is whole, and then the lease is released,
    /// so that a process with other code may get past the event at once. From here on this process
    /// is not the owner any more, for status and metrics too.
    pub(super) fn halt(
        &mut self,
        position: GlobalPosition,
        reason: String,
        ctx: &mut Context<Self>,
    ) {
        if self.halted().is_some() {
            return;
        }
        error!(model = %self.partition, %position, %reason, "a read model halts");
        self.progress.applied(self.term.reached.position);
        self.progress.halt(position, reason.clone());
        self.reads.refuse_all(&ReadError::Halted { model: M::NAME, position, reason });
        self.term.subscription = None;
        self.leave_if_saved(ctx);
    }

    /// Releases the lease if this partition leaves, stops or has halted, and nothing is left to save;
    /// so another process takes over at once.
    pub(super) fn leave_if_saved(&mut self, ctx: &mut Context<Self>) {
        let has_halted = self.halted().is_some() && self.term.session.is_some();
        let is_asked = self.term.is_leaving || !self.stopping.is_empty() || has_halted;
        if !is_asked || self.term.is_released {
            return;
        }
        self.save(ctx);
        if self.term.is_saving {
            return;
        }
        self.term.is_released = true;
        let session = self.term.session.take();
        let releasing = async move {
            if let Some(session) = session {
                session.release().await;
            }
        };
        self.beside(ctx, releasing, |(), act, ctx| match act.stopping.is_empty() {
            true => act.become_standby(ctx),
            false => act.end(ctx),
        });
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        info!(model = %self.partition, saved = %self.term.saved(), "a read model stops");
        if self.halted().is_none() {
            self.progress.turn(State::Stopped);
        }
        for reply in self.stopping.drain(..) {
            let _ = reply.send(()); // whoever asked has left
        }
        ctx.stop();
    }
}

impl<M: ReadModel> Handler<Read<M>> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, read: Read<M>, ctx: &mut Self::Context) {
        self.receive(read, ctx);
    }
}

impl<M: ReadModel> Handler<Requested> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, _: Requested, ctx: &mut Self::Context) {
        self.look_for_requests(ctx);
    }
}

impl<M: ReadModel> Handler<Stop> for ReadModelActor<M> {
    type Result = ();

    fn handle(&mut self, stop: Stop, ctx: &mut Self::Context) {
        match stop {
            Stop::AfterSaving(reply) => {
                self.stopping.push(reply);
                self.reads.refuse_all(&ReadError::Stopping);
                self.leave_if_saved(ctx);
            }
            Stop::AtOnce => ctx.stop(),
        }
    }
}
