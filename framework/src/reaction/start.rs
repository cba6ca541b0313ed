//! Starting a reaction: one partition, whose follower runs on the thread of the application's
//! reactions. The leases are renewed, and the log is read, on other threads.

use std::sync::Arc;

use tokio::sync::watch;

use super::Reaction;
use super::follower::ReactionFollower;
use crate::clock::Clock;
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::partition::{
    Driver, Followers, LeaseRenewer, Pacing, PartitionProgress, register_version,
};
use crate::store::contract::{Filter, PartitionId};
use crate::subscription::{Tail, verify};
use crate::threads::Task;

/// The parts of the application that a reaction runs on.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) renewer: LeaseRenewer,
    pub(crate) tail: Tail,
    pub(crate) pacing: Pacing,
    /// Time by which stored work is due.
    pub(crate) clock: Arc<dyn Clock>,
    /// Runs the reaction itself.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
}

/// Starts a reaction: it runs in this process whenever that should own it.
///
/// # Errors
/// The store did not reply, or the checkpoint does not belong to this log.
pub(crate) async fn start<R: Reaction>(reaction: R, start: Start) -> Result<Followers, StartError> {
    let Start { renewer, tail, pacing, clock, spawn } = start;
    let (store, model) = (Arc::clone(renewer.store()), format!("{}@1", R::NAME));
    register_version(&*store, R::NAME, 1, 1).await?;
    let id = PartitionId::new(&*model, 0);
    let checkpoint = store.load_checkpoint(&id).await?;
    let position = verify(&*store, &id.to_string(), checkpoint).await?;
    // No reader waits for a reaction, so nothing has to catch up with the head.
    let progress = PartitionProgress::new(id.clone(), position, GlobalPosition::ZERO);
    let (membership, mut assignments) = renewer.join(&model, 1).await?;
    let (stop, stopping) = watch::channel(false);
    let stop_within = pacing.stop_within;
    let shared = (Arc::clone(&store), Arc::clone(&progress));
    let follower = ReactionFollower::new(reaction, shared.0, clock, shared.1, pacing.clone());
    if let Some(assignment) = assignments.pop() {
        let shared = Arc::clone(&progress);
        let driver =
            Driver { id, store, tail, renewer, pacing, progress: shared, assignment, stopping };
        let running = progress.running();
        spawn(Box::pin(async move {
            driver.run(follower).await;
            drop(running);
        }));
    }
    Ok(Followers {
        name: R::NAME,
        version: 1,
        filter: Filter { aggregate_types: vec![R::FOLLOWS.to_owned()] },
        progress: vec![progress],
        stop,
        membership,
        stop_within,
        sends_commands: true,
    })
}
