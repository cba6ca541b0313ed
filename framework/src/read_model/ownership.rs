//! Who folds a partition: the process that holds the lease named like it, and nobody else.
//!
//! An owner renews its lease until it is told to leave the partition to others; a standby tries to be
//! granted it when it is told to. What an owner answers from memory is a fold of the log whoever
//! holds the lease; what the lease protects is what is written, and there the store refuses an old
//! token. So nothing here needs to be on time.

use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Waker};
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{AsyncContext, Context};
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;

use super::actor::ReadModelActor;
use super::start::ReadModelSettings;
use super::term::{Term, position};
use super::{ReadModel, owner, resume};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::parking::Parking;
use crate::partition::{Duty, State};
use crate::store::contract::{Checkpoint, Lease, ParkedKey, ParkedQuery, PartitionId, Store};

/// What came of the wish to own a partition.
pub(super) struct Attempt {
    /// `None` if another process owns it, or should.
    pub(super) lease: Option<Lease>,
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
    store: &dyn Store,
    partition: &PartitionId,
    owner: Uuid,
    lease_for: Duration,
) -> Result<Attempt, StoreError> {
    match store.acquire_lease(&partition.to_string(), owner, lease_for).await? {
        Some(lease) => {
            let checkpoint = resume::checkpoint(store, partition).await?;
            let parked = store.load_parked(&partition.model, &ParkedQuery::default()).await?.keys;
            Ok(Attempt { lease: Some(lease), checkpoint, parked })
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
    Ok(Attempt { lease: None, checkpoint, parked: Vec::new() })
}

impl<M: ReadModel> ReadModelActor<M> {
    /// Begins as owner or as standby.
    pub(super) fn begin(&mut self, attempt: Attempt, ctx: &mut Context<Self>) {
        match attempt.lease {
            Some(lease) => self.own(lease, attempt.checkpoint, attempt.parked, ctx),
            None => self.saw(attempt.checkpoint, ctx),
        }
    }

    fn own(
        &mut self,
        lease: Lease,
        checkpoint: Option<Checkpoint>,
        parked: Vec<ParkedKey>,
        ctx: &mut Context<Self>,
    ) {
        let position = position(checkpoint);
        info!(model = %self.partition, %position, token = lease.token, "owns its partition from here on");
        let name = self.partition.to_string();
        let subscription = self.tail.subscribe(&name, owner::filter(&self.sources), position);
        let ReadModelSettings { hot_documents, parking, .. } = self.settings.clone();
        let parking = Parking::resume(self.partition.number, parking, parked, Instant::now());
        let term = Term::owner(lease, checkpoint, hot_documents, subscription, parking);
        self.turn(term, ctx);
        self.answer_due(ctx);
        self.renew_later(ctx);
        self.drain_if_due(ctx);
        self.pull(ctx);
    }

    /// Does as it is told, at each look of the [`Assignment`](crate::partition::Assignment).
    pub(super) fn heed(&mut self, mut duty: Duty, ctx: &mut Context<Self>) {
        let hearing = async move { (duty.next().await, duty) };
        ctx.spawn(hearing.into_actor(self).map(|(told, duty), act, ctx| {
            let Some(should_own) = told else { return };
            if act.halted().is_some() {
                return duty.withdraw();
            }
            act.told(should_own, ctx);
            act.heed(duty, ctx);
        }));
    }

    fn told(&mut self, should_own: bool, ctx: &mut Context<Self>) {
        match (should_own, self.term.lease.is_some()) {
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
        let (store, partition) = (Arc::clone(&self.store), Arc::clone(&self.partition));
        let (owner, lease_for) = (self.owner, self.settings.lease_for);
        let trying = async move { attempt(&*store, &partition, owner, lease_for).await };
        self.beside(ctx, trying, |tried, act, ctx| {
            act.term.is_trying = false;
            match tried {
                Ok(attempt) => act.begin(attempt, ctx),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    act.progress.work.failed(&error);
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

    /// After a third of its time, renews the lease. One that halted does not: it releases the lease
    /// after its last save, or lets it expire.
    fn renew_later(&mut self, ctx: &mut Context<Self>) {
        let Some(lease) = self.term.lease.clone() else { return };
        if self.halted().is_some() {
            return;
        }
        let (store, lease_for) = (Arc::clone(&self.store), self.settings.lease_for);
        let renewing = async move {
            sleep(lease_for / 3).await;
            store.renew_lease(&lease, lease_for).await
        };
        self.beside(ctx, renewing, |renewed, act, ctx| match renewed {
            Ok(true) => act.renew_later(ctx),
            Ok(false) => act.lose(ctx),
            Err(error) => {
                act.progress.work.failed(&error);
                warn!(model = %act.partition, %error, "a lease cannot be renewed; trying again");
                act.renew_later(ctx);
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
        self.turn(Term::standby(self.term.saved), ctx);
        for read in self.reads.take_all() {
            self.receive(read, ctx);
        }
    }

    /// An application that was dropped has no time to give its lease up. Where the leases are in this
    /// process's memory it takes none, and the next application here need not wait.
    pub(super) fn let_go(&mut self) {
        if let Some(lease) = self.term.lease.take()
            && !self.is_shared
        {
            let releasing = pin!(self.store.release_lease(&lease));
            let _ = releasing.poll(&mut task::Context::from_waker(Waker::noop()));
        }
    }

    /// Ends the term: what is under way of it comes to nothing, and its memory goes.
    fn turn(&mut self, next: Term<M>, ctx: &mut Context<Self>) {
        let ended = std::mem::replace(&mut self.term, next);
        self.terms += 1;
        if let Some(pulling) = ended.pulling {
            ctx.cancel_future(pulling); // it may wait for long, and has the subscription
        }
        self.progress.owns(self.term.lease.is_some());
        self.progress.applied(self.term.reached.position);
        self.progress.saved(self.term.saved);
    }

    /// Somebody else has written, or nothing can be written any more. With the lease lost that is as
    /// it should be, and the end of this term; else it halts the read model.
    pub(super) fn fail(&mut self, at: GlobalPosition, fault: StoreError, ctx: &mut Context<Self>) {
        match (fault, self.term.lease.clone()) {
            (StoreError::LeaseLost { .. }, _) => self.lose(ctx),
            (fault @ StoreError::Checkpoint { .. }, Some(lease)) => {
                self.term.is_in_doubt = true;
                let (store, lease_for) = (Arc::clone(&self.store), self.settings.lease_for);
                let mut pause = self.pause();
                let asking = async move {
                    loop {
                        match store.renew_lease(&lease, lease_for).await {
                            Ok(is_held) => return is_held,
                            Err(_) => pause.rest().await, // the renewals say so
                        }
                    }
                };
                self.beside(ctx, asking, move |is_held, act, ctx| match is_held {
                    true => act.halt(at, fault.to_string(), ctx),
                    false => act.lose(ctx),
                });
            }
            (fault, _) => self.halt(at, fault.to_string(), ctx),
        }
    }
}
