//! Starting an event handler: a driver for each partition, each on a thread while it is owned.

use std::sync::Arc;

use serde::Deserialize;

use super::follower::HandlerFollower;
use super::{EventHandler, StartFrom};
use crate::clock::Clock;
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::partition::{
    Followed, Followers, Launch, Launched, LeaseRenewer, Pacing, register_version,
};
use crate::store::contract::{Store, VersionNote};
use crate::subscription::Tail;
use crate::threads::Task;

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
    from: StartFrom,
    start: StartHandler,
) -> Result<Followers, StartError> {
    let StartHandler { renewer, tail, pacing, clock, spawn } = start;
    let store = Arc::clone(renewer.store());
    let starts_after = starts_after::<H>(&*store, from).await?;
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

/// The part of a handler's note that counts.
#[derive(Deserialize)]
struct Note {
    starts_after: GlobalPosition,
}

/// Returns the position after which the handler starts that has no checkpoint yet. The first start
/// stores it, so that no event after that start is missed, whichever process saves first.
async fn starts_after<H: EventHandler>(
    store: &dyn Store,
    from: StartFrom,
) -> Result<GlobalPosition, StartError> {
    // Before the note is read: if two processes start for the first time together, the later note
    // replaces the earlier one, and its position must not be beyond events that came between.
    let head = store.head().await?;
    let (kind, name) = (VersionNote::Sources, H::NAME);
    if let Some(stored) = store.version_note(name, 1, kind).await? {
        let note = serde_json::from_str::<Note>(&stored);
        return match note {
            Ok(Note { starts_after }) => {
                register_version(store, name, 1, H::PARTITIONS).await?;
                Ok(starts_after)
            }
            Err(_) => Err(StartError::OtherKind(name)),
        };
    }
    let position = match from {
        StartFrom::Beginning => GlobalPosition::ZERO,
        StartFrom::Now => head,
        StartFrom::Position(position) if position <= head => position,
        StartFrom::Position(position) => {
            return Err(StartError::StartPosition { name, position, head });
        }
    };
    register_version(store, name, 1, H::PARTITIONS).await?;
    // With the fields that a read model stores here, so that one of this name is refused by its
    // sources.
    let note = serde_json::json!({
        "sources": "an event handler", "samples": [], "looked_to": 0, "starts_after": position,
    });
    store.note_version(name, 1, kind, &note.to_string()).await?;
    Ok(position)
}
