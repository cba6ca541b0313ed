//! The parked keys of a partition, in memory while its term lasts.
//!
//! Every change is answered as what is to be stored with the next step of the checkpoint.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::event::RecordedEvent;
use crate::parking::{ParkedChange, ParkedKey};
use crate::stream::GlobalPosition;

/// The most keys of a partition that may be parked.
const MOST_KEYS: usize = 10_000;

/// The most events that may wait behind parked keys of a partition.
const MOST_QUEUED: usize = 100_000;

/// After the first failure a key is tried again so much later; each time twice as late.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// What stands still.
#[derive(Default)]
pub(super) struct ParkedKeys {
    keys: HashMap<String, Entry>,
    queued: usize,
    /// When requests were looked for.
    looked: Option<Instant>,
}

struct Entry {
    parked: ParkedKey,
    try_at: Instant,
}

impl ParkedKeys {
    /// Those that were stored. Each is tried at once: the code may be another than then.
    pub(super) fn load(parked: impl Iterator<Item = ParkedKey>) -> Self {
        let mut all = Self::default();
        for parked in parked {
            all.queued += parked.queue.len();
            all.keys.insert(parked.key.clone(), Entry { parked, try_at: Instant::now() });
        }
        all
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(key)
    }

    /// The key stands still at this event from now on.
    pub(super) fn park(
        &mut self,
        key: &str,
        partition: u32,
        recorded: &RecordedEvent,
        reason: String,
        now: OffsetDateTime,
    ) -> Vec<ParkedChange> {
        let later = self.keys.remove(key);
        let RecordedEvent { event_type, version, stream, position, .. } = recorded;
        let parked = ParkedKey {
            key: key.to_owned(),
            partition,
            position: *position,
            event: format!("{event_type} {version} of {stream}"),
            reason,
            attempts: 1,
            since: now,
            queue: Vec::new(),
            request: None,
        };
        let mut changes = vec![ParkedChange::Park(parked.clone())];
        self.keep(parked);
        // It was parked at a later event of the same page, which waits now with those behind it.
        if let Some(Entry { parked: later, .. }) = later {
            self.queued -= later.queue.len();
            for position in [later.position].into_iter().chain(later.queue) {
                changes.push(self.queue(key, position));
            }
        }
        changes
    }

    /// A key that was taken out to be tried has been: it is parked again, or let go.
    pub(super) fn tried(&mut self, before: &ParkedKey, changes: &mut Vec<ParkedChange>) {
        let Some(Entry { mut parked, .. }) = self.keys.remove(&before.key) else {
            return changes.push(ParkedChange::Release { key: before.key.clone() });
        };
        self.queued -= parked.queue.len();
        parked.since = before.since;
        if parked.position == before.position {
            parked.attempts = before.attempts.saturating_add(1);
        }
        for change in changes {
            if let ParkedChange::Park(stored) = change
                && stored.position == parked.position
            {
                (stored.attempts, stored.since) = (parked.attempts, parked.since);
            }
        }
        self.keep(parked);
    }

    fn keep(&mut self, parked: ParkedKey) {
        let factor = 2_u32.saturating_pow(parked.attempts.saturating_sub(1).min(16));
        let try_at = Instant::now() + FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY);
        self.queued += parked.queue.len();
        self.keys.insert(parked.key.clone(), Entry { parked, try_at });
    }

    /// This event of a parked key waits.
    pub(super) fn queue(&mut self, key: &str, position: GlobalPosition) -> ParkedChange {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.parked.queue.push(position);
            self.queued += 1;
        }
        ParkedChange::Queue { key: key.to_owned(), position }
    }

    /// Takes one out whose time has come or for which something was asked, to try it.
    pub(super) fn take_due(&mut self) -> Option<ParkedKey> {
        let now = Instant::now();
        let is_due = |entry: &&Entry| entry.try_at <= now || entry.parked.request.is_some();
        let key = self.keys.values().find(is_due)?.parked.key.clone();
        let Entry { parked, .. } = self.keys.remove(&key)?;
        self.queued -= parked.queue.len();
        Some(parked)
    }

    /// What was asked for meanwhile.
    pub(super) fn requested(&mut self, stored: Vec<ParkedKey>) {
        self.looked = Some(Instant::now());
        for stored in stored {
            if let Some(entry) = self.keys.get_mut(&stored.key)
                && entry.parked.position == stored.position
            {
                entry.parked.request = stored.request;
            }
        }
    }

    /// Their keys.
    pub(super) fn keys(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// When the next is to be tried, or requests are to be looked for; `None` if none is parked.
    pub(super) fn due(&self, look_every: Duration) -> Option<Instant> {
        let next = self.keys.values().map(|entry| entry.try_at).min()?;
        let look = self.looked.map_or_else(Instant::now, |looked| looked + look_every);
        Some(next.min(look))
    }

    /// Too much stands still to go on.
    pub(super) fn overflow(&self) -> Option<String> {
        let (keys, queued) = (self.keys.len(), self.queued);
        let is_over = keys > MOST_KEYS || queued > MOST_QUEUED;
        is_over.then(|| {
            format!("{keys} keys are parked and {queued} events wait behind them; more than {MOST_KEYS} or {MOST_QUEUED} stop the projection: fix it and start again")
        })
    }
}
