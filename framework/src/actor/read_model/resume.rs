//! Where a read model goes on, and whether that place still exists.
//!
//! A checkpoint names its log, a position and the event there. If any of the three does not fit,
//! the log was exchanged, restored or rewound: going on would skip or double events in silence.

use crate::document::{Checkpoint, Store};
use crate::error::StoreError;
use crate::event_store::Filter;
use crate::stream::GlobalPosition;

/// The verified checkpoint; `None` if the read model never saved one.
pub(super) async fn checkpoint(
    store: &dyn Store,
    name: &str,
    head: GlobalPosition,
) -> Result<Option<Checkpoint>, StoreError> {
    let Some(checkpoint) = store.load_checkpoint(name).await? else { return Ok(None) };
    let refuse = |what: String| {
        Err(StoreError::Checkpoint {
            name: name.to_owned(),
            reason: format!(
                "{what}: the log was exchanged, restored or rewound since; delete the read model's documents and checkpoint, or raise its VERSION, to rebuild it"
            ),
        })
    };
    let Checkpoint { log_id, position, event_id } = checkpoint;
    let log = store.identity().log_id;
    if log_id != log {
        return refuse(format!("it was taken in the log {log_id}, this one is {log}"));
    }
    if position > head {
        return refuse(format!("it is at position {position}, the log ends at {head}"));
    }
    if position == GlobalPosition::ZERO {
        return Ok(Some(checkpoint));
    }
    match event_at(store, position).await? {
        Some(found) if found == event_id => Ok(Some(checkpoint)),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
            refuse(format!(
                "at position {position} it saw the event {event_id}, now there is {found}"
            ))
        }
    }
}

/// The id of the event at a position.
pub(super) async fn event_at(
    store: &dyn Store,
    position: GlobalPosition,
) -> Result<Option<uuid::Uuid>, StoreError> {
    let before = GlobalPosition(position.0.saturating_sub(1));
    let page = store.read_all(before, &Filter::all(), 1).await?;
    Ok(page.events.first().filter(|e| e.position == position).map(|e| e.event_id))
}
