//! What is measured of the commands to one aggregate type.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{COMMAND_SECONDS, COMMANDS, LIVE_AGGREGATES};
use crate::command::Committed;
use crate::error::CommandError;

/// What can become of a command: the values of the label `outcome`. `replayed` was carried out
/// before; of an `abandoned` one the caller left before the answer.
pub const OUTCOMES: [&str; 16] = [
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

/// The handles, made once for each aggregate type.
pub(crate) struct CommandMetrics {
    /// As [`OUTCOMES`].
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
    live: Gauge,
}

impl CommandMetrics {
    pub(crate) fn new(aggregate: &'static str) -> Self {
        Self {
            outcomes: OUTCOMES.map(
                |outcome| counter!(COMMANDS.name, "aggregate" => aggregate, "outcome" => outcome),
            ),
            seconds: histogram!(COMMAND_SECONDS.name, "aggregate" => aggregate),
            live: gauge!(LIVE_AGGREGATES.name, "aggregate" => aggregate),
        }
    }

    /// A command has arrived.
    pub(crate) fn arrived(&self) -> Arrived<'_> {
        Arrived { metrics: self, at: Instant::now(), outcome: ABANDONED }
    }

    pub(crate) fn live(&self, instances: usize) {
        self.live.set(instances as f64);
    }
}

/// A command that is counted when this is dropped.
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
        // One that is turned away at the door would make the others look fast.
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
