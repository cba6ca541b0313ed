//! Status of an application for operators: the log, and each read model and projection with its
//! partitions.
//!
//! A status is a snapshot of one moment, as one process sees it. The process reports its own
//! partitions from memory and reads the others from the store. A value that could not be determined
//! is absent, never guessed. No value is a secret.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use uuid::Uuid;

use crate::event::GlobalPosition;
use crate::store::contract::Pause;

/// Maximum number of parked keys that are listed for one subscription.
pub const MAX_LISTED_PARKED: usize = 100;

/// Status of an application.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Id of this process, as leases name their holder.
    pub process: Uuid,
    /// Time of this status.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// Status of the log.
    pub log: LogStatus,
    /// Settings that the database's promises depend on, as read back when the store was opened.
    pub settings: BTreeMap<&'static str, String>,
    /// Each version of each read model and projection, ordered by name and version.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// Status of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogStatus {
    /// Id of the log, assigned when it was created.
    pub log_id: Uuid,
    /// Epoch of the log; see [`LogIdentity::epoch`](crate::store::contract::LogIdentity).
    pub epoch: u64,
    /// Last position of the log, or the last known one while the store is not available.
    pub head: GlobalPosition,
    /// Problem of the store or of reading the log, if there is one. Values that only the store
    /// knows are absent then.
    pub trouble: Option<String>,
    /// Size of SQLite's write-ahead log in bytes; absent on other stores. More than 128 MiB means
    /// that another program keeps a read transaction open: end that transaction.
    pub wal_bytes: Option<u64>,
}

/// Status of one version of a read model or projection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// Name, without the version.
    pub name: String,
    /// Version.
    pub version: u32,
    /// True if this is the active version, which serves reads. Absent if the store is not
    /// available.
    pub serves: Option<bool>,
    /// True if the program of this process includes this version. If not, another process runs it,
    /// or none.
    pub is_in_this_program: bool,
    /// The pause, if an operator has paused it. It stands still once no partition has an owner.
    pub paused: Option<Pause>,
    /// Partitions, ordered by number.
    pub partitions: Vec<PartitionStatus>,
    /// Number of parked keys.
    pub parked_keys: Option<usize>,
    /// Parked keys, ordered by key; at most [`MAX_LISTED_PARKED`].
    pub parked: Vec<ParkedStatus>,
}

/// Status of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Number of the partition, starting at 0.
    pub partition: u32,
    /// Process that owns the partition, if any.
    pub owner: Option<Uuid>,
    /// True if this process owns the partition.
    pub is_owned_here: bool,
    /// State of the partition in this process; absent if the program of this process does not
    /// include it.
    pub state: Option<SubscriptionState>,
    /// Position up to which the partition has processed the log: applied or parked if this process
    /// owns it, otherwise the saved checkpoint.
    pub position: Option<GlobalPosition>,
    /// Number of positions from there to the head of the log.
    pub lag_events: Option<u64>,
    /// Age of the oldest event that the partition has yet to process, in seconds; 0 if there is
    /// none.
    pub lag_seconds: Option<f64>,
    /// Positions per second, averaged over the last seconds; only where the partition is owned.
    pub events_per_second: Option<f64>,
    /// Estimated seconds until the partition reaches the head, if it is behind and moving.
    pub seconds_left: Option<f64>,
    /// Last error in this process.
    pub last_error: Option<LastError>,
}

impl PartitionStatus {
    /// Status of a partition of which only the number is known.
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

/// State of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubscriptionState {
    /// The partition has not yet processed all events that the log had when this process started.
    CatchingUp,
    /// The partition follows the log.
    Live,
    /// The partition catches up while another version serves.
    Rebuilding,
    /// The partition follows the log, but some of its keys are parked.
    Parked,
    /// The partition has stopped permanently because of an error. See `last_error`.
    Halted,
    /// An operator has paused it. An owner that still finishes its work shows its own state until then.
    Paused,
    /// Another process owns the partition, or none yet.
    Standby,
    /// The application has stopped the partition.
    Stopped,
}

impl SubscriptionState {
    /// Name of the state in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Rebuilding => "rebuilding",
            Self::Parked => "parked",
            Self::Halted => "halted",
            Self::Paused => "paused",
            Self::Standby => "standby",
            Self::Stopped => "stopped",
        }
    }
}

/// An error and the time when it occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LastError {
    /// Time of the error.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// Error message.
    pub error: String,
}

/// Status of one parked key: an event could not be applied, and later events of the key wait behind
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ParkedStatus {
    /// The key.
    pub key: String,
    /// Partition of the key.
    pub partition: u32,
    /// Position of the event that cannot be applied.
    pub position: GlobalPosition,
    /// Description of that event: type, version and stream.
    pub event: String,
    /// Reason why it cannot be applied.
    pub reason: String,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Time when the key was parked.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
    /// Number of listed events that wait behind it.
    pub queued: u64,
    /// True if further events wait behind the listed ones.
    pub more_queued: bool,
}
