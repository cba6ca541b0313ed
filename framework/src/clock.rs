//! The one seam through which time and new ids enter.
//!
//! All code that needs the time or an identity gets it from the [`Clock`] it was given, so a test
//! moves time by hand. Times are clamped to the years 1970 to 9999, because nothing outside of them
//! can be written as RFC 3339, as an HTTP date or in a UUIDv7.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use uuid::{ContextV7, Timestamp, Uuid};

/// Tells the time and makes ids.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in UTC.
    fn now(&self) -> OffsetDateTime;

    /// A new id, never returned before. Ids made later sort later (UUIDv7).
    fn new_id(&self) -> Uuid;
}

/// The last microsecond of the year 9999, counted from 1970.
const LAST: Duration = Duration::new(253_402_300_799, 999_999_000);

/// The machine's clock and random source. A machine whose clock shows a year before 1970 or after
/// 9999 gets the nearest time between.
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
        // Not `now_utc`, which panics outside of the years that it can hold.
        OffsetDateTime::UNIX_EPOCH + Self::since_1970(SystemTime::now())
    }

    fn new_id(&self) -> Uuid {
        // Not `now_v7`, which panics before 1970.
        Self::id_at(Self::since_1970(SystemTime::now()))
    }
}

/// A user's clock, with its times clamped.
pub(crate) struct Clamped(pub(crate) Arc<dyn Clock>);

impl Clock for Clamped {
    fn now(&self) -> OffsetDateTime {
        clamped(self.0.now())
    }

    fn new_id(&self) -> Uuid {
        self.0.new_id()
    }
}

/// The nearest time in the years 1970 to 9999.
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
