//! Who runs a reaction: the process that holds its lease, and no other.
//!
//! The lease is renewed beside the work. Up to when it is surely held is told to the work, which is
//! not begun later than that: another process may have begun it by then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::reaction::Reaction;
use super::term::{End, Term};
use crate::actor::read_model::{Progress, ReadModelControl, State};
use crate::aggregate::Aggregate;
use crate::checkpoint::PartitionId;
use crate::document::Store;
use crate::error::{StartError, StoreError};
use crate::event_store::Filter;
use crate::later::AcceptedCommand;
use crate::lease::Lease;
use crate::projector::Standings;
use crate::stream::GlobalPosition;
use crate::subscription::{
    Assignment, AssignmentSettings, Duty, Pause, Tail, register_version, verify,
};

/// How long a lease lasts without being renewed; it is renewed every third of that.
const LEASE_FOR: Duration = Duration::from_secs(3);

/// How often a process looks whether it should own the reaction.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long stopping waits for what is under way.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What a reaction runs on.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tail: Tail,
    /// This process.
    pub(crate) process: Uuid,
}

/// A running reaction.
pub(crate) struct ReactionHandle {
    name: &'static str,
    standings: Arc<Standings>,
    stop: watch::Sender<bool>,
    assignment: Assignment,
    filter: Filter,
}

pub(super) struct Owner<R> {
    pub(super) reaction: Arc<R>,
    pub(super) id: PartitionId,
    pub(super) start: Start,
    pub(super) filter: Filter,
    pub(super) standings: Arc<Standings>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// Starts a reaction: it runs in this process whenever that should own it.
///
/// # Errors
/// The store did not answer, or the checkpoint does not belong to this log.
pub(crate) async fn start<R: Reaction>(
    reaction: R,
    start: Start,
) -> Result<ReactionHandle, StartError> {
    let model = format!("{}@1", R::NAME);
    register_version(&*start.store, R::NAME, 1, 1).await?;
    let id = PartitionId::new(&*model, 0);
    let checkpoint = start.store.load_checkpoint(&id).await?;
    let position = verify(&*start.store, &id.to_string(), checkpoint).await?;
    // Nobody reads from it, so nobody waits for it to catch up.
    let standings = Arc::new(Standings::new(std::slice::from_ref(&id), GlobalPosition::ZERO));
    standings.saved(0, position);
    let looks = AssignmentSettings { every: LOOK_EVERY, lasts: LEASE_FOR };
    let (store, tail) = (Arc::clone(&start.store), start.tail.clone());
    let spawn = move |task| tail.spawn(task);
    let assigning = Assignment::start(store, &model, 1, start.process, looks, spawn).await?;
    let (assignment, mut duties) = assigning;
    let (stop, stopping) = watch::channel(false);
    let filter = Filter { aggregate_types: vec![AcceptedCommand::TYPE.to_owned()] };
    let (tail, reaction) = (start.tail.clone(), Arc::new(reaction));
    let owner = Owner {
        reaction,
        id,
        start,
        filter: filter.clone(),
        standings: Arc::clone(&standings),
        stopping,
    };
    if let Some(duty) = duties.pop() {
        let running = standings.running(0);
        tail.spawn(Box::pin(async move {
            owner.run(duty).await;
            drop(running);
        }));
    }
    Ok(ReactionHandle { name: R::NAME, standings, stop, assignment, filter })
}

/// A lease that is renewed as long as this is kept.
pub(super) struct Held {
    pub(super) lease: Lease,
    /// Until then it is surely held; `None` once it is lost.
    until: watch::Receiver<Option<Instant>>,
}

impl Held {
    pub(super) fn until(&self) -> Option<Instant> {
        *self.until.borrow()
    }

    pub(super) async fn lost(&mut self) {
        // An error says that nobody renews it any more, which is as bad.
        let _ = self.until.wait_for(Option::is_none).await;
    }
}

impl<R: Reaction> Owner<R> {
    /// Owns the reaction whenever it may and should, until the application stops.
    async fn run(mut self, mut duty: Duty) {
        let mut owns = Some(duty.owns());
        while !self.is_stopping() {
            match self.acquire(owns).await {
                Ok(Some(mut held)) => {
                    info!(reaction = %self.id, token = held.lease.token, "owns its reaction from here on");
                    self.standings.owns(0, true);
                    let end = self.own(&mut held, &mut duty).await;
                    self.standings.owns(0, false);
                    match end {
                        End::Halted { position, reason } => {
                            error!(reaction = %self.id, %position, %reason, "a reaction halts");
                            duty.withdraw();
                            self.standings.work(0).failed(&reason);
                            return self.standings.turn(0, State::Halted { position, reason });
                        }
                        End::Lost => warn!(reaction = %self.id, "lost its lease"),
                        End::HandsOver => self.give_up(&held.lease).await,
                        End::Stopped | End::Again(_) => return self.give_up(&held.lease).await,
                    }
                }
                Ok(None) => {
                    if let Ok(Some(saved)) = self.start.store.load_checkpoint(&self.id).await {
                        self.standings.saved(0, saved.position);
                    }
                }
                Err(error) => {
                    warn!(reaction = %self.id, %error, "the store cannot be asked for a lease; trying again");
                }
            }
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => {}
                next = duty.next(), if owns.is_some() => owns = next,
                () = sleep(LOOK_EVERY), if owns.is_none() => {}
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }

    async fn acquire(&self, owns: Option<bool>) -> Result<Option<Held>, StoreError> {
        if owns != Some(true) {
            return Ok(None);
        }
        let (store, asked) = (&self.start.store, Instant::now());
        let name = self.id.to_string();
        let lease = store.acquire_lease(&name, self.start.process, LEASE_FOR).await?;
        Ok(lease.map(|lease| self.hold(lease, asked)))
    }

    /// Renews the lease until what is answered is dropped. `asked`: when it was asked for.
    fn hold(&self, lease: Lease, asked: Instant) -> Held {
        let (told, until) = watch::channel(Some(asked + LEASE_FOR));
        let (store, renewed) = (Arc::clone(&self.start.store), lease.clone());
        self.start.tail.spawn(Box::pin(async move {
            loop {
                tokio::select! {
                    () = told.closed() => return,
                    () = sleep(LEASE_FOR / 3) => {}
                }
                let asked = Instant::now();
                match store.renew_lease(&renewed, LEASE_FOR).await {
                    Ok(true) => told.send_replace(Some(asked + LEASE_FOR)),
                    Ok(false) => {
                        told.send_replace(None);
                        return;
                    }
                    Err(error) => {
                        warn!(lease = %renewed.name, %error, "a lease cannot be renewed; trying again");
                        continue;
                    }
                };
            }
        }));
        Held { lease, until }
    }

    /// Terms under one lease, each on from what is stored.
    async fn own(&mut self, held: &mut Held, duty: &mut Duty) -> End {
        let mut pause = Pause::new(Duration::from_millis(20), Duration::from_secs(2));
        let mut step = 0;
        loop {
            let mut term = Term::new(self, &mut step);
            let end = term.run(held, duty).await;
            if term.has_moved() {
                pause.reset();
            }
            match end {
                End::Again(error) => {
                    warn!(reaction = %self.id, %error, "a reaction goes on from what is stored");
                    self.standings.work(0).failed(&error);
                    let mut stopping = self.stopping.clone();
                    tokio::select! {
                        _ = stopping.wait_for(|stop| *stop) => return End::Stopped,
                        () = pause.rest() => {}
                    }
                }
                end => return end,
            }
        }
    }

    async fn give_up(&self, lease: &Lease) {
        if let Err(error) = self.start.store.release_lease(lease).await {
            warn!(lease = %lease.name, %error, "a lease is not given up; it will expire");
        }
    }
}

#[async_trait]
impl ReadModelControl for ReactionHandle {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> &Filter {
        &self.filter
    }

    fn sends_commands(&self) -> bool {
        true
    }

    fn partitions(&self) -> Vec<Progress> {
        self.standings.each()
    }

    async fn flush_and_stop(&self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        let _ = timeout_at(deadline, self.assignment.leave()).await; // else the others learn of it later
        for mut standing in self.standings.watch() {
            let has_ended = |state: &State| matches!(state, State::Stopped | State::Halted { .. });
            // An error says that it is gone, which is as good.
            let ended = standing.wait_for(|standing| has_ended(&standing.state));
            if timeout_at(deadline, ended).await.is_err() {
                warn!(reaction = self.name, "what is under way is done again by the next owner");
            }
        }
    }
}
