//! Who folds a partition: the process that holds the lease named like it, and nobody else.
//!
//! An owner renews its lease until it is told to leave the partition to others; a standby tries to be
//! granted it when it is told to. What an owner answers from memory is a fold of the log whoever
//! holds the lease; what the lease protects is what is written, and there the store refuses an old
//! token. So nothing here needs to be on time.

use std::sync::Arc;
use std::time::Instant;

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{AsyncContext, Context};
use tracing::{info, warn};

use super::actor::ReadModelActor;
use super::term::{Term, position};
use super::{ReadModel, owner, resume};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::parking::Parking;
use crate::partition::{Assignment, LeaseRenewer, LeaseSession, Pacing, Retry, State};
use crate::store::contract::{Checkpoint, ParkedKey, PartitionId, Store};

/// What came of the wish to own a partition.
pub(super) struct Attempt {
    /// `None` if another process owns it, or should.
    pub(super) session: Option<LeaseSession>,
    /// How far it is saved; nobody else moves it while the lease is held.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Of an owner: its parked keys.
    pub(super) parked: Vec<ParkedKey>,
}

/// Tries to become the owner.
///
/// # Errors
/// The store did not answer, or the checkpoint does not belong to this log.
pub(super) async fn attempt(
    renewer: &LeaseRenewer,
    partition: &PartitionId,
) -> Result<Attempt, StoreError> {
    let store = &**renewer.store();
    match LeaseSession::acquire(renewer, partition).await? {
        Some(session) => {
            let checkpoint = resume::checkpoint(store, partition).await?;
            let parked = store.load_parked(&partition.model, None).await?;
            Ok(Attempt { session: Some(session), checkpoint, parked })
        }
        None => stand_by(store, partition).await,
    }
}

/// Leaves it to another process.
///
/// # Errors
/// As [`attempt`].
pub(super) async fn stand_by(
    store: &dyn Store,
    partition: &PartitionId,
) -> Result<Attempt, StoreError> {
    let checkpoint = resume::glimpse(store, partition).await?;
    Ok(Attempt { session: None, checkpoint, parked: Vec::new() })
}

impl<M: ReadModel> ReadModelActor<M> {
    /// Begins as owner or as standby.
    pub(super) fn begin(&mut self, attempt: Attempt, ctx: &mut Context<Self>) {
        match attempt.session {
            Some(session) => self.own(session, attempt.checkpoint, attempt.parked, ctx),
            None => self.saw(attempt.checkpoint, ctx),
        }
    }

    fn own(
        &mut self,
        session: LeaseSession,
        checkpoint: Option<Checkpoint>,
        parked: Vec<ParkedKey>,
        ctx: &mut Context<Self>,
    ) {
        let position = position(checkpoint);
        info!(model = %self.partition, %position, token = session.lease().token, "owns its partition from here on");
        let name = self.partition.to_string();
        let subscription = self.tail.subscribe(&name, owner::filter(&self.sources), position);
        let Pacing { hot_documents, parking, .. } = self.settings.clone();
        let parking = Parking::resume(self.partition.number, parking, parked, Instant::now());
        let id = &self.partition;
        let term = Term::owner(id, session, checkpoint, hot_documents, subscription, parking);
        self.turn(term, ctx);
        self.answer_due(ctx);
        self.watch_lease(ctx);
        self.drain_if_due(ctx);
        self.pull(ctx);
    }

    /// Takes or leaves the partition as it is assigned, at each look of the membership.
    pub(super) fn follow_assignment(&mut self, assignment: Assignment, ctx: &mut Context<Self>) {
        let mut assignment = assignment;
        let progress = Arc::clone(&self.progress);
        let next = async move {
            tokio::select! {
                () = progress.ended() => (None, assignment),
                is_ours = assignment.next() => (Some(is_ours), assignment),
            }
        };
        ctx.spawn(next.into_actor(self).map(|(is_ours, assignment), act, ctx| {
            let Some(is_ours) = is_ours.filter(|_| act.halted().is_none()) else {
                return assignment.withdraw();
            };
            act.assigned(is_ours, ctx);
            act.follow_assignment(assignment, ctx);
        }));
    }

    fn assigned(&mut self, should_own: bool, ctx: &mut Context<Self>) {
        match (should_own, self.term.session.is_some()) {
            _ if !self.is_following() => {}
            (true, false) => self.try_to_own(ctx),
            (false, true) => self.give_up(ctx),
            // Nobody may ask for long, and still it is to be known when it has caught up.
            (false, false) if self.progress.state() == State::CatchingUp => self.look(ctx),
            (true, true) | (false, false) => {}
        }
    }

    fn try_to_own(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.term.is_trying, true) {
            return; // a second grant would make the first one void
        }
        let (renewer, partition) = (self.renewer.clone(), Arc::clone(&self.partition));
        let trying = async move { attempt(&renewer, &partition).await };
        self.beside(ctx, trying, |tried, act, ctx| {
            act.term.is_trying = false;
            match tried {
                Ok(attempt) => act.begin(attempt, ctx),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    act.progress.failed(&error);
                    warn!(model = %act.partition, %error, "a standby cannot ask the store");
                }
                Err(fault) => act.halt(act.term.reached.position, fault.to_string(), ctx),
            }
        });
    }

    /// Folds no more, saves, and then leaves the partition to another process.
    fn give_up(&mut self, ctx: &mut Context<Self>) {
        info!(model = %self.partition, "leaves its partition to another process");
        self.term.is_leaving = true;
        if let Some(pulling) = self.term.pulling.take() {
            ctx.cancel_future(pulling);
        }
        self.leave_if_saved(ctx);
    }

    /// Notices the loss of the lease, at whatever time that is.
    fn watch_lease(&mut self, ctx: &mut Context<Self>) {
        let Some(session) = &self.term.session else { return };
        let lost = session.when_lost();
        self.beside(ctx, lost, |(), act, ctx| {
            // A lease that was released is not lost.
            if act.halted().is_none() && act.term.session.is_some() {
                act.lose(ctx);
            }
        });
    }

    pub(super) fn lose(&mut self, ctx: &mut Context<Self>) {
        let reached = self.term.reached.position;
        warn!(model = %self.partition, %reached, "lost its lease; another process may own it now");
        self.become_standby(ctx);
        self.leave_if_saved(ctx);
    }

    /// Has nothing in memory any more. What was answered stays the least that is answered, though
    /// the store may not be there yet.
    pub(super) fn become_standby(&mut self, ctx: &mut Context<Self>) {
        self.progress.answer_from(self.term.reached.position);
        let standby = Term::standby_at(&self.partition, self.term.checkpoints.saved());
        self.turn(standby, ctx);
        for read in self.reads.take_all() {
            self.receive(read, ctx);
        }
    }

    /// Ends the term: what is under way of it comes to nothing, and its memory goes.
    fn turn(&mut self, next: Term<M>, ctx: &mut Context<Self>) {
        let ended = std::mem::replace(&mut self.term, next);
        self.terms += 1;
        if let Some(pulling) = ended.pulling {
            ctx.cancel_future(pulling); // it may wait for long, and has the subscription
        }
        self.progress.owns(self.term.session.is_some());
        self.progress.applied(self.term.reached.position);
        self.progress.saved(self.term.saved());
    }

    /// Somebody else has written, or nothing can be written any more. With the lease lost that is as
    /// it should be, and the end of this term; else it halts the read model.
    pub(super) fn fail(&mut self, at: GlobalPosition, fault: StoreError, ctx: &mut Context<Self>) {
        match (fault, &self.term.session) {
            (StoreError::LeaseLost { .. }, _) => self.lose(ctx),
            (fault @ StoreError::Checkpoint { .. }, Some(session)) => {
                let mut retry = self.retry();
                let (renewer, lease) = (self.renewer.clone(), session.lease().clone());
                self.term.is_in_doubt = true;
                let asking = async move {
                    loop {
                        match renewer.is_held(&lease).await {
                            Ok(is_held) => return Ok(is_held),
                            Err(error) => retry.after(error).await?,
                        }
                    }
                };
                self.beside(ctx, asking, move |is_held: Result<_, StoreError>, act, ctx| {
                    match is_held {
                        Ok(false) => act.lose(ctx),
                        Ok(true) | Err(_) => act.halt(at, fault.to_string(), ctx),
                    }
                });
            }
            (fault, _) => self.halt(at, fault.to_string(), ctx),
        }
    }

    /// Attempts at one call to the store.
    pub(super) fn retry(&self) -> Retry {
        Retry::new(Arc::clone(&self.progress), self.settings.backoff())
    }
}
