//! The position at which an event handler or process manager starts to follow a log that may be old.

use serde::Deserialize;

use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::partition::{CheckpointWriter, LeaseSession, Reached};
use crate::store::contract::{Checkpoint, DocumentBatch, PartitionId, Store, VersionNote};

/// Position at which a new event handler or process manager starts.
///
/// A new one in an old log must not act on everything that ever happened, so it is always named. It
/// counts at the first start only: after that the checkpoint counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPosition {
    /// Events from the first one of the log on.
    Beginning,
    /// Events that are stored after the first start.
    Now,
    /// Events after this position.
    After(GlobalPosition),
}

/// The parts of a note that count here.
#[derive(Deserialize)]
struct Note {
    sources: String,
    starts_after: GlobalPosition,
}

/// Returns the position after which the name starts, as long as it has no checkpoint. The first start
/// stores it, so that events which come before the first checkpoint are not missed by
/// [`StartPosition::Now`]. The name must be registered.
///
/// # Errors
/// The position is beyond the end of the log, the name belongs to something else than a `kind` in
/// this database, or the store did not reply.
pub(crate) async fn starts_after(
    store: &dyn Store,
    (kind, name): (&'static str, &'static str),
    start: StartPosition,
) -> Result<GlobalPosition, StartError> {
    // Before the note is read: if two processes start for the first time together, the later note
    // replaces the earlier one, and its position must not be beyond events that came between.
    let head = store.head().await?;
    if let Some(stored) = store.version_note(name, 1, VersionNote::Sources).await? {
        return match serde_json::from_str::<Note>(&stored) {
            Ok(note) if note.sources == kind => Ok(note.starts_after),
            _ => Err(StartError::OtherKind(name)),
        };
    }
    let position = match start {
        StartPosition::Beginning => GlobalPosition::ZERO,
        StartPosition::Now => head,
        StartPosition::After(position) if position <= head => position,
        StartPosition::After(position) => {
            return Err(StartError::StartPosition { name, position, head });
        }
    };
    // With the fields that a read model stores here, so that a read model of this name is refused
    // because of its sources.
    let note = serde_json::json!({
        "sources": kind, "samples": [], "looked_to": 0, "starts_after": position,
    });
    store.note_version(name, 1, VersionNote::Sources, &note.to_string()).await?;
    Ok(position)
}

/// Loads the checkpoint of a partition; the first owner stores it at the start position.
///
/// # Errors
/// The store did not reply, or the lease is lost.
pub(crate) async fn resume(
    store: &dyn Store,
    partition: &PartitionId,
    session: &LeaseSession,
    starts_after: GlobalPosition,
) -> Result<Option<Checkpoint>, StoreError> {
    let stored = store.load_checkpoint(partition).await?;
    if stored.is_some() || starts_after == GlobalPosition::ZERO {
        return Ok(stored);
    }
    // Saved before anything is performed, so that the next owner starts at the same place.
    let first = CheckpointWriter::new(partition.clone(), session.grant().clone(), None);
    let mut draft = first.update(Reached::at(starts_after), Vec::new());
    let update = draft.build(store).await?;
    let batch = DocumentBatch { documents: Vec::new(), deleted: Vec::new(), update };
    store.save_documents(batch).await?;
    store.load_checkpoint(partition).await
}
