//! Who folds: the process that holds the lease named like the read model, and nobody else.
//!
//! An owner renews its lease, a standby tries to be granted it. What an owner answers from memory
//! is a fold of the log whoever holds the lease; what the lease protects is what is written, and
//! there the store refuses an old token. So nothing here needs to be on time.

use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Waker};
use std::time::Duration;

use actix::{AsyncContext, Context};
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;

use super::actor::ReadModelActor;
use super::partition;
use super::resume;
use super::term::{Term, position};
use crate::checkpoint::Checkpoint;
use crate::document::Store;
use crate::error::StoreError;
use crate::lease::Lease;
use crate::read_model::ReadModel;
use crate::stream::GlobalPosition;

/// What came of the wish to own a read model.
pub(super) struct Attempt {
    /// `None` if another process owns it.
    pub(super) lease: Option<Lease>,
    /// How far it is saved; nobody else moves it while the lease is held.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// Tries to become the owner.
///
/// # Errors
/// The store did not answer, or the checkpoint does not belong to this log.
pub(super) async fn attempt(
    store: &dyn Store,
    name: &str,
    owner: Uuid,
    lease_for: Duration,
) -> Result<Attempt, StoreError> {
    let lease = store.acquire_lease(&partition(name).to_string(), owner, lease_for).await?;
    let checkpoint = match &lease {
        Some(_) => resume::checkpoint(store, name).await?,
        None => resume::glimpse(store, name).await?,
    };
    Ok(Attempt { lease, checkpoint })
}

impl<M: ReadModel> ReadModelActor<M> {
    /// Begins as owner or as standby.
    pub(super) fn begin(&mut self, attempt: Attempt, ctx: &mut Context<Self>) {
        match attempt.lease {
            Some(lease) => self.own(lease, attempt.checkpoint, ctx),
            None => {
                self.saw(attempt.checkpoint, ctx);
                self.try_later(ctx);
            }
        }
    }

    fn own(&mut self, lease: Lease, checkpoint: Option<Checkpoint>, ctx: &mut Context<Self>) {
        let position = position(checkpoint);
        info!(model = %self.name, %position, token = lease.token, "owns its read model from here on");
        let subscription = self.tail.subscribe(&self.name, self.filter(), position);
        let hot = self.settings.hot_documents;
        self.turn(Term::owner(lease, checkpoint, hot, subscription), ctx);
        self.answer_due(ctx);
        self.renew_later(ctx);
        self.pull(ctx);
    }

    /// After a while, tries to become the owner.
    fn try_later(&mut self, ctx: &mut Context<Self>) {
        if !self.is_following() {
            return;
        }
        let (store, name, owner) = (Arc::clone(&self.store), Arc::clone(&self.name), self.owner);
        let (rest, lease_for) = (self.settings.acquire_every, self.settings.lease_for);
        let trying = async move {
            sleep(rest).await;
            attempt(&*store, &name, owner, lease_for).await
        };
        self.beside(ctx, trying, |tried, act, ctx| match tried {
            Ok(attempt) => act.begin(attempt, ctx),
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(model = %act.name, %error, "a standby cannot ask the store; trying again");
                act.try_later(ctx);
            }
            Err(fault) => act.halt(act.term.reached.position, fault.to_string(), ctx),
        });
    }

    /// After a third of its time, renews the lease. One that halted lets it expire: a process with
    /// other code may get past the event.
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
                warn!(model = %act.name, %error, "a lease cannot be renewed; trying again");
                act.renew_later(ctx);
            }
        });
    }

    /// Becomes a standby that has nothing in memory. What it has answered stays the least that it
    /// answers, though the store is not there yet.
    pub(super) fn lose(&mut self, ctx: &mut Context<Self>) {
        let reached = self.term.reached.position;
        warn!(model = %self.name, %reached, "lost its lease; another process owns it now");
        self.progress.answer_from(reached);
        self.turn(Term::standby(self.term.saved), ctx);
        for read in self.reads.take_all() {
            self.receive(read, ctx);
        }
        self.try_later(ctx);
        self.end_if_saved(ctx);
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
