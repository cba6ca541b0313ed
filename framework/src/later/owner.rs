//! A reaction in this process, from its start to its end. It runs where its lease is held, as a
//! partition of a projection does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use uuid::Uuid;

use super::reaction::Reaction;
use super::term::Term;
use crate::actor::read_model::{Progress, ReadModelControl, State};
use crate::aggregate::Aggregate;
use crate::checkpoint::{Checkpoint, PartitionId};
use crate::document::Store;
use crate::error::{StartError, StoreError};
use crate::event_store::Filter;
use crate::later::AcceptedCommand;
use crate::projector::{End, Held, Owned, Ownership, Patience, Standings};
use crate::stream::GlobalPosition;
use crate::subscription::{Assignment, AssignmentSettings, Duty, Tail, register_version, verify};

/// How long a lease lasts without being renewed; it is renewed every third of that.
const LEASE_FOR: Duration = Duration::from_secs(3);

/// How often a process looks whether it should own the reaction.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pauses after a term that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

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
    let (tail, renewing) = (start.tail.clone(), start.tail.clone());
    let ownership = Ownership {
        id: id.clone(),
        store: Arc::clone(&start.store),
        process: start.process,
        patience: Patience {
            lease_for: LEASE_FOR,
            look_every: LOOK_EVERY,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
        },
        spawn: Arc::new(move |task| renewing.spawn(task)),
        standings: Arc::clone(&standings),
        stopping: stopping.clone(),
    };
    let owner = Owner {
        reaction: Arc::new(reaction),
        id,
        start,
        filter: filter.clone(),
        standings: Arc::clone(&standings),
        stopping,
    };
    if let Some(duty) = duties.pop() {
        let running = standings.running(0);
        tail.spawn(Box::pin(async move {
            ownership.run(owner, duty).await;
            drop(running);
        }));
    }
    Ok(ReactionHandle { name: R::NAME, standings, stop, assignment, filter })
}

impl<R: Reaction> Owned for Owner<R> {
    async fn term(&mut self, held: &mut Held, step: &mut u64, duty: &mut Duty) -> (End, bool) {
        let mut term = Term::new(self, step);
        let end = term.run(held, duty).await;
        (end, term.has_moved())
    }

    async fn stored(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.start.store.load_checkpoint(&self.id).await
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
        let deadline = Instant::now() + STOP_WITHIN;
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
