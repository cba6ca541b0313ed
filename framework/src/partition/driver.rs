//! The driver: runs a follower while this process owns its partition.
//!
//! One loop for read models, projections and reactions. A standby waits until the partition is
//! assigned to it and the lease is granted. The owner then follows the log from what is stored until
//! something ends the term, and [`Driver::judge`] is the one place that decides what a fault means.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::assignment::Assignment;
use super::follower::{End, Follower, NextPage};
use super::lease_session::LeaseSession;
use super::membership::LeaseRenewer;
use super::retry::is_transient;
use super::{Pacing, PartitionProgress};
use crate::backoff::Backoff;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{PartitionId, Store};
use crate::subscription::{Tail, same_log, verify};

/// One partition in this process.
pub(crate) struct Driver {
    pub(crate) id: PartitionId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tail: Tail,
    pub(crate) renewer: LeaseRenewer,
    pub(crate) pacing: Pacing,
    pub(crate) progress: Arc<PartitionProgress>,
    pub(crate) assignment: Assignment,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Driver {
    /// Owns the partition whenever it may and should, until the application stops.
    pub(crate) async fn run(mut self, mut follower: impl Follower) {
        while let Some(session) = self.next_session(&mut follower).await {
            if self.own(&mut follower, session).await.is_break() {
                return;
            }
            self.wait().await;
        }
    }

    /// Waits for the lease; `None` once the application stops.
    pub(super) async fn next_session(
        &mut self,
        follower: &mut impl Follower,
    ) -> Option<LeaseSession> {
        while !self.is_stopping() && self.progress.is_running() {
            match self.acquire().await {
                Ok(Some(session)) => return Some(session),
                Ok(None) => {
                    if let ControlFlow::Break(()) = self.look(follower).await {
                        return None;
                    }
                }
                Err(error) => {
                    self.progress.failed(&error);
                    warn!(partition = %self.id, %error, "a lease cannot be acquired; trying again");
                }
            }
            self.wait().await;
        }
        if !self.progress.is_running() {
            self.assignment.withdraw(); // a standby has halted
        }
        None
    }

    async fn acquire(&self) -> Result<Option<LeaseSession>, StoreError> {
        if !self.assignment.is_ours() {
            return Ok(None);
        }
        let acquired = LeaseSession::acquire(&self.renewer, &self.id).await?;
        let Some(session) = acquired else { return Ok(None) };
        // Looked up under the lease, because the pause may be newer than the last renewal: otherwise
        // this process would take what the owner has just left for the pause. At the start of a
        // process nothing else looks.
        let is_paused = self.renewer.is_paused(&self.id.model).await;
        if let Ok(false) = is_paused {
            return Ok(Some(session));
        }
        session.release().await;
        is_paused.map(|_| None)
    }

    /// Looks how far the owner has saved, until this process is live: from then on a reader that
    /// waits looks for itself, and an idle standby costs nothing.
    async fn look(&mut self, follower: &mut impl Follower) -> ControlFlow<()> {
        // A pause moves no checkpoint.
        if !self.progress.is_catching_up() || self.progress.is_paused() {
            return ControlFlow::Continue(());
        }
        let Ok(checkpoint) = follower.load_checkpoint().await else {
            return ControlFlow::Continue(()); // the next attempt to acquire the lease reports it
        };
        // Only the log id, because this process may be behind and not have the event at that
        // position yet.
        match same_log(&*self.store, &self.id.to_string(), checkpoint) {
            Ok(position) => {
                if position > self.progress.reached() {
                    self.progress.committed(position);
                }
                follower.saw(checkpoint);
                ControlFlow::Continue(())
            }
            Err(fault) => {
                self.halt(self.progress.reached(), fault.to_string());
                follower.ended().await;
                ControlFlow::Break(())
            }
        }
    }

    /// Waits for the next look of the membership.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            () = stopped(&mut self.stopping) => {}
            _ = self.assignment.next() => {}
            () = sleep(self.pacing.renew_every) => {}
        }
    }

    /// Owns the partition until the lease session ends. Breaks if it owns it no more.
    pub(super) async fn own(
        &mut self,
        follower: &mut impl Follower,
        session: LeaseSession,
    ) -> ControlFlow<()> {
        info!(partition = %self.id, token = session.lease().token, "owns its partition from here on");
        self.progress.owns(true);
        let end = self.terms(follower, &session).await;
        self.progress.owns(false);
        match end {
            End::Halted { .. } => {
                session.release().await;
                ControlFlow::Break(())
            }
            End::Lost => {
                warn!(partition = %self.id, "lost its lease; another process may own it now");
                ControlFlow::Continue(())
            }
            End::StepsDown => {
                match self.progress.is_paused() {
                    true => info!(partition = %self.id, "stands still, because it is paused"),
                    false => info!(partition = %self.id, "leaves its partition to another process"),
                }
                session.release().await;
                ControlFlow::Continue(())
            }
            End::Stopped | End::Again(_) => {
                session.release().await;
                ControlFlow::Break(())
            }
        }
    }

    /// Halts the partition, and leaves the model, so that this process takes no other partition of
    /// it: another release may be able to apply what this one cannot.
    fn halt(&self, position: GlobalPosition, reason: String) {
        if !self.progress.is_running() {
            return;
        }
        error!(partition = %self.id, %position, %reason, "a partition halts");
        self.assignment.withdraw();
        self.progress.halt(position, reason);
    }

    /// Terms under one lease, each from what is stored.
    async fn terms(&mut self, follower: &mut impl Follower, session: &LeaseSession) -> End {
        let mut backoff: Backoff = self.pacing.backoff();
        loop {
            // A term that saved something was good: the next failure begins again with a short
            // wait.
            let before = self.progress.now().saved;
            let end = tokio::select! {
                biased;
                // In the middle of a page, too, because the store would refuse its commit.
                () = session.when_lost() => End::Lost,
                end = self.term(follower, session) => end,
            };
            if let End::Halted { position, reason } = &end {
                self.halt(*position, reason.clone());
            }
            if !matches!(end, End::Again(_)) {
                // Before the follower answers as a standby, so that status never shows an owner then.
                self.progress.owns(false);
            }
            follower.ended().await;
            let End::Again(error) = end else { return end };
            if self.progress.now().saved > before {
                backoff.reset();
            }
            warn!(partition = %self.id, %error, "continues from what is stored");
            self.progress.failed(&error);
            tokio::select! {
                () = stopped(&mut self.stopping) => return End::Stopped,
                () = session.when_lost() => return End::Lost,
                () = backoff.wait() => {}
            }
        }
    }

    async fn term(&mut self, follower: &mut impl Follower, session: &LeaseSession) -> End {
        match self.follow(follower, session).await {
            Ok(end) => end,
            Err(fault) => Self::judge(fault, session, follower.reached().next()).await,
        }
    }

    /// The policy for every fault of every follower.
    async fn judge(fault: StoreError, session: &LeaseSession, position: GlobalPosition) -> End {
        if matches!(fault, StoreError::LeaseLost { .. }) || session.until().is_none() {
            return End::Lost;
        }
        if is_transient(&fault) {
            return End::Again(fault);
        }
        if let StoreError::Checkpoint { .. } = fault {
            // Another process has moved the checkpoint. With the lease lost that is its right, and
            // only the store knows whether it is.
            match session.is_held().await {
                Ok(true) => {}
                Ok(false) => return End::Lost,
                Err(error) => return End::Again(error),
            }
        }
        End::Halted { position, reason: fault.to_string() }
    }

    /// Follows the log from what is stored.
    ///
    /// # Errors
    /// Any fault that ends the term.
    async fn follow(
        &mut self,
        follower: &mut impl Follower,
        session: &LeaseSession,
    ) -> Result<End, StoreError> {
        // The stored checkpoint and not the one in memory, because the last commit may have an
        // unknown outcome.
        let checkpoint = follower.resume(session).await?;
        let name = self.id.to_string();
        let from = verify(&*self.store, &name, checkpoint).await?;
        self.progress.committed(from);
        follower.begin(session, checkpoint).await?;
        let mut subscription = self.tail.subscribe(&name, follower.filter(), from);
        loop {
            if follower.wants_to_step_aside() && self.assignment.step_aside(&self.pacing) {
                warn!(partition = %self.id, "steps aside, because another release may do what this one cannot");
                follower.finish().await?;
                return Ok(End::StepsDown);
            }
            // Asked in each round, because a page, a save or a reader changes what is due.
            let plan = follower.plan(session.until(), subscription.is_at_tail());
            let next_page = async {
                match plan.next_page {
                    NextPage::Now => {}
                    NextPage::At(at) => sleep_until(at).await,
                    NextPage::NotYet => std::future::pending().await,
                }
                subscription.next_at_most(plan.page_events).await
            };
            // In this order: an owner that has to go must not start more, and finished work frees
            // memory before the next page is taken.
            let flow = tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => {
                    follower.finish().await?;
                    return Ok(End::Stopped);
                }
                is_ours = self.assignment.next() => {
                    if !is_ours {
                        follower.finish().await?;
                        return Ok(End::StepsDown);
                    }
                    ControlFlow::Continue(())
                }
                flow = follower.work() => flow?,
                () = due(plan.due) => {
                    follower.do_due().await?;
                    ControlFlow::Continue(())
                }
                () = self.progress.wish() => {
                    follower.save_for_reader().await?;
                    ControlFlow::Continue(())
                }
                page = next_page => match page {
                    Ok(Some(page)) => follower.apply(&page).await?,
                    // The tail has stopped: the application stops.
                    Ok(None) => return Ok(End::Stopped),
                    Err(fault) => return Self::keep_readable(follower, fault).await,
                },
            };
            if let ControlFlow::Break(end) = flow {
                return Ok(end);
            }
        }
    }

    /// The log cannot be read on. What could be read before is applied and saved, unless it is of a
    /// log that is not this one any more.
    ///
    /// # Errors
    /// The fault, or another one.
    async fn keep_readable(
        follower: &mut impl Follower,
        fault: StoreError,
    ) -> Result<End, StoreError> {
        if matches!(fault, StoreError::OtherHistory(_)) {
            return Err(fault);
        }
        while !follower.is_idle() {
            if let ControlFlow::Break(end) = follower.work().await? {
                return Ok(end);
            }
        }
        follower.finish().await?;
        Err(fault)
    }

    /// Checks that the application stops, or that nobody has a handle any more.
    fn is_stopping(&self) -> bool {
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }
}

/// Waits until the application stops, without keeping the lock of the channel.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error says that nobody has a handle any more, which is the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
