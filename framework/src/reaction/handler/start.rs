//! Starting an event handler: a driver for each partition, each on a thread while it is owned.

use std::sync::Arc;
use std::time::Duration;

use super::EventHandler;
use super::follower::HandlerFollower;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::partition::{
    Followed, Followers, Launch, Launched, LeaseRenewer, Pacing, register_version,
};
use crate::reaction::StartPosition;
use crate::reaction::start_position::starts_after;
use crate::subscription::Tail;
use crate::threads::Task;

/// Backoff between the attempts at a parked key.
const PARKED_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(600));

/// The parts of the application that an event handler runs on.
pub(crate) struct StartHandler {
    pub(crate) renewer: LeaseRenewer,
    pub(crate) tail: Tail,
    pub(crate) pacing: Pacing,
    pub(crate) clock: Arc<dyn Clock>,
    /// Runs what must not wait for the handler's own code.
    pub(crate) spawn: Arc<dyn Fn(Task) + Send + Sync>,
}

/// Starts an event handler.
///
/// # Errors
/// The start position is beyond the log, the name belongs to a read model or projection, the store
/// did not reply, or a checkpoint does not belong to this log.
pub(crate) async fn start_handler<H: EventHandler>(
    handler: H,
    from: StartPosition,
    start: StartHandler,
) -> Result<Followers, StartError> {
    let StartHandler { renewer, tail, mut pacing, clock, spawn } = start;
    // For ever, because what fails outside may work again without a release of this program.
    pacing.parking.tries = u32::MAX;
    pacing.parking.backoff = PARKED_BACKOFF;
    let store = Arc::clone(renewer.store());
    register_version(&*store, H::NAME, 1, H::PARTITIONS).await?;
    let starts_after = starts_after(&*store, ("an event handler", H::NAME), from).await?;
    let followed = Followed {
        name: H::NAME,
        version: 1,
        partitions: H::PARTITIONS,
        filter: H::sources().routes.filter(),
        // No reader waits for a handler, so nothing has to catch up with the head.
        head: GlobalPosition::ZERO,
    };
    let launch = Launch { renewer: &renewer, tail: &tail, pacing: &pacing };
    let (mut followers, launched) = launch.prepare(followed, &*store).await?;
    followers.sends_commands = true;
    let routes = H::sources().routes;
    followers.replays = Some(Box::new(move |event, key| routes.concerns(event, key)));
    let handler = Arc::new(handler);
    for Launched { driver, .. } in launched {
        let (progress, running) = (Arc::clone(&driver.progress), driver.progress.running());
        let parts = (Arc::clone(&store), Arc::clone(&clock));
        let handler = Arc::clone(&handler);
        let follower = HandlerFollower::new(handler, parts, progress, pacing.clone(), starts_after);
        spawn(Box::pin(async move {
            driver.run_on_a_thread(follower).await;
            drop(running);
        }));
    }
    Ok(followers)
}
