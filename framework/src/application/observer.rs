//! Observation of this process, once a second: its gauges, and the speed of its partitions.
//!
//! Only the partitions that this process owns are observed. For others only the stored values are
//! known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use metrics::{Gauge, gauge};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

use super::running::Running;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::metrics::{COMMANDS_IN_FLIGHT, LOG_HEAD, SubscriptionMetrics};
use crate::partition::{FollowerControl, Progress, State};
use crate::status::SubscriptionState;
use crate::store::contract::{Filter, PageLimit, PartitionId, Store};

const EVERY: Duration = Duration::from_secs(1);

/// Number of observations from which a rate is computed.
const WINDOW: usize = 10;

/// Timeout of the store during an observation.
const ASK_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Observer {
    in_flight: Gauge,
    head: Gauge,
    partitions: HashMap<PartitionId, Observed>,
}

/// A partition of this program.
struct Observed {
    metrics: SubscriptionMetrics,
    movement: Mutex<Movement>,
}

impl Observed {
    /// No code under the lock can panic halfway, so a poisoned lock is still valid.
    fn movement(&self) -> MutexGuard<'_, Movement> {
        self.movement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer {
    pub(super) fn new<'a>(controls: impl Iterator<Item = &'a Arc<dyn FollowerControl>>) -> Self {
        let ids = controls.flat_map(|control| partitions(&**control)).map(|(id, _)| id);
        let observed = |id: PartitionId| {
            let metrics = SubscriptionMetrics::new(&id.model, id.number);
            (id, Observed { metrics, movement: Mutex::default() })
        };
        Self {
            in_flight: gauge!(COMMANDS_IN_FLIGHT.name),
            head: gauge!(LOG_HEAD.name),
            partitions: ids.map(observed).collect(),
        }
    }

    /// Returns the movement of a partition.
    pub(super) fn movement(&self, id: &PartitionId) -> Movement {
        self.partitions.get(id).map(|observed| observed.movement().clone()).unwrap_or_default()
    }

    /// Observes once.
    async fn look(&self, inner: &Running) {
        let head = *inner.store.watch_head().borrow();
        self.head.set(head.0 as f64);
        self.in_flight.set(inner.admission.inside() as f64);
        inner.routers.values().for_each(|router| router.observe());
        for control in &inner.read_side {
            for (id, progress) in partitions(&**control) {
                let Some(observed) = self.partitions.get(&id) else { continue };
                let position = progress.applied;
                let waits = progress.is_owner && position < head;
                let asked = waiting_since(&*inner.store, control.filter(), position);
                let since = match waits {
                    true => timeout(ASK_WITHIN, asked).await.ok().and_then(Result::ok),
                    false => Some(None),
                };
                let state = state(&progress, inner.serves(&**control));
                observed.look(&progress, state, head, since, inner.clock.now());
            }
        }
    }
}

impl Observed {
    /// `since` is `None` if the store did not respond. Then the earlier value stays, so the lag
    /// continues to grow.
    fn look(
        &self,
        progress: &Progress,
        state: SubscriptionState,
        head: GlobalPosition,
        since: Option<Option<OffsetDateTime>>,
        now: OffsetDateTime,
    ) {
        let mut movement = self.movement();
        if !progress.is_owner {
            *movement = Movement::default();
            return self.metrics.observe(0, 0, 0.0, 0, state.name());
        }
        movement.look(Instant::now(), progress.applied);
        movement.waiting_since = since.unwrap_or(movement.waiting_since);
        let (position, lag) = (progress.applied.0, head.0.saturating_sub(progress.applied.0));
        let lag_seconds = movement.lag_seconds(now);
        self.metrics.observe(position, lag, lag_seconds, progress.parked_keys, state.name());
    }
}

/// Observes periodically until the application is dropped.
pub(super) fn observe(inner: &Arc<Running>) {
    let weak: Weak<Running> = Arc::downgrade(inner);
    inner.arbiters.spawn(0, async move {
        while let Some(inner) = weak.upgrade() {
            inner.observer.look(&inner).await;
            drop(inner);
            sleep(EVERY).await;
        }
    });
}

/// Returns the partitions of a read model or projection with their progress.
pub(super) fn partitions(
    control: &dyn FollowerControl,
) -> impl Iterator<Item = (PartitionId, Progress)> {
    let model = control.versioned_name();
    let numbered = (0..).zip(control.partitions());
    numbered.map(move |(number, progress)| (PartitionId::new(model.clone(), number), progress))
}

impl Running {
    /// Returns true if this version is active, as far as this process knows.
    pub(super) fn serves(&self, control: &dyn FollowerControl) -> Option<bool> {
        let switch = self.switches.get(control.name())?;
        Some(*switch.serving().borrow() == control.version())
    }
}

/// Computes the state of a partition in this process. `serves` is true if its version is active.
pub(super) fn state(progress: &Progress, serves: Option<bool>) -> SubscriptionState {
    match progress.state {
        State::Halted { .. } => SubscriptionState::Halted,
        State::Stopped => SubscriptionState::Stopped,
        State::CatchingUp | State::Live if !progress.is_owner => match progress.pause {
            Some(_) => SubscriptionState::Paused,
            None => SubscriptionState::Standby,
        },
        State::CatchingUp if serves == Some(false) => SubscriptionState::Rebuilding,
        State::CatchingUp => SubscriptionState::CatchingUp,
        State::Live if progress.parked_keys > 0 => SubscriptionState::Parked,
        State::Live => SubscriptionState::Live,
    }
}

/// Movement of a partition while this process owned it.
#[derive(Debug, Clone, Default)]
pub(super) struct Movement {
    positions: VecDeque<(Instant, GlobalPosition)>,
    /// Time at which the oldest unprocessed event was recorded, as of the last observation.
    waiting_since: Option<OffsetDateTime>,
}

impl Movement {
    /// Positions per second; `None` before the second observation.
    pub(super) fn rate(&self) -> Option<f64> {
        let ((began, from), (ended, to)) = (self.positions.front()?, self.positions.back()?);
        let seconds = ended.duration_since(*began).as_secs_f64();
        (seconds > 0.0).then(|| to.0.saturating_sub(from.0) as f64 / seconds)
    }

    pub(super) fn lag_seconds(&self, now: OffsetDateTime) -> f64 {
        self.waiting_since.map_or(0.0, |since| age(since, now))
    }

    fn look(&mut self, at: Instant, position: GlobalPosition) {
        if self.positions.len() == WINDOW {
            self.positions.pop_front();
        }
        self.positions.push_back((at, position));
    }
}

/// Returns the age of an event in seconds. Clocks of processes differ, so an event may seem to come
/// from the future.
pub(super) fn age(since: OffsetDateTime, now: OffsetDateTime) -> f64 {
    (now - since).as_seconds_f64().max(0.0)
}

/// Returns the time at which the first event after a position that matches the filter was recorded,
/// if there is one.
///
/// # Errors
/// The store is not available.
pub(super) async fn waiting_since(
    store: &dyn Store,
    filter: &Filter,
    mut after: GlobalPosition,
) -> Result<Option<OffsetDateTime>, StoreError> {
    loop {
        let page = store.read_all(after, filter, PageLimit::events(1)).await?;
        if let Some(event) = page.events.first() {
            return Ok(Some(event.recorded_at));
        }
        if page.scanned_to == after {
            return Ok(None);
        }
        after = page.scanned_to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(positions: impl IntoIterator<Item = u64>) -> Movement {
        let (mut movement, began) = (Movement::default(), Instant::now());
        for (second, position) in (0..).zip(positions) {
            movement.look(began + Duration::from_secs(second), GlobalPosition(position));
        }
        movement
    }

    #[test]
    fn a_rate_is_that_of_the_last_looks_alone() {
        assert_eq!(moved([]).rate(), None);
        assert_eq!(moved([7]).rate(), None);
        assert_eq!(moved([10, 30, 40]).rate(), Some(15.0));
        let slower = (0..20).map(|second| 1_000 * second);
        let stood = std::iter::repeat_n(19_000, WINDOW);
        assert_eq!(moved(slower.chain(stood)).rate(), Some(0.0));
    }

    #[test]
    fn an_event_from_the_future_is_no_lag() {
        let now = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(age(now, now + Duration::from_millis(1_500)), 1.5);
        assert_eq!(age(now + Duration::from_secs(1), now), 0.0);
    }
}
