//! Time and ids: the only place where they enter the framework.
//!
//! All code that needs the time or a new id gets it from the [`Clock`] it was given, so a test can
//! control the time. Times are clamped to the years 1970 to 9999, because times outside of them
//! cannot be written in RFC 3339, as an HTTP date or in a UUIDv7.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use uuid::{ContextV7, Timestamp, Uuid};

/// Source of the current time and of new ids.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time in UTC.
    fn now(&self) -> OffsetDateTime;

    /// Returns a new id that was never returned before. Later ids sort after earlier ones (UUIDv7),
    /// because the index of event ids then grows at one end.
    fn new_id(&self) -> Uuid;

    /// Completes when the clock shows this time or a later one, if somebody moves it by hand. A clock that
    /// runs by itself never completes it, which is the default: callers wait with a timer too.
    fn is_moved_to(&self, _time: OffsetDateTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// Last microsecond of the year 9999, counted from 1970.
const LAST: Duration = Duration::new(253_402_300_799, 999_999_000);

/// The system's clock and random source. If the clock shows a year before 1970 or after 9999, `now`
/// returns the nearest time within.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    fn since_1970(time: SystemTime) -> Duration {
        time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST)
    }

    fn id_at(since_1970: Duration) -> Uuid {
        static COUNTED: Mutex<ContextV7> = Mutex::new(ContextV7::new());
        let (seconds, nanoseconds) = (since_1970.as_secs(), since_1970.subsec_nanos());
        Uuid::new_v7(Timestamp::from_unix(&COUNTED, seconds, nanoseconds))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        // `now_utc` would panic if the system's clock is outside of the years that it can
        // represent.
        OffsetDateTime::UNIX_EPOCH + Self::since_1970(SystemTime::now())
    }

    fn new_id(&self) -> Uuid {
        // `now_v7` would panic if the system's clock is before 1970.
        Self::id_at(Self::since_1970(SystemTime::now()))
    }
}

/// A user's clock with clamped times.
pub(crate) struct Clamped(pub(crate) Arc<dyn Clock>);

impl Clock for Clamped {
    fn now(&self) -> OffsetDateTime {
        clamped(self.0.now())
    }

    fn new_id(&self) -> Uuid {
        self.0.new_id()
    }

    fn is_moved_to(&self, time: OffsetDateTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.is_moved_to(time)
    }
}

/// Returns the nearest time in the years 1970 to 9999.
pub(crate) fn clamped(time: OffsetDateTime) -> OffsetDateTime {
    time.clamp(OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH + LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_outside_of_its_years_shows_the_nearest_time_and_makes_ids() {
        let second = Duration::from_secs(1);
        let times = [
            (UNIX_EPOCH - second, Duration::ZERO),
            (UNIX_EPOCH - Duration::from_secs(1 << 40), Duration::ZERO),
            (UNIX_EPOCH + second, second),
            (UNIX_EPOCH + LAST + second, LAST),
            (UNIX_EPOCH + Duration::from_secs(1 << 50), LAST),
        ];
        for (time, expected) in times {
            assert_eq!(SystemClock::since_1970(time), expected);
            let now = OffsetDateTime::UNIX_EPOCH + expected;
            now.format(&time::format_description::well_known::Rfc3339).unwrap();
            let ids = [(); 3].map(|()| SystemClock::id_at(expected));
            assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
            assert_eq!(ids[0].get_version_num(), 7);
        }
    }

    #[test]
    fn the_times_of_a_users_clock_are_clamped() {
        let first = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(clamped(first - Duration::from_secs(1)), first);
        let greatest = time::PrimitiveDateTime::MAX.assume_utc();
        assert_eq!(clamped(greatest), first + LAST);
        assert_eq!(clamped(first + Duration::from_secs(9)), first + Duration::from_secs(9));
    }
}
