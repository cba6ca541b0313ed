//! What an operator is told: the log, and every read model and projection with its partitions.
//!
//! It is a picture of one moment as one process sees it: what it owns it knows best, the rest it
//! looks up in the store. What could not be found out is absent, never guessed; no secret is in it.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use uuid::Uuid;

use crate::event::GlobalPosition;

/// The most parked keys that are listed for one subscription.
pub const MAX_LISTED_PARKED: usize = 100;

/// How an application is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// This process, as leases name it.
    pub process: Uuid,
    /// When this was found out.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// The log.
    pub log: LogStatus,
    /// What the database's promises depend on, as read back when the store was opened.
    pub settings: BTreeMap<&'static str, String>,
    /// Each version of each read model and projection, by name and version.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// How the log is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// Made when the log was created.
    pub log_id: Uuid,
    /// See [`LogIdentity::epoch`](crate::store::contract::LogIdentity).
    pub epoch: u64,
    /// The last position, or the last one known while the store does not answer.
    pub head: GlobalPosition,
    /// What is wrong with the store or the reading of the log. What only the store could tell is
    /// absent then.
    pub trouble: Option<String>,
    /// Length in bytes of SQLite's write-ahead log; absent on other stores. More than 128 MiB means
    /// that another program keeps a read of the database open: end its transaction.
    pub wal_bytes: Option<u64>,
}

/// One version of a read model or projection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubscriptionStatus {
    /// Its name, without the version.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Whether reads are answered from it.
    pub serves: Option<bool>,
    /// Whether this process's program has it; if not, others run it or nobody does.
    pub is_in_this_program: bool,
    /// By number.
    pub partitions: Vec<PartitionStatus>,
    /// How many keys are parked.
    pub parked_keys: Option<usize>,
    /// Those, by key; at most [`MAX_LISTED_PARKED`].
    pub parked: Vec<ParkedStatus>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u32,
    /// The process that owns it, if one does.
    pub owner: Option<Uuid>,
    /// Whether that is this one.
    pub is_owned_here: bool,
    /// How it is doing in this process; absent if its program does not have it.
    pub state: Option<SubscriptionState>,
    /// Everything up to here is taken in: applied or parked by the owner if that is this process,
    /// else saved.
    pub position: Option<GlobalPosition>,
    /// How many positions of the log come after that.
    pub lag_events: Option<u64>,
    /// How long ago the oldest event that it follows and has not taken in was recorded; 0 if
    /// there is none.
    pub lag_seconds: Option<f64>,
    /// How many positions it passed each second, over the last ones; only where it is owned.
    pub events_per_second: Option<f64>,
    /// When it will have reached the head at that rate, if it moves and is not there.
    pub seconds_left: Option<f64>,
    /// The last thing that went wrong in this process.
    pub last_error: Option<LastError>,
}

impl PartitionStatus {
    /// Nothing is known of it but its number.
    pub(crate) fn unknown(partition: u32) -> Self {
        Self {
            partition,
            owner: None,
            is_owned_here: false,
            state: None,
            position: None,
            lag_events: None,
            lag_seconds: None,
            events_per_second: None,
            seconds_left: None,
            last_error: None,
        }
    }
}

/// How a partition is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// It has not yet taken in all that the log held when this process started.
    CatchingUp,
    /// Follows the log.
    Live,
    /// As catching up, and beside a version that serves.
    Rebuilding,
    /// It follows the log, but some of its keys are parked.
    Parked,
    /// It stands still for good.
    Halted,
    /// Another process owns it, or none yet.
    Standby,
    /// Ended by its application.
    Stopped,
}

impl SubscriptionState {
    /// As it is written in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Rebuilding => "rebuilding",
            Self::Parked => "parked",
            Self::Halted => "halted",
            Self::Standby => "standby",
            Self::Stopped => "stopped",
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// What.
    pub error: String,
}

/// One parked key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedStatus {
    /// The key.
    pub key: String,
    /// The partition it belongs to.
    pub partition: u32,
    /// The event that cannot be applied.
    pub position: GlobalPosition,
    /// That event in words: type, version and stream.
    pub event: String,
    /// Why it cannot be applied.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was parked.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
    /// Number of listed events that wait behind it.
    pub queued: u64,
    /// More events wait behind the listed ones.
    pub more_queued: bool,
}
