//! The gauges: what changes by itself is looked at once a second, whether somebody asks or not.

use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Gauge, gauge};

use super::Inner;
use crate::metrics::{COMMANDS_IN_FLIGHT, LOG_HEAD};

const EVERY: Duration = Duration::from_secs(1);

/// Keeps them up to date as long as somebody holds the application.
pub(super) fn keep(inner: &Arc<Inner>) {
    let gauges = Gauges {
        in_flight: gauge!(COMMANDS_IN_FLIGHT.name),
        head: gauge!(LOG_HEAD.name),
        inner: Arc::downgrade(inner),
    };
    inner.arbiters.spawn(0, async move {
        while gauges.observe().is_some() {
            tokio::time::sleep(EVERY).await;
        }
    });
}

struct Gauges {
    in_flight: Gauge,
    head: Gauge,
    inner: Weak<Inner>,
}

impl Gauges {
    fn observe(&self) -> Option<()> {
        let inner = self.inner.upgrade()?;
        let head = *inner.store.watch_head().borrow();
        self.head.set(head.0 as f64);
        self.in_flight.set(inner.admission.inside() as f64);
        inner.routers.values().for_each(|router| router.observe());
        inner.read_models.values().for_each(|model| model.observe(head));
        Some(())
    }
}
