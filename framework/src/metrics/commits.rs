//! Metrics of the writer of one store.

use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};

use super::{COMMIT_APPENDS, COMMIT_SECONDS, COMMITS_IN_DOUBT, EVENTS_APPENDED};

/// Metric handles of one store, created once.
#[derive(Clone)]
pub(crate) struct CommitMetrics {
    seconds: Histogram,
    appends: Histogram,
    in_doubt: Counter,
    events: Counter,
}

impl CommitMetrics {
    pub(crate) fn new() -> Self {
        Self {
            seconds: histogram!(COMMIT_SECONDS.name),
            appends: histogram!(COMMIT_APPENDS.name),
            in_doubt: counter!(COMMITS_IN_DOUBT.name),
            events: counter!(EVENTS_APPENDED.name),
        }
    }

    /// Records a settled batch: its number of appends, and the number of events that were stored.
    pub(crate) fn settled(&self, began: Instant, appends: usize, events: usize) {
        self.seconds.record(began.elapsed());
        if appends > 0 {
            self.appends.record(appends as f64);
        }
        self.events.increment(events as u64);
    }

    pub(crate) fn in_doubt(&self) {
        self.in_doubt.increment(1);
    }
}
