//! The parked keys of one partition: where each stands, what waits behind it, when it is tried again.
//!
//! No I/O and no clock: the owner says what happened and when, and is told what to do next. What
//! changes gathers here until it is handed out, to be saved with the checkpoint and with what the
//! events changed. So whoever resumes from what is saved goes on as if nothing had happened.
//!
//! Of the events that wait behind a key a number is listed; see [`listing`].
//!
//! A key is drained in chunks. The last event of a chunk is applied only if nothing waits behind it:
//! else the key stands at it, so that where a key stands is always an event that was looked at.

mod listing;
mod parked;
mod replayed;
mod set_back;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

pub(crate) use self::listing::Listing;
use self::parked::Parked;
pub(crate) use self::replayed::replayed;
pub(crate) use self::waiting::{list_waiting, positions_of, read_unlisted, read_waiting};
use crate::backoff::Backoff;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::store::contract::{ParkedChange, ParkedKey, ParkedRequest, SkippedEvent};

/// Limits and patience.
#[derive(Debug, Clone)]
pub(crate) struct ParkingSettings {
    /// The most keys parked in one partition.
    pub(crate) most_keys: usize,
    /// Maximum number of waiting events that are listed for one key. Later ones are read from the log
    /// again.
    pub(crate) most_listed: usize,
    /// Number of automatic retries of a key. After them it waits for a request.
    pub(crate) tries: u32,
    /// Backoff between these tries.
    pub(crate) backoff: Backoff,
    /// The most events of a key that are drained at a time.
    pub(crate) chunk: usize,
}

impl Default for ParkingSettings {
    fn default() -> Self {
        Self {
            most_keys: 1_000,
            most_listed: 1_000,
            tries: 5,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(3600)),
            chunk: 1_000,
        }
    }
}

/// One more would be beyond a limit: something is wrong with more than some keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what}, which is the limit: fix the code, or ask to skip what can be left out, and start again; parked keys are tried first then"
)]
pub(crate) struct Full {
    what: String,
}

/// The parked keys of one partition.
pub(crate) struct Parking {
    partition: u32,
    settings: ParkingSettings,
    keys: BTreeMap<String, Parked>,
    /// The key that is being drained.
    draining: Option<String>,
    unsaved: Vec<ParkedChange>,
    /// Keys of which more or fewer events are unlisted than the store knows.
    unlisted_changed: BTreeSet<String>,
    /// Number of times that any key was parked.
    stands: u64,
    /// Value of `stands` at the last [`Parking::hand_out`].
    handed_out: u64,
    /// Value of `stands` that is saved.
    saved: u64,
}

/// Events of a key that are to be applied now.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) key: String,
    /// In order. The first is where the key stands, unless that is to be left out. Whoever reads fewer
    /// of them shortens the list: the rest waits.
    pub(crate) positions: Vec<GlobalPosition>,
    skip: Option<String>,
    stood_at: u64,
}

/// The event that draining stopped before.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// See [`in_words`].
    pub(crate) event: String,
    /// Why it cannot be applied; `None` if that was not tried.
    pub(crate) reason: Option<String>,
}

/// An event as people speak of it: type, version and stream.
pub(crate) fn in_words(event: &RecordedEvent) -> String {
    format!("{} {} of {}", event.event_type, event.version, event.stream)
}

impl Parking {
    pub(crate) fn new(partition: u32, settings: ParkingSettings) -> Self {
        Self {
            partition,
            settings,
            keys: BTreeMap::new(),
            draining: None,
            unsaved: Vec::new(),
            unlisted_changed: BTreeSet::new(),
            stands: 0,
            handed_out: 0,
            saved: 0,
        }
    }

    /// Creates the parking of a partition that another process owns.
    pub(crate) fn none() -> Self {
        Self::new(0, ParkingSettings::default())
    }

    /// As it was saved. All keys are due at once: the code may have been fixed.
    pub(crate) fn resume(
        partition: u32,
        settings: ParkingSettings,
        saved: Vec<ParkedKey>,
        now: Instant,
    ) -> Self {
        let mut parking = Self::new(partition, settings);
        for saved in saved.into_iter().filter(|saved| saved.partition == partition) {
            let (key, parked) = Parked::resume(saved, &parking.settings, now);
            parking.keys.insert(key, parked);
        }
        parking
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the number of parked keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_parked(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Returns the position at which a key is parked, and the reason.
    pub(crate) fn standing(&self, key: &str) -> Option<(GlobalPosition, &str)> {
        self.keys.get(key).map(|parked| (parked.position, &*parked.reason))
    }

    /// Number of attempts at the event that a key is parked at.
    pub(crate) fn attempts(&self, key: &str) -> u32 {
        self.keys.get(key).map_or(0, |parked| parked.attempts)
    }

    /// Returns true if parked keys should be retried before more events are applied, because there is
    /// little room for more parked keys.
    pub(crate) fn is_crowded(&self) -> bool {
        // A retry may release keys that new code can apply. Otherwise a release with fixed code
        // could halt at the limit before it has retried one key.
        self.len() * 2 >= self.settings.most_keys && self.may_be_crowded()
    }

    /// Returns true if a key has not been retried yet since the partition was resumed.
    pub(crate) fn may_be_crowded(&self) -> bool {
        self.keys.values().any(|parked| parked.is_resumed)
    }

    /// An event of a key that is not parked cannot be applied: from here on it is.
    ///
    /// # Errors
    /// Too many are.
    pub(crate) fn park(
        &mut self,
        key: String,
        event: &RecordedEvent,
        reason: String,
        now: Instant,
        since: OffsetDateTime,
    ) -> Result<(), Full> {
        self.park_after(key, (event, 1), reason, now, since)
    }

    /// Like [`Parking::park`], after several attempts at the event.
    ///
    /// # Errors
    /// Too many are.
    pub(crate) fn park_after(
        &mut self,
        key: String,
        (event, attempts): (&RecordedEvent, u32),
        reason: String,
        now: Instant,
        since: OffsetDateTime,
    ) -> Result<(), Full> {
        // So many keys mean that the code is wrong and not the events, so the partition halts
        // instead of parking all of them.
        if self.keys.len() >= self.settings.most_keys {
            return Err(Full { what: format!("{} keys are parked", self.settings.most_keys) });
        }
        self.stands += 1;
        let mut parked = Parked::new(event, reason, since, &self.settings, now);
        (parked.stood_at, parked.attempts) = (self.stands, attempts);
        self.unsaved.push(parked.change(self.partition, &key));
        self.keys.insert(key, parked);
        Ok(())
    }

    /// Checks that one event can park this many keys more, so that an event of several keys is taken
    /// in for all of them or not at all.
    ///
    /// # Errors
    /// The limit of keys leaves no room.
    pub(crate) fn check_room(&self, to_park: usize) -> Result<(), Full> {
        match to_park > 0 && self.keys.len() + to_park > self.settings.most_keys {
            true => Err(Full { what: format!("{} keys are parked", self.keys.len()) }),
            false => Ok(()),
        }
    }

    /// Returns a mark of what has been saved so far, for [`Parking::take_requests`].
    pub(crate) fn saved_so_far(&self) -> u64 {
        self.saved
    }

    /// Applies the requests of keys that were read from the store after `saved_so_far`.
    pub(crate) fn take_requests(
        &mut self,
        requested: Vec<ParkedKey>,
        saved_so_far: u64,
        now: Instant,
    ) {
        for ParkedKey { key, position, request, .. } in requested {
            let Some(request) = request else { continue };
            self.request((&*key, position), request, saved_so_far, now);
        }
    }

    /// Applies a request for a key. If the key has moved since it was read from the store, the request
    /// was executed already, or is about an earlier event.
    fn request(
        &mut self,
        (key, position): (&str, GlobalPosition),
        request: ParkedRequest,
        saved_so_far: u64,
        now: Instant,
    ) {
        let is_draining = self.draining.as_deref() == Some(key);
        let Some(parked) = self.keys.get_mut(key) else { return };
        if is_draining || parked.position != position || parked.stood_at > saved_so_far {
            return;
        }
        parked.ask(request, now);
    }

    /// The key whose turn it is, unless one is being drained.
    fn due(&self, now: Instant) -> Option<&str> {
        // One key at a time, because a drain holds a chunk of events in memory.
        if self.draining.is_some() {
            return None;
        }
        let due = self.keys.iter().filter_map(|(key, parked)| Some((parked.next_try?, key)));
        due.min().filter(|(at, _)| *at <= now).map(|(_, key)| &**key)
    }

    /// Returns true if a key can be drained or listed now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due(now).is_some()
    }

    /// Ends a drain that cannot begin yet. The key is due again at `until`, and others before it.
    pub(crate) fn postpone(&mut self, drain: &Drain, until: Instant) {
        self.draining = None;
        if let Some(parked) = self.keys.get_mut(&drain.key) {
            parked.next_try = Some(until);
        }
    }

    /// Begins to drain a key that is due, unless another one is being drained. The caller loads the
    /// events, calls [`Parking::may_apply`], and then [`Parking::end`].
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Drain> {
        let (key, parked) = self.keys.get_key_value(self.due(now)?)?;
        if parked.queue.is_empty() && parked.unlisted.is_some() {
            return None; // its events are to be listed first
        }
        let stands_at = Some(parked.position).filter(|_| parked.skip.is_none());
        // At least two, because the last event of a chunk waits if more events wait behind it. With
        // a chunk of one, such a key would never move.
        let positions = stands_at.into_iter().chain(parked.queue.iter().copied());
        let drain = Drain {
            key: key.clone(),
            positions: positions.take(self.settings.chunk.max(2)).collect(),
            skip: parked.skip.clone(),
            stood_at: parked.stood_at,
        };
        self.draining = Some(drain.key.clone());
        Some(drain)
    }

    /// Returns the number of events of a drain that may be applied. Events that arrived meanwhile wait
    /// behind them.
    pub(crate) fn may_apply(&self, drain: &Drain) -> usize {
        let parked = self.keys.get(&drain.key);
        let listed = parked.map_or(0, |parked| parked.queue.len());
        let more = parked.is_some_and(|parked| parked.unlisted.is_some());
        let all = listed + usize::from(drain.skip.is_none());
        match all == drain.positions.len() && !more {
            true => all,
            false => drain.positions.len().saturating_sub(1),
        }
    }

    /// The first `applied` events of the drain are in; `stopped` is the one after these.
    pub(crate) fn end(
        &mut self,
        drain: Drain,
        applied: usize,
        stopped: Option<Stopped>,
        now: Instant,
        at: OffsetDateTime,
    ) {
        self.draining = None;
        let Some(mut parked) = self.keys.remove(&drain.key) else { return };
        let Drain { key, skip, .. } = drain;
        let gone = applied + usize::from(skip.is_some()); // of where it stands and of its queue
        parked.is_resumed = false;
        let Some(stopped) = stopped else {
            if gone <= parked.queue.len() || parked.unlisted.is_some() {
                // More has arrived where nothing was to be applied: again, with that.
                parked.next_try = Some(now);
                self.keys.insert(key, parked);
                return;
            }
            self.skipped(&key, &parked, skip, at);
            self.unsaved.push(ParkedChange::Release { key });
            return;
        };
        self.skipped(&key, &parked, skip, at);
        if gone > 0 {
            parked.move_by(gone, &self.settings);
        }
        if parked.stop(stopped, now) || gone > 0 {
            self.stands += 1;
            parked.stood_at = self.stands;
            self.unsaved.push(parked.change(self.partition, &key));
        }
        self.keys.insert(key, parked);
    }

    fn skipped(&mut self, key: &str, parked: &Parked, skip: Option<String>, at: OffsetDateTime) {
        let Some(reason) = skip else { return };
        self.unsaved.push(ParkedChange::Skip(SkippedEvent {
            key: key.to_owned(),
            position: parked.position,
            event: format!("{}: {}", parked.event, parked.reason),
            reason,
            skipped_at: at,
        }));
    }

    /// Number of changes that were not passed to a save yet. One more unlisted event is none.
    pub(crate) fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    /// Returns the changes since the last call, for a save.
    pub(crate) fn hand_out(&mut self) -> Vec<ParkedChange> {
        self.handed_out = self.stands;
        let unlisted = std::mem::take(&mut self.unlisted_changed).into_iter();
        let unlisted = unlisted.filter_map(|key| {
            let unlisted = self.keys.get(&key)?.unlisted;
            let (from, sum) = unlisted.map_or((None, 0), |it| (Some(it.from), it.sum));
            Some(ParkedChange::Unlisted { key, from, sum })
        });
        // Behind the others, because a key must be parked before anything of it is unlisted.
        let mut changes = std::mem::take(&mut self.unsaved);
        changes.extend(unlisted);
        changes
    }

    /// Records that the changes of the last [`Parking::hand_out`] are saved.
    pub(crate) fn saved(&mut self) {
        self.saved = self.handed_out;
    }
}
