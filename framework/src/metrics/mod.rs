//! Metrics of the framework, each with its kind, labels, unit and meaning.
//!
//! They are recorded through the facade crate `metrics`, so any exporter works. Install the
//! recorder before you open the store, because each part of the framework creates its handles once,
//! from the recorder of that moment. A later record then needs neither look-up nor allocation.
//! Without a recorder a measurement costs a read of the clock.
//!
//! No label is an id, a key or a text of a user. So the number of series stays small, and no series
//! reveals a secret.
//!
//! See `docs/decisions.md`, "Why the facade `metrics`, always compiled, and no exporter of our
//! own?"

mod commands;
mod commits;
mod reads;
mod subscriptions;
#[cfg(feature = "sqlite")]
mod wal;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) use self::commands::CommandMetrics;
pub(crate) use self::commits::CommitMetrics;
pub(crate) use self::reads::ReadMetrics;
pub(crate) use self::subscriptions::{SubscriptionMetrics, WorkMetrics};
#[cfg(feature = "sqlite")]
pub(crate) use self::wal::WalMetrics;

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A counter that only grows. Starts at 0 with the process.
    Counter,
    /// A current value, updated once a second.
    Gauge,
    /// A distribution of values.
    Histogram {
        /// Upper bounds of buckets that suit the values, for an exporter that needs buckets.
        buckets: &'static [f64],
    },
}

/// Description of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Name, such as `actum_commands_total`.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// `seconds`, or the name of the things that are counted.
    pub unit: &'static str,
    /// Meaning, in one sentence.
    pub meaning: &'static str,
}

impl Metric {
    /// Values of the last label, if they are a fixed set; otherwise empty.
    pub fn values(&self) -> &'static [&'static str] {
        match self.name {
            name if name == COMMANDS.name => &commands::OUTCOMES,
            name if name == READS.name => &reads::OUTCOMES,
            name if name == SUBSCRIPTION_STATE.name => &subscriptions::STATES,
            _ => &[],
        }
    }
}

const SECONDS: Kind = Kind::Histogram {
    buckets: &[
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
        2.5, 5.0, 10.0, 30.0,
    ],
};
const SIZES: Kind =
    Kind::Histogram { buckets: &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0] };

/// Commands by outcome; see [`commands::OUTCOMES`].
pub(crate) const COMMANDS: Metric = Metric {
    name: "actum_commands_total",
    kind: Kind::Counter,
    labels: &["aggregate", "outcome"],
    unit: "commands",
    meaning: "Commands by outcome.",
};

/// Time that a caller waited. Recorded for commands that were admitted and have a result.
pub(crate) const COMMAND_SECONDS: Metric = Metric {
    name: "actum_command_seconds",
    kind: SECONDS,
    labels: &["aggregate"],
    unit: "seconds",
    meaning: "Time from the arrival of a command to its result.",
};

/// Admitted commands without a result yet. Never more than `Settings::commands_in_flight`.
pub(crate) const COMMANDS_IN_FLIGHT: Metric = Metric {
    name: "actum_commands_in_flight",
    kind: Kind::Gauge,
    labels: &[],
    unit: "commands",
    meaning: "Admitted commands that have no result yet.",
};

/// Live instances of an aggregate type. About `Settings::live_aggregates` at most.
pub(crate) const LIVE_AGGREGATES: Metric = Metric {
    name: "actum_live_aggregates",
    kind: Kind::Gauge,
    labels: &["aggregate"],
    unit: "aggregates",
    meaning: "Aggregate instances in memory.",
};

/// Time from the start of writing a batch until its outcome is certain.
pub(crate) const COMMIT_SECONDS: Metric = Metric {
    name: "actum_commit_seconds",
    kind: SECONDS,
    labels: &[],
    unit: "seconds",
    meaning: "Time of writing one batch until its outcome is known, including retries.",
};

/// Appends per batch: shows how well group commit shares its fsyncs. Batches that only save
/// documents are not recorded.
pub(crate) const COMMIT_APPENDS: Metric = Metric {
    name: "actum_commit_appends",
    kind: SIZES,
    labels: &[],
    unit: "appends",
    meaning: "Appends in one batch.",
};

/// Commits with an unknown outcome. Each batch is sent again until the store responds.
pub(crate) const COMMITS_IN_DOUBT: Metric = Metric {
    name: "actum_commits_in_doubt_total",
    kind: Kind::Counter,
    labels: &[],
    unit: "commits",
    meaning: "Times the outcome of a commit was unknown and its batch had to be sent again.",
};

/// Events that this process appended.
pub(crate) const EVENTS_APPENDED: Metric = Metric {
    name: "actum_events_appended_total",
    kind: Kind::Counter,
    labels: &[],
    unit: "events",
    meaning: "Events that this process stored.",
};

/// Size of SQLite's write-ahead log; only with SQLite. It grows while another program keeps a read
/// transaction open.
pub(crate) const WAL_BYTES: Metric = Metric {
    name: "actum_wal_bytes",
    kind: Kind::Gauge,
    labels: &[],
    unit: "bytes",
    meaning: "Size of SQLite's write-ahead log after the last commit.",
};

/// Head of the log, as far as this process knows it.
pub(crate) const LOG_HEAD: Metric = Metric {
    name: "actum_log_head",
    kind: Kind::Gauge,
    labels: &[],
    unit: "events",
    meaning: "The last position of the log that this process knows of.",
};

/// Reads by outcome; see [`reads::OUTCOMES`].
pub(crate) const READS: Metric = Metric {
    name: "actum_reads_total",
    kind: Kind::Counter,
    labels: &["read_model", "outcome"],
    unit: "reads",
    meaning: "Reads of documents by outcome.",
};

/// Time of a read: waiting for the requested position, and loading the document.
pub(crate) const READ_SECONDS: Metric = Metric {
    name: "actum_read_seconds",
    kind: SECONDS,
    labels: &["read_model"],
    unit: "seconds",
    meaning: "Time from the arrival of a read to its result.",
};

/// Position of a partition. 0 in a process that does not own the partition.
pub(crate) const SUBSCRIPTION_POSITION: Metric = Metric {
    name: "actum_subscription_position",
    kind: Kind::Gauge,
    labels: &["subscription", "partition"],
    unit: "events",
    meaning: "Position up to which a partition owned by this process has applied the log.",
};

/// Lag of a partition in events. 0 in a process that does not own the partition, so sum over
/// processes.
pub(crate) const SUBSCRIPTION_LAG_EVENTS: Metric = Metric {
    name: "actum_subscription_lag_events",
    kind: Kind::Gauge,
    labels: &["subscription", "partition"],
    unit: "events",
    meaning: "Positions between the position of the partition and the head of the log.",
};

/// Lag of a partition in time. 0 in a process that does not own the partition.
pub(crate) const SUBSCRIPTION_LAG_SECONDS: Metric = Metric {
    name: "actum_subscription_lag_seconds",
    kind: Kind::Gauge,
    labels: &["subscription", "partition"],
    unit: "seconds",
    meaning: "Age of the oldest event that a partition has yet to process.",
};

/// Parked keys of a partition. 0 in a process that does not own the partition, so sum over
/// processes.
pub(crate) const SUBSCRIPTION_PARKED_KEYS: Metric = Metric {
    name: "actum_subscription_parked_keys",
    kind: Kind::Gauge,
    labels: &["subscription", "partition"],
    unit: "keys",
    meaning: "Parked keys: keys with an event that cannot be applied.",
};

/// Events that this process applied or queued behind a parked key.
pub(crate) const SUBSCRIPTION_EVENTS: Metric = Metric {
    name: "actum_subscription_events_total",
    kind: Kind::Counter,
    labels: &["subscription", "partition"],
    unit: "events",
    meaning: "Events that this process applied or queued behind a parked key.",
};

/// Saves of this process: transactions with changes and checkpoint.
pub(crate) const SUBSCRIPTION_SAVES: Metric = Metric {
    name: "actum_subscription_saves_total",
    kind: Kind::Counter,
    labels: &["subscription", "partition"],
    unit: "saves",
    meaning: "Transactions in which this process stored changes and checkpoint.",
};

/// Size of the largest document in the last save, for read models only; see
/// [`MAX_DOCUMENT_BYTES`](crate::store::MAX_DOCUMENT_BYTES).
pub(crate) const SUBSCRIPTION_LARGEST_DOCUMENT: Metric = Metric {
    name: "actum_subscription_largest_document_bytes",
    kind: Kind::Gauge,
    labels: &["subscription", "partition"],
    unit: "bytes",
    meaning: "Size of the largest document in the last save of this process.",
};

/// State of a partition; see [`subscriptions::STATES`].
pub(crate) const SUBSCRIPTION_STATE: Metric = Metric {
    name: "actum_subscription_state",
    kind: Kind::Gauge,
    labels: &["subscription", "partition", "state"],
    unit: "bool",
    meaning: "1 for the state that a partition is in, in this process, and 0 for the others.",
};

/// All metrics.
pub const ALL: [Metric; 20] = [
    COMMANDS,
    COMMAND_SECONDS,
    COMMANDS_IN_FLIGHT,
    LIVE_AGGREGATES,
    COMMIT_SECONDS,
    COMMIT_APPENDS,
    COMMITS_IN_DOUBT,
    EVENTS_APPENDED,
    WAL_BYTES,
    LOG_HEAD,
    READS,
    READ_SECONDS,
    SUBSCRIPTION_POSITION,
    SUBSCRIPTION_LAG_EVENTS,
    SUBSCRIPTION_LAG_SECONDS,
    SUBSCRIPTION_PARKED_KEYS,
    SUBSCRIPTION_EVENTS,
    SUBSCRIPTION_SAVES,
    SUBSCRIPTION_LARGEST_DOCUMENT,
    SUBSCRIPTION_STATE,
];

/// Registers the description of each metric with the recorder.
pub(crate) fn describe() {
    for Metric { name, kind, unit, meaning, .. } in ALL {
        let unit = Unit::from_string(unit).unwrap_or(Unit::Count);
        match kind {
            Kind::Counter => describe_counter!(name, unit, meaning),
            Kind::Gauge => describe_gauge!(name, unit, meaning),
            Kind::Histogram { .. } => describe_histogram!(name, unit, meaning),
        }
    }
}
