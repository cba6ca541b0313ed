//! Starting a reaction: one partition, whose follower runs on the thread of the application's
//! reactions. The leases are renewed, and the log is read, on other threads.

use std::sync::Arc;

use super::Reaction;
use super::follower::ReactionFollower;
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::partition::{
    Followed, Followers, Launch, Launched, LeaseRenewer, Pacing, register_version,
};
use crate::store::contract::Filter;
use crate::subscription::Tail;
use crate::threads::Task;

/// The parts of the application that a reaction runs on.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) renewer: LeaseRenewer,
    pub(crate) tail: Tail,
    pub(crate) pacing: Pacing,
    /// Runs the reaction itself.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
}

/// Starts a reaction: it runs in this process whenever that should own it.
///
/// # Errors
/// The store did not reply, or the checkpoint does not belong to this log.
pub(crate) async fn start<R: Reaction>(reaction: R, start: Start) -> Result<Followers, StartError> {
    let Start { renewer, tail, pacing, spawn } = start;
    let store = Arc::clone(renewer.store());
    register_version(&*store, R::NAME, 1, 1).await?;
    let filter = Filter { aggregate_types: vec![R::FOLLOWS.to_owned()] };
    // No reader waits for a reaction, so nothing has to catch up with the head.
    let head = GlobalPosition::ZERO;
    let followed = Followed { name: R::NAME, version: 1, partitions: 1, filter, head };
    let launch = Launch { renewer: &renewer, tail: &tail, pacing: &pacing };
    let (mut followers, mut launched) = launch.prepare(followed, &*store).await?;
    followers.sends_commands = true;
    if let Some(Launched { driver, .. }) = launched.pop() {
        let (progress, running) = (Arc::clone(&driver.progress), driver.progress.running());
        let follower = ReactionFollower::new(reaction, store, progress, pacing);
        spawn(Box::pin(async move {
            driver.run(follower).await;
            drop(running);
        }));
    }
    Ok(followers)
}
