//! Following the log: one reader of its tail per process, and a subscription for each follower.
//!
//! [`Tail`] reads each new stretch of the log once, however many follow it. A [`Subscription`]
//! hands its follower every event exactly once and in order: from the store by its own cursor
//! while it is behind or slow, from the tail when it keeps up. What a follower makes of the events
//! and where it keeps its checkpoint is its own affair.

mod checkpoint_check;
mod cursor;
mod page_cache;
mod reader;
pub(crate) mod sources;
mod tail;
#[cfg(test)]
pub(crate) mod test_store;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

pub(crate) use self::checkpoint_check::{event_at, same_log, verify};
pub(crate) use self::reader::Subscription;
pub(crate) use self::tail::Tail;

use crate::store::contract::PageLimit;

/// How the log is followed.
#[derive(Debug, Clone)]
pub(crate) struct TailSettings {
    /// The most events the tail reads at a time.
    pub(crate) page: usize,
    /// The most events a subscription that is behind reads at a time.
    pub(crate) catch_up_page: usize,
    /// Maximum bytes of either page.
    pub(crate) page_bytes: usize,
    /// How many such pages are kept for others who are behind too.
    pub(crate) shared_pages: usize,
    /// Maximum bytes of those pages together. The newest one stays in any case.
    pub(crate) shared_bytes: usize,
    /// How many of the tail's pages may wait for one follower; at one more it is on its own again.
    /// Enough for one that gathers: under load the pages are many and small.
    pub(crate) waiting_pages: usize,
    /// Maximum bytes of those pages. All followers wait for the same pages, so this bounds the memory
    /// of all of them together.
    pub(crate) waiting_bytes: usize,
    /// A subscription at most this many events behind the tail joins it.
    pub(crate) join_within: u64,
    /// The longest the tail waits for a hint before it looks for itself: a hint may be lost.
    pub(crate) poll: Duration,
    /// First delay after the store did not reply; it doubles up to `longest_delay`.
    pub(crate) first_delay: Duration,
    /// See `first_delay`.
    pub(crate) longest_delay: Duration,
}

impl Default for TailSettings {
    fn default() -> Self {
        Self {
            page: 1_000,
            catch_up_page: 4_096,
            page_bytes: PageLimit::DEFAULT_BYTES,
            shared_pages: 8,
            shared_bytes: 2 * PageLimit::DEFAULT_BYTES,
            waiting_pages: 64,
            waiting_bytes: 2 * PageLimit::DEFAULT_BYTES,
            join_within: 4_096,
            poll: Duration::from_millis(500),
            first_delay: Duration::from_millis(20),
            longest_delay: Duration::from_secs(2),
        }
    }
}

impl TailSettings {
    /// The defaults, with pages of at most so many bytes.
    pub(crate) fn with_page_bytes(page_bytes: usize) -> Self {
        let several = page_bytes.saturating_mul(2);
        Self { page_bytes, shared_bytes: several, waiting_bytes: several, ..Self::default() }
    }
}
