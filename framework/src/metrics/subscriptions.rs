//! What is measured of one partition of a read model or projection.

use metrics::{Gauge, gauge};

use super::{SUBSCRIPTION_LAG_EVENTS, SUBSCRIPTION_POSITION, SUBSCRIPTION_STATE};

/// How a partition can be doing: the values of the label `state`.
pub const STATES: [&str; 7] =
    ["catching_up", "live", "rebuilding", "parked", "halted", "standby", "stopped"];

/// The handles, made once for each partition.
pub(crate) struct SubscriptionMetrics {
    position: Gauge,
    lag_events: Gauge,
    /// As [`STATES`].
    states: [Gauge; STATES.len()],
}

impl SubscriptionMetrics {
    pub(crate) fn new(subscription: &str, partition: u32) -> Self {
        let partition = partition.to_string();
        let labels = [("subscription", subscription.to_owned()), ("partition", partition)];
        let state = |state: &'static str| {
            let [subscription, partition] = labels.clone();
            gauge!(SUBSCRIPTION_STATE.name, &[subscription, partition, ("state", state.to_owned())])
        };
        Self {
            position: gauge!(SUBSCRIPTION_POSITION.name, &labels),
            lag_events: gauge!(SUBSCRIPTION_LAG_EVENTS.name, &labels),
            states: STATES.map(state),
        }
    }

    /// As it is now.
    pub(crate) fn observe(&self, position: u64, lag_events: u64, state: &str) {
        self.position.set(position as f64);
        self.lag_events.set(lag_events as f64);
        for (name, gauge) in STATES.iter().zip(&self.states) {
            gauge.set(f64::from(u8::from(*name == state)));
        }
    }
}
