//! Subscriptions: one reader of the log's tail per process, and a subscription for each follower.
//!
//! [`Tail`] reads each new page of the log once, however many followers there are. A
//! [`Subscription`] returns every event to its follower exactly once and in order. It reads from
//! the store by its own cursor while it is behind or slow, and from the tail when it keeps up. The
//! follower decides how to process the events and where to store its checkpoint.

mod checkpoint_check;
mod cursor;
mod keys;
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

/// Settings of the tail and its subscriptions.
#[derive(Debug, Clone)]
pub(crate) struct TailSettings {
    /// Maximum number of events that the tail reads at a time.
    pub(crate) page: usize,
    /// Maximum number of events that a subscription reads at a time while it is behind.
    pub(crate) catch_up_page: usize,
    /// Maximum bytes of each of these pages.
    pub(crate) page_bytes: usize,
    /// Number of pages that are cached for other followers that are behind too.
    pub(crate) shared_pages: usize,
    /// Maximum bytes of the cached pages together. The newest one always stays.
    pub(crate) shared_bytes: usize,
    /// Maximum number of the tail's pages that are queued for one follower. If another one is due,
    /// the follower reads by its own cursor again. 64 by default, because under load the pages are
    /// many and small. A follower may collect several before it continues.
    pub(crate) waiting_pages: usize,
    /// Maximum bytes of the queued pages. All followers queue the same pages, so this limits the
    /// memory of all of them together.
    pub(crate) waiting_bytes: usize,
    /// Maximum distance from the tail, in events, at which a subscription joins it.
    pub(crate) join_within: u64,
    /// Polling interval of the tail. It polls because a hint from the store may be lost.
    pub(crate) poll: Duration,
    /// First backoff after a failed read of the store. It doubles up to `longest_delay`.
    pub(crate) first_delay: Duration,
    /// Maximum backoff after a failed read of the store.
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
    /// Returns the defaults, with pages of at most `page_bytes` bytes.
    pub(crate) fn with_page_bytes(page_bytes: usize) -> Self {
        let several = page_bytes.saturating_mul(2);
        Self { page_bytes, shared_bytes: several, waiting_bytes: several, ..Self::default() }
    }
}
