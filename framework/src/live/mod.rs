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

pub use changes::{Changed, LiveChanges};
pub use document::LiveDocument;
pub use events::LiveEvents;

pub(crate) use events::decode;
pub(crate) use wakes::Wakes;
