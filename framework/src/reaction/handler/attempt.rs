//! One attempt to handle an event: in panic isolation, and cut off after its timeout.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::window::Item;
use super::{Attempt, EventHandler};
use crate::catch_panic::guarded_async;
use crate::event::RecordedEvent;
use crate::partition::parking::Drain;

/// Largest number of bytes of a reason. A thousand parked keys keep theirs in memory.
const MOST_REASON_BYTES: usize = 4_096;

/// Work that ran beside the loop of a partition.
pub(super) enum Done<E> {
    /// One attempt at an event of a key.
    Attempt { key: Arc<str>, item: Item<E>, result: Result<(), String> },
    /// Events of a parked key, of which the first `applied` were handled.
    Drain { drain: Drain, found: Vec<Arc<RecordedEvent>>, applied: usize, reason: Option<String> },
}

/// Handles one event within a time.
///
/// # Errors
/// The reason why the event was not handled.
pub(super) async fn attempt<H: EventHandler>(
    handler: &H,
    event: &H::Event,
    attempt: Attempt,
    limit: Duration,
) -> Result<(), String> {
    let handled = guarded_async(async {
        let handled = timeout(limit, handler.handle(event, &attempt)).await;
        // In the isolation too, because the text of the error is user code.
        handled.map(|handled| handled.map_err(|error| in_full(&*error)))
    });
    let handled = match handled.await {
        Ok(Ok(handled)) => handled,
        Ok(Err(_)) => Err(format!("it took longer than {limit:?}")),
        Err(panic) => Err(format!("panicked: {panic}")),
    };
    handled.map_err(|mut reason| {
        reason.truncate(reason.floor_char_boundary(MOST_REASON_BYTES));
        reason
    })
}

/// The error and its causes. The outermost message of a client often says only that a request failed.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
