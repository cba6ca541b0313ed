//! Pacing: every wait, interval and limit of what follows the log, in one place.

use std::time::Duration;

use super::parking::ParkingSettings;
use crate::backoff::Backoff;

/// Waits, intervals and limits of one follower.
#[derive(Debug, Clone)]
pub(crate) struct Pacing {
    /// Time after which a lease that is not renewed expires.
    pub(crate) lease_for: Duration,
    /// Interval at which a process renews its leases and looks at its assignment. At most a third
    /// of `lease_for`, so that two renewals may fail before a lease expires.
    pub(crate) renew_every: Duration,
    /// First delay after the store failed; it doubles up to `longest_delay`.
    pub(crate) first_delay: Duration,
    /// See `first_delay`.
    pub(crate) longest_delay: Duration,
    /// Interval at which a process looks at the checkpoint of another owner, while a reader waits.
    pub(crate) look_every: Duration,
    /// Longest time that a checkpoint stays unsaved if no row or document changed.
    pub(crate) checkpoint_after: Duration,
    /// The same on a store that other processes answer from.
    pub(crate) checkpoint_after_shared: Duration,
    /// Longest time that a changed document stays unsaved. Four times that while catching up.
    pub(crate) save_after: Duration,
    /// The same on a store that other processes answer from, but not while catching up.
    pub(crate) save_after_shared: Duration,
    /// Time for which events gather after a commit at the tail of the log, unless a reader waits for
    /// them: a commit costs about as much for one event as for a hundred.
    pub(crate) gather_for: Duration,
    /// Interval at which an owner looks for requests from other processes while it has parked keys.
    pub(crate) requests_every: Duration,
    /// Time for which a projection retries parked keys before it follows the log again.
    pub(crate) drain_for: Duration,
    /// Limits on parked keys, and when they are retried.
    pub(crate) parking: ParkingSettings,
    /// Longest time that stopping waits for the follower.
    pub(crate) stop_within: Duration,
    /// Longest time that the end of a lease session waits for running work of a reaction.
    pub(crate) finish_within: Duration,
    /// Delay before work is tried again that this release cannot perform.
    pub(crate) unable_delay: Duration,
    /// Time for which a process that stepped aside stays away: several looks of the others.
    pub(crate) aside_for: Duration,
    /// Shortest time between stepping aside twice. It doubles each time up to about an hour, because
    /// processes that are all unable must not pass the lease on all the time.
    pub(crate) aside_every: Backoff,
    /// Number of documents in memory. Those not saved yet stay in any case.
    pub(crate) hot_documents: usize,
    /// Approximate bytes of documents in memory, as JSON.
    pub(crate) hot_bytes: usize,
    /// Number of reads that may wait; one more is refused as `Overloaded`.
    pub(crate) waiting_reads: usize,
    /// Number of changed documents that are saved without waiting. Four times that while catching
    /// up, when no command waits behind the large write.
    pub(crate) save_at: usize,
    /// Approximate bytes of changed documents that are saved without waiting, also while catching
    /// up, so that a save ends within the database's statement timeout.
    pub(crate) save_bytes: usize,
    /// Number of unsaved documents at which folding pauses. This bounds memory.
    pub(crate) most_unsaved: usize,
    /// Approximate bytes of unsaved documents at which folding pauses.
    pub(crate) most_unsaved_bytes: usize,
    /// Interval at which the actor of a read model looks at what has become due.
    pub(crate) tick: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        let (milliseconds, seconds) = (Duration::from_millis, Duration::from_secs);
        Self {
            lease_for: seconds(3),
            renew_every: seconds(1),
            first_delay: milliseconds(20),
            longest_delay: seconds(2),
            look_every: milliseconds(25),
            checkpoint_after: seconds(1),
            checkpoint_after_shared: milliseconds(100),
            save_after: milliseconds(200),
            save_after_shared: milliseconds(25),
            gather_for: milliseconds(20),
            requests_every: milliseconds(250),
            drain_for: milliseconds(200),
            parking: ParkingSettings::default(),
            stop_within: seconds(10),
            finish_within: seconds(5),
            unable_delay: seconds(60),
            aside_for: seconds(10),
            aside_every: Backoff::new(seconds(60), seconds(64 * 60)),
            hot_documents: 100_000,
            hot_bytes: 64 << 20,
            waiting_reads: 10_000,
            save_at: 4_000,
            save_bytes: 8 << 20,
            most_unsaved: 50_000,
            most_unsaved_bytes: 16 << 20,
            tick: milliseconds(25),
        }
    }
}

impl Pacing {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.first_delay, self.longest_delay)
    }

    /// Longest time that a checkpoint stays unsaved, on a store that is shared or not.
    pub(crate) fn checkpoint_within(&self, is_shared: bool) -> Duration {
        if is_shared { self.checkpoint_after_shared } else { self.checkpoint_after }
    }

    /// Pacing of one of several partitions: what bounds memory bounds that of all together.
    pub(crate) fn divided(&self, partitions: usize) -> Self {
        Self {
            hot_documents: self.hot_documents.div_ceil(partitions),
            hot_bytes: self.hot_bytes.div_ceil(partitions),
            save_at: self.save_at.div_ceil(partitions),
            save_bytes: self.save_bytes.div_ceil(partitions),
            most_unsaved: self.most_unsaved.div_ceil(partitions),
            most_unsaved_bytes: self.most_unsaved_bytes.div_ceil(partitions),
            ..self.clone()
        }
    }
}
