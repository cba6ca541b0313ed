//! A pause: an operator has a version stand still until it is resumed.
//!
//! The pause is stored as a note of the version: dropping the version deletes it.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::version_store::{VersionNote, VersionStore};
use crate::error::StoreError;

/// A pause of a read model, projection, event handler, process manager or of deferred commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Reason for the pause, and the person who decided it.
    pub reason: String,
    /// Time at which it was paused, in UTC.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
}

impl Pause {
    /// Stores the pause of a version, or with `None` the end of it.
    ///
    /// # Errors
    /// The store is not available.
    pub(crate) async fn save(
        pause: Option<&Self>,
        store: &(impl VersionStore + ?Sized),
        (name, version): (&str, u32),
    ) -> Result<(), StoreError> {
        let text = pause.map(serde_json::to_string).transpose();
        let text = text.map_err(|error| StoreError::Corrupt {
            place: format!("the pause of {name}@{version}"),
            reason: error.to_string(),
        })?;
        store.note_version(name, version, VersionNote::Pause, &text.unwrap_or_default()).await
    }

    /// Loads the pause of a version, if it is paused.
    ///
    /// # Errors
    /// The store is not available.
    pub(crate) async fn load(
        store: &(impl VersionStore + ?Sized),
        (name, version): (&str, u32),
    ) -> Result<Option<Self>, StoreError> {
        Ok(Self::of(store.version_note(name, version, VersionNote::Pause).await?))
    }

    /// The pause that a note says.
    pub(crate) fn of(note: Option<String>) -> Option<Self> {
        let note = note.filter(|note| !note.is_empty())?;
        // A note that a person wrote pauses too, because whoever wrote it wanted that.
        let by_hand = |_| Self { reason: note.clone(), since: OffsetDateTime::UNIX_EPOCH };
        Some(serde_json::from_str(&note).unwrap_or_else(by_hand))
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "paused since {}: {}", self.since, self.reason)
    }
}

/// The name and version in a name such as `balance@1`.
pub(crate) fn name_and_version(model: &str) -> Option<(&str, u32)> {
    let (name, version) = model.rsplit_once('@')?;
    Some((name, version.parse().ok()?))
}
