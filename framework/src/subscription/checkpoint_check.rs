//! Checks that the place from which a follower resumes still exists in the log.
//!
//! A checkpoint names its log, a position and the id of the event there. If one of the three
//! differs, the log was replaced, restored or rewound, and resuming would silently skip or repeat
//! events.

use uuid::Uuid;

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, Filter, PageLimit, Store};

/// Returns the position of a checkpoint, after checking that it belongs to this log.
///
/// # Errors
/// [`StoreError::Checkpoint`] if it belongs to another log.
pub(crate) fn same_log(
    store: &dyn Store,
    name: &str,
    checkpoint: Option<Checkpoint>,
) -> Result<GlobalPosition, StoreError> {
    let Some(checkpoint) = checkpoint else { return Ok(GlobalPosition::ZERO) };
    let (saved, log) = (checkpoint.log_id, store.info().identity.log_id);
    match saved == log {
        true => Ok(checkpoint.position),
        false => refuse(name, &format!("it belongs to the log {saved}, but this is the log {log}")),
    }
}

/// Returns the position of a checkpoint, after checking that the log still has the event there.
///
/// # Errors
/// [`StoreError::Checkpoint`] if it has not; otherwise the error of a read of the store.
pub(crate) async fn verify(
    store: &dyn Store,
    name: &str,
    checkpoint: Option<Checkpoint>,
) -> Result<GlobalPosition, StoreError> {
    same_log(store, name, checkpoint)?;
    let Some(Checkpoint { position, event_id, .. }) = checkpoint else {
        return Ok(GlobalPosition::ZERO);
    };
    // Read after the checkpoint, because another process may be moving both. In the other order, a
    // valid checkpoint could appear to be beyond the head.
    let head = store.head().await?;
    if position > head {
        return refuse(name, &format!("it is at position {position}, the log ends at {head}"));
    }
    if position == GlobalPosition::ZERO {
        return Ok(position);
    }
    match event_at(store, position).await? {
        Some(found) if found == event_id => Ok(position),
        found => {
            let found = found.map_or_else(|| "no event".to_owned(), |id| format!("the event {id}"));
            let saw = format!("it was saved at the event {event_id} at position {position}");
            refuse(name, &format!("{saw}, where the log now has {found}"))
        }
    }
}

fn refuse<T>(name: &str, what: &str) -> Result<T, StoreError> {
    let reason = format!(
        "{what}. The log was replaced, restored or rewound. To rebuild, raise its VERSION, or \
         delete what was built from the log together with the checkpoint"
    );
    Err(StoreError::Checkpoint { name: name.to_owned(), reason })
}

/// Returns the id of the event at a position, if the log has one there.
pub(crate) async fn event_at(
    store: &dyn Store,
    position: GlobalPosition,
) -> Result<Option<Uuid>, StoreError> {
    let before = GlobalPosition(position.0.saturating_sub(1));
    let page = store.read_all(before, &Filter::all(), PageLimit::events(1)).await?;
    Ok(page.events.first().filter(|e| e.position == position).map(|e| e.event_id))
}
