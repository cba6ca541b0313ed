//! Documents as JSON texts, both ways. The user's `Serialize` and `Deserialize` run in panic isolation.
//!
//! A text counts as a document only if it decodes again. JSON has no NaN, serde_json reads nothing
//! that is nested deeper than 128, and a field can be written and not read; each of these would
//! otherwise be found only after a restart, when the events that made it are long folded.

use serde::de::DeserializeOwned;

use super::ReadModel;
use crate::catch_panic::{Isolated, guarded};
use crate::error::StoreError;

/// Why a text is no document.
pub(super) struct Unreadable {
    pub(super) reason: String,
    /// The text is JSON of another shape, as after a change of the program. If not, it is damaged.
    pub(super) is_of_another_shape: bool,
}

/// A document as the store keeps it.
///
/// # Errors
/// Document that cannot be serialised, or whose serialised form does not decode.
pub(super) fn encode<M: ReadModel>(body: &M) -> Result<String, String> {
    let json = guarded(|| serde_json::to_string(body)).map_err(|panic| panicked(&panic));
    let json = json.and_then(|json| json.map_err(|error| error.to_string()));
    let json = json.map_err(|reason| format!("the document cannot be serialised: {reason}"))?;
    match decode::<M>(&json) {
        Ok(copy) => {
            drop(Isolated::new(copy));
            Ok(json)
        }
        Err(Unreadable { reason, .. }) => {
            Err(format!("the document does not decode again once it is serialised: {reason}"))
        }
    }
}

/// A document as the store has it.
///
/// # Errors
/// [`Unreadable`]
pub(super) fn decode<M: DeserializeOwned>(body: &str) -> Result<M, Unreadable> {
    match guarded(|| serde_json::from_str(body)) {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => {
            Err(Unreadable { reason: error.to_string(), is_of_another_shape: error.is_data() })
        }
        Err(panic) => Err(Unreadable { reason: panicked(&panic), is_of_another_shape: true }),
    }
}

/// A stored document for a reader.
///
/// # Errors
/// [`StoreError::Corrupt`] names the key and the next step.
pub(super) fn parse<M: ReadModel>(key: &str, body: &str) -> Result<Isolated<M>, StoreError> {
    decode(body).map(Isolated::new).map_err(|Unreadable { reason, .. }| {
        let place = format!("the document {key:?} of {}@{}", M::NAME, M::VERSION);
        StoreError::Corrupt { place, reason }
    })
}

fn panicked(panic: &str) -> String {
    format!("panicked: {panic}")
}
