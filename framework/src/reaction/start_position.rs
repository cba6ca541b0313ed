//! The position at which a reaction starts to follow a log that may be old.

use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::{Store, VersionNote};

/// Beginning of the note that keeps the start position of a name.
const STARTS_AFTER: &str = "starts after position ";

/// Position at which a new event handler or process manager starts. A new one in an old log must not act
/// on everything that ever happened, so it is always named. It counts at the first start only: after that
/// the checkpoint counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPosition {
    /// Events from the first one of the log on.
    Beginning,
    /// Events that are stored after the first start.
    Now,
    /// Events after this position.
    After(GlobalPosition),
}

/// Returns the position after which the name starts, as long as it has no checkpoint. The first start
/// stores it, so that events which come before the first checkpoint are not missed by
/// [`StartPosition::Now`].
///
/// # Errors
/// The position is beyond the end of the log, or the store did not reply.
pub(crate) async fn starts_after(
    store: &dyn Store,
    name: &'static str,
    start: StartPosition,
) -> Result<GlobalPosition, StartError> {
    let note = store.version_note(name, 1, VersionNote::Sources).await?;
    let known = note.as_deref().and_then(|note| note.strip_prefix(STARTS_AFTER)?.parse().ok());
    if let Some(known) = known {
        return Ok(GlobalPosition(known));
    }
    let head = store.head().await?;
    let position = match start {
        StartPosition::Beginning => GlobalPosition::ZERO,
        StartPosition::Now => head,
        StartPosition::After(position) if position <= head => position,
        StartPosition::After(position) => {
            let reason = format!(
                "it is to start after position {position}, but the log ends at {head}: name a position \
                 of this log"
            );
            return Err(StoreError::Checkpoint { name: name.to_owned(), reason }.into());
        }
    };
    let note = format!("{STARTS_AFTER}{position}");
    store.note_version(name, 1, VersionNote::Sources, &note).await?;
    Ok(position)
}
