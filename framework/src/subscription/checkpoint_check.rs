//! Where a follower goes on, and whether that place still exists.
//!
//! A checkpoint names its log, a position and the event there. If any of the three does not fit,
//! the log was exchanged, restored or rewound: going on would skip or double events in silence.

use uuid::Uuid;

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, Filter, PageLimit, Store};

/// Where a checkpoint is, once it is known to be of this log.
///
/// # Errors
/// [`StoreError::Checkpoint`]
pub(crate) fn same_log(
    store: &dyn Store,
    name: &str,
    checkpoint: Option<Checkpoint>,
) -> Result<GlobalPosition, StoreError> {
    let Some(checkpoint) = checkpoint else { return Ok(GlobalPosition::ZERO) };
    let (saved, log) = (checkpoint.log_id, store.identity().log_id);
    match saved == log {
        true => Ok(checkpoint.position),
        false => refuse(name, &format!("it was taken in the log {saved}, this one is {log}")),
    }
}

/// Where a checkpoint is, once it is known that the log still has what it saw.
///
/// # Errors
/// [`StoreError::Checkpoint`], or the store did not answer.
pub(crate) async fn verify(
    store: &dyn Store,
    name: &str,
    checkpoint: Option<Checkpoint>,
) -> Result<GlobalPosition, StoreError> {
    same_log(store, name, checkpoint)?;
    let Some(Checkpoint { position, event_id, .. }) = checkpoint else {
        return Ok(GlobalPosition::ZERO);
    };
    // Asked after the checkpoint was: another process may be moving both.
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
            let found = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
            let saw = format!("at position {position} it saw the event {event_id}");
            refuse(name, &format!("{saw}, now there is {found}"))
        }
    }
}

fn refuse<T>(name: &str, what: &str) -> Result<T, StoreError> {
    let reason = format!(
        "{what}: the log was exchanged, restored or rewound since; delete what was built from it, checkpoint included, or raise its VERSION, to rebuild it"
    );
    Err(StoreError::Checkpoint { name: name.to_owned(), reason })
}

/// The id of the event at a position.
pub(crate) async fn event_at(
    store: &dyn Store,
    position: GlobalPosition,
) -> Result<Option<Uuid>, StoreError> {
    let before = GlobalPosition(position.0.saturating_sub(1));
    let page = store.read_all(before, &Filter::all(), PageLimit::events(1)).await?;
    Ok(page.events.first().filter(|e| e.position == position).map(|e| e.event_id))
}
