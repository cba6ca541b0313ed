//! A clock for tests that only moves when the test moves it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;

/// A manually controlled clock. Clones share the same time. What waits for a time, such as a deadline of a
/// process manager, happens when the clock has reached it.
///
/// Ids are UUIDv7 of the current time, with a counter instead of random bits. So each run of a test
/// creates the same ids, and they ascend as long as the time is not set back.
///
/// ```
/// use std::time::Duration;
/// use actum::Application;
/// use actum::store::MemoryStore;
/// use actum::testing::ManualClock;
///
/// let clock = ManualClock::new();
/// // The store records the time of events. The application uses the clock for ids and due times.
/// let store = MemoryStore::with_clock(clock.clone());
/// let builder = Application::builder(store).clock(clock.clone());
/// clock.advance(Duration::from_secs(86_400)); // the next event is recorded a day later
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    micros: watch::Sender<u64>,
    ids: Arc<AtomicU64>,
}

impl ManualClock {
    /// Creates a clock at the beginning of 1970.
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        self.micros.send_modify(|micros| *micros += by.as_micros() as u64);
    }

    /// Sets the clock, possibly back. Times before 1970 are set to 1970.
    pub fn set(&self, to: OffsetDateTime) {
        let micros = (to - OffsetDateTime::UNIX_EPOCH).whole_microseconds();
        self.micros.send_replace(u64::try_from(micros).unwrap_or(0));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_micros(*self.micros.borrow())
    }

    fn new_id(&self) -> Uuid {
        let millis = *self.micros.borrow() / 1000;
        let count = self.ids.fetch_add(1, Ordering::Relaxed);
        // The version and variant bits overwrite the top of both halves. The counter is in the bits
        // below.
        let mut lower = [0; 10];
        lower[2..].copy_from_slice(&count.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &lower).into_uuid()
    }

    fn is_moved_to(&self, time: OffsetDateTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut moved = self.micros.subscribe();
        Box::pin(async move {
            // Cannot fail, because this clock has the sender.
            let _ = moved.wait_for(|_| self.now() >= time).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_and_come_again_in_the_next_run() {
        let ids = || {
            let clock = ManualClock::new();
            let mut ids: Vec<_> = (0..1000).map(|_| clock.new_id()).collect();
            clock.advance(Duration::from_secs(1));
            ids.extend((0..1000).map(|_| clock.new_id()));
            ids
        };
        let made = ids();
        assert!(made.is_sorted_by(|a, b| a < b), "they do not ascend");
        assert!(made.iter().all(|id| id.get_version_num() == 7));
        assert_eq!(made, ids());
    }

    #[test]
    fn a_clock_stands_until_it_is_moved_and_clones_move_with_it() {
        let clock = ManualClock::new();
        let other = clock.clone();
        assert_eq!(clock.now(), OffsetDateTime::UNIX_EPOCH);
        other.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().unix_timestamp_nanos(), 1_500_000_000);
        clock.set(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(9));
        assert_eq!(other.now().unix_timestamp(), 9);
        clock.set(OffsetDateTime::UNIX_EPOCH - Duration::from_secs(9));
        assert_eq!(clock.now(), OffsetDateTime::UNIX_EPOCH);
    }
}
