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

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    meaning: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, unit, meaning }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    meaning: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, unit, meaning }
}

const fn seconds(
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, kind: SECONDS, labels, unit: "seconds", meaning }
}

pub(crate) const COMMANDS: Metric =
    counter("actum_commands_total", &["aggregate", "outcome"], "commands", "Commands by outcome.");
pub(crate) const COMMAND_SECONDS: Metric = seconds(
    "actum_command_seconds",
    &["aggregate"],
    "Time from the arrival of a command to its result.",
);
pub(crate) const COMMANDS_IN_FLIGHT: Metric = gauge(
    "actum_commands_in_flight",
    &[],
    "commands",
    "Admitted commands that have no result yet.",
);
pub(crate) const LIVE_AGGREGATES: Metric =
    gauge("actum_live_aggregates", &["aggregate"], "aggregates", "Aggregate instances in memory.");
pub(crate) const COMMIT_SECONDS: Metric = seconds(
    "actum_commit_seconds",
    &[],
    "Time of writing one batch until its outcome is known, including retries.",
);
pub(crate) const COMMIT_APPENDS: Metric = Metric {
    kind: SIZES,
    ..counter("actum_commit_appends", &[], "appends", "Appends in one batch.")
};
pub(crate) const COMMITS_IN_DOUBT: Metric = counter(
    "actum_commits_in_doubt_total",
    &[],
    "commits",
    "Times the outcome of a commit was unknown and its batch had to be sent again.",
);
pub(crate) const EVENTS_APPENDED: Metric =
    counter("actum_events_appended_total", &[], "events", "Events that this process stored.");
pub(crate) const WAL_BYTES: Metric = gauge(
    "actum_wal_bytes",
    &[],
    "bytes",
    "Size of SQLite's write-ahead log after the last commit.",
);
pub(crate) const LOG_HEAD: Metric = gauge(
    "actum_log_head",
    &[],
    "events",
    "The last position of the log that this process knows of.",
);
pub(crate) const READS: Metric = counter(
    "actum_reads_total",
    &["read_model", "outcome"],
    "reads",
    "Reads of documents by outcome.",
);
pub(crate) const READ_SECONDS: Metric = seconds(
    "actum_read_seconds",
    &["read_model"],
    "Time from the arrival of a read to its result.",
);
pub(crate) const SUBSCRIPTION_POSITION: Metric = gauge(
    "actum_subscription_position",
    &["subscription", "partition"],
    "events",
    "Position up to which a partition owned by this process has applied the log.",
);
pub(crate) const SUBSCRIPTION_LAG_EVENTS: Metric = gauge(
    "actum_subscription_lag_events",
    &["subscription", "partition"],
    "events",
    "Positions between the position of the partition and the head of the log.",
);
pub(crate) const SUBSCRIPTION_LAG_SECONDS: Metric = gauge(
    "actum_subscription_lag_seconds",
    &["subscription", "partition"],
    "seconds",
    "Age of the oldest event that a partition has yet to process.",
);
pub(crate) const SUBSCRIPTION_PARKED_KEYS: Metric = gauge(
    "actum_subscription_parked_keys",
    &["subscription", "partition"],
    "keys",
    "Parked keys: keys with an event that cannot be applied.",
);
pub(crate) const SUBSCRIPTION_EVENTS: Metric = counter(
    "actum_subscription_events_total",
    &["subscription", "partition"],
    "events",
    "Events that this process applied or queued behind a parked key.",
);
pub(crate) const SUBSCRIPTION_SAVES: Metric = counter(
    "actum_subscription_saves_total",
    &["subscription", "partition"],
    "saves",
    "Transactions in which this process stored changes and checkpoint.",
);
pub(crate) const SUBSCRIPTION_LARGEST_DOCUMENT: Metric = gauge(
    "actum_subscription_largest_document_bytes",
    &["subscription", "partition"],
    "bytes",
    "Size of the largest document in the last save of this process.",
);
pub(crate) const SUBSCRIPTION_STATE: Metric = gauge(
    "actum_subscription_state",
    &["subscription", "partition", "state"],
    "bool",
    "1 for the state that a partition is in, in this process, and 0 for the others.",
);

/// All metrics. [`Metric::values`] lists the values of the labels `outcome` and `state`.
///
/// | name | labels | meaning |
/// |---|---|---|
/// | `actum_commands_total` | `aggregate`, `outcome` | Commands by outcome. |
/// | `actum_command_seconds` | `aggregate` | Time that a caller waited. Recorded for commands that were admitted and have a result. |
/// | `actum_commands_in_flight` |  | Admitted commands without a result yet. Never more than `Settings::commands_in_flight`. |
/// | `actum_live_aggregates` | `aggregate` | Live instances of an aggregate type. About `Settings::live_aggregates` at most. |
/// | `actum_commit_seconds` |  | Time from the start of writing a batch until its outcome is certain. |
/// | `actum_commit_appends` |  | Appends per batch: shows how well group commit shares its fsyncs. Batches that only save documents are not recorded. |
/// | `actum_commits_in_doubt_total` |  | Commits with an unknown outcome. Each batch is sent again until the store responds. |
/// | `actum_events_appended_total` |  | Events that this process appended. |
/// | `actum_wal_bytes` |  | Size of SQLite's write-ahead log; only with SQLite. It grows while another program keeps a read transaction open. |
/// | `actum_log_head` |  | Head of the log, as far as this process knows it. |
/// | `actum_reads_total` | `read_model`, `outcome` | Reads by outcome. |
/// | `actum_read_seconds` | `read_model` | Time of a read: waiting for the requested position, and loading the document. |
/// | `actum_subscription_position` | `subscription`, `partition` | Position of a partition. 0 in a process that does not own the partition. |
/// | `actum_subscription_lag_events` | `subscription`, `partition` | Lag of a partition in events. 0 in a process that does not own the partition, so sum over processes. |
/// | `actum_subscription_lag_seconds` | `subscription`, `partition` | Lag of a partition in time. 0 in a process that does not own the partition. |
/// | `actum_subscription_parked_keys` | `subscription`, `partition` | Parked keys of a partition. 0 in a process that does not own the partition, so sum over processes. |
/// | `actum_subscription_events_total` | `subscription`, `partition` | Events that this process applied or queued behind a parked key. |
/// | `actum_subscription_saves_total` | `subscription`, `partition` | Saves of this process: transactions with changes and checkpoint. |
/// | `actum_subscription_largest_document_bytes` | `subscription`, `partition` | Size of the largest document in the last save, for read models only; see `MAX_DOCUMENT_BYTES`. |
/// | `actum_subscription_state` | `subscription`, `partition`, `state` | State of a partition. |
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_documented_with_its_labels() {
        for Metric { name, labels, .. } in ALL {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let row = format!("/// | `{name}` | {} |", labels.join(", "));
            assert!(include_str!("mod.rs").contains(&row), "{row}");
        }
    }
}
