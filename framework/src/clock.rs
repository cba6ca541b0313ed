//! The one seam through which time and new ids enter.
//!
//! Everything that asks "when" or needs an identity asks the [`Clock`] it was given, so a test
//! moves time by hand and a whole application can be run again with the same answers.

use time::OffsetDateTime;
use uuid::Uuid;

/// Tells the time and makes ids.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> OffsetDateTime;

    /// A new id, never given out before; ids made later sort later (UUIDv7).
    fn new_id(&self) -> Uuid;
}

/// The machine's clock and random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
