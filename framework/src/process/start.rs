//! Starting a process manager: a driver for each partition, on a thread of its own while it is owned.

use std::sync::Arc;

use super::ProcessManager;
use super::follower::ProcessFollower;
use super::instance::Instance;
use super::perform::Dispatcher;
use crate::clock::Clock;
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::partition::{
    Followed, Followers, Launch, Launched, LeaseRenewer, Pacing, register_version,
};
use crate::reaction::StartPosition;
use crate::reaction::start_position::starts_after;
use crate::read_model::ReadModel;
use crate::subscription::Tail;
use crate::threads::Task;

/// The parts of the application that a process manager runs on.
pub(crate) struct Start {
    pub(crate) renewer: LeaseRenewer,
    pub(crate) tail: Tail,
    pub(crate) pacing: Pacing,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dispatcher: Dispatcher,
    /// Place in the log where it starts if it is new.
    pub(crate) from: StartPosition,
    /// Runs what must not wait for the process manager's own code.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
}

/// Starts a process manager: it runs in this process whenever that should own it.
///
/// # Errors
/// The store did not reply, or a checkpoint does not belong to this log.
pub(crate) async fn start<P: ProcessManager>(start: Start) -> Result<Followers, StartError> {
    let Start { renewer, tail, pacing, clock, dispatcher, from, spawn } = start;
    let store = Arc::clone(renewer.store());
    register_version(&*store, P::NAME, 1, P::PARTITIONS).await?;
    let starts_after = starts_after(&*store, ("a process manager", P::NAME), from).await?;
    let filter = Instance::<P>::sources().routes.filter();
    // No reader waits for it, so nothing has to catch up with the head.
    let head = GlobalPosition::ZERO;
    let partitions = P::PARTITIONS;
    let followed = Followed { name: P::NAME, version: 1, partitions, filter, head };
    let pacing = pacing.divided(partitions as usize);
    let launch = Launch { renewer: &renewer, tail: &tail, pacing: &pacing };
    let (mut followers, launched) = launch.prepare(followed, &*store).await?;
    (followers.sends_commands, followers.derives_keys) = (true, true);
    let dispatcher = Arc::new(dispatcher);
    for Launched { driver, .. } in launched {
        let (progress, running) = (Arc::clone(&driver.progress), driver.progress.running());
        let (clock, dispatcher) = (Arc::clone(&clock), Arc::clone(&dispatcher));
        let follower =
            ProcessFollower::<P>::new(clock, progress, pacing.clone(), dispatcher, starts_after);
        spawn(Box::pin(async move {
            driver.run_on_a_thread(follower).await;
            drop(running);
        }));
    }
    Ok(followers)
}
