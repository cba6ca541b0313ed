//! A reaction in this process, from its start to its end.
//!
//! It runs in the process that holds its lease, as a partition of a projection does, on the thread of
//! the application's reactions. The lease is renewed, and the log is read, on another thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use uuid::Uuid;

use super::Reaction;
use super::term::Term;
use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::partition::{
    Assignment, AssignmentSettings, Duty, End, Held, Owned, Ownership, Patience, Progress,
    Standings, State, Task, register_version,
};
use crate::read_model::ReadModelControl;
use crate::store::contract::{Checkpoint, Filter, PartitionId, Store};
use crate::subscription::{Tail, verify};

/// How long a lease lasts without being renewed; it is renewed every third of that.
const LEASE_FOR: Duration = Duration::from_secs(3);

/// How often a process looks whether it should own the reaction.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pauses after a term that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long stopping waits for running work.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How long a process that makes way stays away: several looks of the others.
const ASIDE_FOR: Duration = Duration::from_secs(10);

/// The shortest time between making way twice; it doubles each time, [`MOST_DOUBLINGS`] times.
const MAKES_WAY_EVERY: Duration = Duration::from_secs(60);

/// See [`MAKES_WAY_EVERY`]: about an hour. Processes that are all unable must not pass the lease on
/// all the time, because nothing is carried out while nobody holds it.
const MOST_DOUBLINGS: u32 = 6;

/// The parts of the application that a reaction runs on.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tail: Tail,
    /// This process.
    pub(crate) process: Uuid,
    /// Runs the reaction itself.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
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
    pub(super) made_way: Mutex<MadeWay>,
}

/// The times this process made way for another.
#[derive(Debug, Default)]
pub(super) struct MadeWay {
    times: u32,
    not_before: Option<Instant>,
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
    let filter = Filter { aggregate_types: vec![R::FOLLOWS.to_owned()] };
    let (renewing, spawn) = (start.tail.clone(), Arc::clone(&start.spawn));
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
        made_way: Mutex::default(),
    };
    if let Some(duty) = duties.pop() {
        let running = standings.running(0);
        spawn(Box::pin(async move {
            ownership.run(owner, duty).await;
            drop(running);
        }));
    }
    Ok(ReactionHandle { name: R::NAME, standings, stop, assignment, filter })
}

impl<R> Owner<R> {
    /// Leaves the reaction to another process for a while, if there is one: the other one may run a
    /// release that can perform the work that this one cannot. Returns false if there is none, or if
    /// this process made way not long ago.
    pub(super) fn makes_way(&self, duty: &Duty) -> bool {
        // Nothing under the lock can panic.
        let mut made_way = self.made_way.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if !duty.has_others() || made_way.not_before.is_some_and(|at| now < at) {
            return false;
        }
        let doubled = 2_u32.pow(made_way.times.min(MOST_DOUBLINGS));
        made_way.times = made_way.times.saturating_add(1);
        made_way.not_before = Some(now + MAKES_WAY_EVERY * doubled);
        warn!(partition = %self.id, "makes way for another process, because some work is unknown here");
        duty.step_aside(ASIDE_FOR);
        true
    }
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
