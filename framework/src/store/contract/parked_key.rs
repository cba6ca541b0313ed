//! Parked keys: one bad event stops one key, and nothing is skipped in silence.
//!
//! An event that cannot be applied parks its key: this event and all later ones of the key wait, in
//! order, while all other keys continue. The key is retried automatically, and when an operator
//! requests it. These types are the stored part; the owner of the partition decides.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::event::GlobalPosition;

/// A parked key, the event that cannot be applied, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedKey {
    /// The key.
    pub key: String,
    /// Number of the partition that the key belongs to.
    pub partition: u32,
    /// Position of the event that cannot be applied. The document reflects nothing from here on.
    pub position: GlobalPosition,
    /// The event in words: type, version and stream.
    pub event: String,
    /// Reason why the event cannot be applied.
    pub reason: String,
    /// Number of attempts to apply the event.
    pub attempts: u32,
    /// Time at which the key was parked, in UTC.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
    /// The positions of the listed events that wait behind it, in order; empty if the query was
    /// [without queues](ParkedQuery::with_queues).
    pub queue: Vec<GlobalPosition>,
    /// Number of the listed events.
    pub waiting: u64,
    /// From this position on, the events of the key are not listed: the owner reads the log again
    /// from there. `None` if all of them are listed.
    pub unlisted_from: Option<GlobalPosition>,
    /// Checksum of the positions of the events that are not listed; 0 if all of them are. The
    /// owner compares it with what the log has for the key before it lists any of them.
    pub unlisted_sum: i64,
    /// Request of an operator that was not carried out yet.
    pub request: Option<ParkedRequest>,
}

/// Selection of parked keys.
///
/// ```
/// # use actum::store::ParkedQuery;
/// let first_ten = ParkedQuery { with_queues: false, at_most: 10, ..ParkedQuery::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedQuery {
    /// Only these keys; `None` for all parked keys of the model.
    pub keys: Option<Vec<String>>,
    /// Only keys with a request that the owner has not carried out yet.
    pub only_requested: bool,
    /// Loads [`ParkedKey::queue`]. Without it the waiting events are only counted, because a queue
    /// may have 1,000 positions and a status shows none of them.
    pub with_queues: bool,
    /// Maximum number of keys in the page, the first by key.
    pub at_most: usize,
}

impl Default for ParkedQuery {
    /// All parked keys with their queues.
    fn default() -> Self {
        Self { keys: None, only_requested: false, with_queues: true, at_most: usize::MAX }
    }
}

impl ParkedQuery {
    /// One key with its queue, if it is parked.
    pub fn key(key: impl Into<String>) -> Self {
        Self { keys: Some(vec![key.into()]), ..Self::default() }
    }

    /// Keys with a request that was not carried out yet, without their queues.
    pub fn requested() -> Self {
        Self { only_requested: true, with_queues: false, ..Self::default() }
    }

    /// The first keys without their queues.
    pub fn first(at_most: usize) -> Self {
        Self { at_most, with_queues: false, ..Self::default() }
    }
}

/// Parked keys that match a [`ParkedQuery`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedPage {
    /// Number of all keys that match, also beyond [`ParkedQuery::at_most`].
    pub total: u64,
    /// The first of them, by key.
    pub keys: Vec<ParkedKey>,
}

/// Request for a parked key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkedRequest {
    /// Retry the event, after a fix.
    Retry,
    /// Skip the event, then continue with those behind it. The reason is stored.
    Skip {
        /// Reason for skipping the event, and the person who decided it.
        reason: String,
    },
}

/// A change to a parked key, stored with the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParkedChange {
    /// Parks the key at this event, for the first time or again. The stored row is replaced but for
    /// `since`, `unlisted_from`, `unlisted_sum` and the positions of its queue after this one.
    /// `queue`, `waiting`, `unlisted_from`, `unlisted_sum` and `request` are not read. The stored
    /// request is deleted unless it is to skip this very event.
    Park(ParkedKey),
    /// Queues this event behind the others of the key. If the key is not parked, a store refuses the
    /// whole update.
    Queue {
        /// The parked key.
        key: String,
        /// The event's position.
        position: GlobalPosition,
    },
    /// From this position on, the events of the key are not listed, and listed ones are removed.
    /// `None` means that all are listed. A store refuses the update if the key is not parked.
    Unlisted {
        /// The parked key.
        key: String,
        /// Position of the first event that is not listed, or an earlier position.
        from: Option<GlobalPosition>,
        /// See [`ParkedKey::unlisted_sum`].
        sum: i64,
    },
    /// Skips this event of the key permanently. Another change says what happens to the key.
    Skip(SkippedEvent),
    /// Ends the parking of the key, because all its events are applied or skipped.
    Release {
        /// The key.
        key: String,
    },
}

/// An event that was skipped in a document or in rows, at the request of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedEvent {
    /// Key of the document or rows that the event would have changed.
    pub key: String,
    /// Position of the event.
    pub position: GlobalPosition,
    /// The event in words: type, version and stream.
    pub event: String,
    /// Reason for which it was skipped.
    pub reason: String,
    /// Time at which it was skipped, in UTC.
    #[serde(with = "rfc3339")]
    pub skipped_at: OffsetDateTime,
}
