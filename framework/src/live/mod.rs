//! Live streams: the events of one aggregate, a document as it changes, the changes of a read model.
//!
//! Whoever follows keeps a cursor and nothing else. One subscription to the tail, while somebody
//! follows, wakes those whose key an event touches ([`Wakes`]); each then reads what is new from
//! where it is kept. So a slow follower holds up nobody, and costs the same as a quick one.

mod changes;
mod document;
mod events;
#[cfg(test)]
mod tests;
mod touched;
mod wake;
mod wakes;

pub use self::changes::{Changed, LiveChanges};
pub use self::document::LiveDocument;
pub use self::events::LiveEvents;

use crate::backoff::Backoff;
use crate::error::StoreError;

pub(crate) use self::events::decode;
pub(crate) use self::wakes::Wakes;

/// How long one who follows rests before a store that did not answer is asked again.
fn backoff() -> Backoff {
    Backoff::of_a_store()
}

/// Whether asking again helps.
fn passes(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_))
}
