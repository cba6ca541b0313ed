//! Where a read model goes on, and whether that place still exists.
//!
//! A checkpoint names its log, a position and the event there. If any of the three does not fit,
//! the log was exchanged, restored or rewound: going on would skip or double events in silence.

use crate::checkpoint::{Checkpoint, PartitionId};
use crate::document::Store;
use crate::error::StoreError;
use crate::event_store::Filter;
use crate::stream::GlobalPosition;

/// Where the owner stands, for one who only watches: of this log, and no more is asked.
pub(super) async fn glimpse(
    store: &dyn Store,
    partition: &PartitionId,
) -> Result<Option<Checkpoint>, StoreError> {
    let Some(checkpoint) = store.load_checkpoint(partition).await? else { return Ok(None) };
    let (saved, log) = (checkpoint.log_id, store.identity().log_id);
    match saved == log {
        true => Ok(Some(checkpoint)),
        false => refuse(partition, &format!("it was taken in the log {saved}, this one is {log}")),
    }
}

/// The verified checkpoint; `None` if the partition never saved one.
pub(super) async fn checkpoint(
    store: &dyn Store,
    partition: &PartitionId,
) -> Result<Option<Checkpoint>, StoreError> {
    let Some(checkpoint) = glimpse(store, partition).await? else { return Ok(None) };
    let Checkpoint { position, event_id, .. } = checkpoint;
    // Asked after the checkpoint was: another process may be moving both.
    let head = store.head().await?;
    if position > head {
        return refuse(partition, &format!("it is at position {position}, the log ends at {head}"));
    }
    if position == GlobalPosition::ZERO {
        return Ok(Some(checkpoint));
    }
    match event_at(store, position).await? {
        Some(found) if found == event_id => Ok(Some(checkpoint)),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
            let saw = format!("at position {position} it saw the event {event_id}");
            refuse(partition, &format!("{saw}, now there is {found}"))
        }
    }
}

fn refuse<T>(partition: &PartitionId, what: &str) -> Result<T, StoreError> {
    let reason = format!(
        "{what}: the log was exchanged, restored or rewound since; delete the read model's documents and checkpoint, or raise its VERSION, to rebuild it"
    );
    Err(StoreError::Checkpoint { name: partition.to_string(), reason })
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
