//! Metrics of the reads of one read model.

use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};

use super::{READ_SECONDS, READS};
use crate::error::ReadError;

/// Possible outcomes of a read: the values of the label `outcome`.
pub(super) const OUTCOMES: [&str; 9] = [
    "found",
    "not_found",
    "not_yet",
    "parked",
    "halted",
    "unavailable",
    "failed",
    "overloaded",
    "stopping",
];

/// Metric handles of one read model, created once.
pub(crate) struct ReadMetrics {
    /// Counters in the order of [`OUTCOMES`].
    outcomes: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

impl ReadMetrics {
    pub(crate) fn new(model: &'static str) -> Self {
        Self {
            // Created once, because creating a handle needs a look-up and an allocation.
            outcomes: OUTCOMES
                .map(|outcome| counter!(READS.name, "read_model" => model, "outcome" => outcome)),
            seconds: histogram!(READ_SECONDS.name, "read_model" => model),
        }
    }

    pub(crate) fn answered<T>(&self, arrived: Instant, answer: &Result<T, ReadError>) {
        let outcome = outcome(answer);
        let index = OUTCOMES.iter().position(|name| *name == outcome);
        if let Some(counter) = index.and_then(|index| self.outcomes.get(index)) {
            counter.increment(1);
        }
        self.seconds.record(arrived.elapsed());
    }
}

fn outcome<T>(answer: &Result<T, ReadError>) -> &'static str {
    match answer {
        Ok(_) => "found",
        Err(ReadError::NotFound { .. } | ReadError::InvalidId(_)) => "not_found",
        Err(ReadError::NotYet { .. }) => "not_yet",
        Err(ReadError::Parked { .. }) => "parked",
        Err(ReadError::Halted { .. }) => "halted",
        Err(ReadError::Unavailable(_)) => "unavailable",
        Err(ReadError::Failed { .. }) => "failed",
        Err(ReadError::Overloaded(_) | ReadError::NoLiveStream) => "overloaded",
        // These cannot happen here: a model that is not registered has no metrics, and only live
        // streams return `Lost`.
        Err(ReadError::Stopping | ReadError::NotRegistered(_) | ReadError::Lost { .. }) => {
            "stopping"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::StoreError;
    use crate::event::{GlobalPosition, StreamId};

    #[test]
    fn every_error_of_a_read_is_counted_under_an_outcome() {
        let (model, key, reason) = ("m", String::from("k"), String::from("r"));
        let at = GlobalPosition(1);
        let invalid = StreamId::new("", "").unwrap_err();
        let errors = [
            ReadError::NotFound { model, key: key.clone(), reflects: at },
            ReadError::NotYet {
                model,
                wanted: at,
                reached: at,
                waited: Duration::ZERO,
                paused: None,
            },
            ReadError::Halted { model, position: at, reason: reason.clone() },
            ReadError::Parked { model, key, position: at, reason: reason.clone(), reflects: at },
            ReadError::Failed { model, reason: reason.clone() },
            ReadError::Unavailable(StoreError::Unavailable(reason)),
            ReadError::Overloaded(model),
            ReadError::NotRegistered(model),
            ReadError::InvalidId(invalid),
            ReadError::Lost { model, after: at },
            ReadError::Stopping,
        ];
        for error in errors {
            let outcome = outcome::<()>(&Err(error.clone()));
            assert!(OUTCOMES.contains(&outcome), "{error}: {outcome}");
        }
        assert!(OUTCOMES.contains(&outcome(&Ok(()))));
    }
}
