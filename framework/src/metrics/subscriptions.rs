//! Metrics of one partition of a read model or projection.

use metrics::{Counter, Gauge, counter, gauge};

use super::{
    SUBSCRIPTION_EVENTS, SUBSCRIPTION_LAG_EVENTS, SUBSCRIPTION_LAG_SECONDS,
    SUBSCRIPTION_LARGEST_DOCUMENT, SUBSCRIPTION_PARKED_KEYS, SUBSCRIPTION_POSITION,
    SUBSCRIPTION_SAVES, SUBSCRIPTION_STATE,
};

/// Possible states of a partition: the values of the label `state`.
pub(super) const STATES: [&str; 8] =
    ["catching_up", "live", "rebuilding", "parked", "halted", "paused", "standby", "stopped"];

type Label = (&'static str, String);

fn labels(subscription: &str, partition: u32) -> [Label; 2] {
    [("subscription", subscription.to_owned()), ("partition", partition.to_string())]
}

/// Counters that a partition updates while it works.
pub(crate) struct WorkMetrics {
    pub(crate) events: Counter,
    pub(crate) saves: Counter,
    pub(crate) largest_document: Gauge,
}

impl WorkMetrics {
    pub(crate) fn new(subscription: &str, partition: u32) -> Self {
        let labels = labels(subscription, partition);
        Self {
            events: counter!(SUBSCRIPTION_EVENTS.name, &labels),
            saves: counter!(SUBSCRIPTION_SAVES.name, &labels),
            largest_document: gauge!(SUBSCRIPTION_LARGEST_DOCUMENT.name, &labels),
        }
    }
}

/// Gauges that the observer sets once a second.
pub(crate) struct SubscriptionMetrics {
    position: Gauge,
    lag_events: Gauge,
    lag_seconds: Gauge,
    parked_keys: Gauge,
    /// Gauges in the order of [`STATES`].
    states: [Gauge; STATES.len()],
}

impl SubscriptionMetrics {
    pub(crate) fn new(subscription: &str, partition: u32) -> Self {
        let labels = labels(subscription, partition);
        let state = |state: &'static str| {
            let [subscription, partition] = labels.clone();
            gauge!(SUBSCRIPTION_STATE.name, &[subscription, partition, ("state", state.to_owned())])
        };
        Self {
            position: gauge!(SUBSCRIPTION_POSITION.name, &labels),
            lag_events: gauge!(SUBSCRIPTION_LAG_EVENTS.name, &labels),
            lag_seconds: gauge!(SUBSCRIPTION_LAG_SECONDS.name, &labels),
            parked_keys: gauge!(SUBSCRIPTION_PARKED_KEYS.name, &labels),
            // Created once, because creating a handle needs a look-up and an allocation.
            states: STATES.map(state),
        }
    }

    /// Sets all gauges.
    pub(crate) fn observe(
        &self,
        position: u64,
        lag_events: u64,
        lag_seconds: f64,
        parked_keys: usize,
        state: &str,
    ) {
        self.position.set(position as f64);
        self.lag_events.set(lag_events as f64);
        self.lag_seconds.set(lag_seconds);
        self.parked_keys.set(parked_keys as f64);
        // All of them, so that the gauge of the previous state returns to 0.
        for (name, gauge) in STATES.iter().zip(&self.states) {
            gauge.set(f64::from(u8::from(*name == state)));
        }
    }
}
