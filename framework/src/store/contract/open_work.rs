//! Open work: items that events caused and that are not done yet, such as deferred commands.
//!
//! An item is opened, postponed and closed together with the checkpoint of its partition. So the
//! checkpoint need not wait for it, and the next owner continues from the checkpoint and the open
//! items and reads nothing of the log again.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::event::GlobalPosition;

/// One item of open work of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWork {
    /// Id of the item, unique in its partition.
    pub id: String,
    /// Partition key: items with the same key are performed one after the other, by position.
    pub key: String,
    /// Position of the event that opened it.
    pub position: GlobalPosition,
    /// Time of the next attempt, in UTC and whole microseconds.
    #[serde(with = "rfc3339")]
    pub due_at: OffsetDateTime,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Reason why the last attempt did not succeed, if the log does not have it.
    pub reason: Option<String>,
    /// Id of the idempotency key that the work runs under, if it has one. The store does not forget
    /// this key while the item is open, because the work would be done twice then.
    pub command_key: Option<String>,
    /// JSON text that belongs to the runtime. A store does not look into it.
    pub body: String,
}

impl OpenWork {
    /// Number of bytes that the item counts in a page: body and reason. The rest is small.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.reason.as_ref().map_or(0, String::len)
    }

    /// Place of the item in the order of due times.
    pub fn due(&self) -> WorkDue {
        WorkDue { due_at: self.due_at, id: self.id.clone() }
    }
}

/// A place in the order of due times, after which a page of open work begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkDue {
    /// Due time of an item.
    pub due_at: OffsetDateTime,
    /// Id of the item, which orders items that are due at the same time.
    pub id: String,
}

/// A change to the open work of a partition, stored with its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkChange {
    /// Opens an item, in place of an item with the same id.
    Open(OpenWork),
    /// Postpones an item after an attempt. An item that is not open stays closed.
    Again {
        /// Id of the item.
        id: String,
        /// Time of the next attempt, in UTC and whole microseconds.
        #[serde(with = "rfc3339")]
        due_at: OffsetDateTime,
        /// Number of attempts so far.
        attempts: u32,
        /// See [`OpenWork::reason`].
        reason: Option<String>,
    },
    /// Closes an item. Nothing happens if it is not open.
    Close {
        /// Id of the item.
        id: String,
    },
}
