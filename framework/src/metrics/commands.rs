//! Metrics of the commands to one aggregate type.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{COMMAND_SECONDS, COMMANDS, LIVE_AGGREGATES};
use crate::command::Committed;
use crate::error::CommandError;

/// Possible outcomes of a command: the values of the label `outcome`. `replayed`: carried out
/// earlier under the same key. `abandoned`: the caller went away before the result.
pub(super) const OUTCOMES: [&str; 16] = [
    "committed",
    "replayed",
    "refused",
    "not_expected",
    "conflict",
    "still_running",
    "key_reused",
    "claimed",
    "overloaded",
    "unavailable",
    "unknown",
    "quarantined",
    "panicked",
    "invalid",
    "stopping",
    ABANDONED,
];

const ABANDONED: &str = "abandoned";

/// Metric handles of one aggregate type, created once.
pub(crate) struct CommandMetrics {
    /// Counters in the order of [`OUTCOMES`].
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
    live: Gauge,
}

impl CommandMetrics {
    pub(crate) fn new(aggregate: &'static str) -> Self {
        Self {
            // Created once, because creating a handle needs a look-up and an allocation.
            outcomes: OUTCOMES.map(
                |outcome| counter!(COMMANDS.name, "aggregate" => aggregate, "outcome" => outcome),
            ),
            seconds: histogram!(COMMAND_SECONDS.name, "aggregate" => aggregate),
            live: gauge!(LIVE_AGGREGATES.name, "aggregate" => aggregate),
        }
    }

    /// Starts the measurement of a command.
    pub(crate) fn arrived(&self) -> Arrived<'_> {
        Arrived { metrics: self, at: Instant::now(), outcome: ABANDONED }
    }

    pub(crate) fn live(&self, instances: usize) {
        self.live.set(instances as f64);
    }
}

/// A command that is being measured. It is counted when this is dropped, so that abandoned ones
/// count too.
pub(crate) struct Arrived<'a> {
    metrics: &'a CommandMetrics,
    at: Instant,
    outcome: &'static str,
}

impl Arrived<'_> {
    pub(crate) fn answered<E>(mut self, answer: &Result<Committed, CommandError<E>>) {
        self.outcome = outcome(answer);
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        let index = OUTCOMES.iter().position(|outcome| *outcome == self.outcome);
        if let Some(counter) = index.and_then(|index| self.metrics.outcomes.get(index)) {
            counter.increment(1);
        }
        // Commands that were refused at admission are fast and would distort the others' times.
        if !matches!(self.outcome, "overloaded" | "stopping" | ABANDONED) {
            self.metrics.seconds.record(self.at.elapsed());
        }
    }
}

fn outcome<E>(answer: &Result<Committed, CommandError<E>>) -> &'static str {
    match answer {
        Ok(Committed { replayed: false, .. }) => "committed",
        Ok(Committed { replayed: true, .. }) => "replayed",
        Err(CommandError::Refused(_) | CommandError::RefusedBefore { .. }) => "refused",
        Err(CommandError::NotExpected { .. }) => "not_expected",
        Err(CommandError::Conflict { .. }) => "conflict",
        Err(CommandError::StillRunning) => "still_running",
        Err(CommandError::KeyReused { .. }) => "key_reused",
        Err(CommandError::Claimed { .. }) => "claimed",
        Err(CommandError::Overloaded(_) | CommandError::ClientLimit(_)) => "overloaded",
        Err(CommandError::Unavailable(_)) => "unavailable",
        Err(CommandError::Unknown) => "unknown",
        Err(CommandError::Quarantined { .. }) => "quarantined",
        Err(CommandError::Panicked { .. }) => "panicked",
        Err(
            CommandError::Unstorable { .. }
            | CommandError::InvalidId(_)
            | CommandError::InvalidKey(_)
            | CommandError::NotRegistered(_),
        ) => "invalid",
        Err(CommandError::Stopping) => "stopping",
    }
}
