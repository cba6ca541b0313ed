//! Live streams: the events of one aggregate, one document, or the changes of a read model.
//!
//! A follower only stores its position. While there are followers, one subscription to the tail
//! notifies those whose key an event touches ([`Wakes`]). Each of them then reads the new events or
//! documents by itself. So a slow follower delays no other and costs no more memory than a fast
//! one.
//!
//! See `docs/decisions.md`, "Why do followers not get the tail's pages?"

mod changes;
mod document;
mod events;
#[cfg(test)]
mod tests;
mod touched;
mod wakes;

pub use self::changes::LiveChanges;
pub use self::document::LiveDocument;
pub use self::events::LiveEvents;
pub use self::wakes::Changed;

use crate::backoff::Backoff;
use crate::error::StoreError;

pub(crate) use self::events::decode;
pub(crate) use self::wakes::Wakes;

/// Backoff of a follower after a failed read of the store.
fn backoff() -> Backoff {
    Backoff::of_a_store()
}

/// Returns true if a retry may succeed.
fn passes(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_))
}
