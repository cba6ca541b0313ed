//! The parked delta: the net effect of a list of changes to parked keys, as one pure function. So each
//! store applies it in a few statements, whatever the length and the order of the list.
//!
//! Here too is the one place where texts of other people's making are made fit for any database.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

use crate::store::contract::{ParkedChange, ParkedKey, ParkedPage, ParkedQuery, SkippedEvent};

/// The most that is kept of a reason, in bytes.
const MAX_TEXT_BYTES: usize = 4096;

/// The net effect of a list of changes, in the order in which a store applies it. As JSON, each part
/// is the parameter of one SQL statement.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ParkedDelta {
    /// Keys of which nothing stays, neither row nor queue.
    pub released: Vec<String>,
    /// New rows. They keep `since` of the stored row, and its request if that is to skip this very
    /// event. Positions up to `done_to` leave the queue.
    pub parked: Vec<Parked>,
    /// Keys whose later events are not listed: the key; the position from which on its queue is
    /// deleted before `queued` is added; and the new `unlisted_from` and `unlisted_sum`. The key must
    /// be parked, otherwise the whole batch is refused.
    pub unlisted: Vec<(String, Option<u64>, Option<u64>, i64)>,
    /// Keys and positions to queue. The key must be parked, otherwise the whole batch is refused. A
    /// position that is queued already stays.
    pub queued: Vec<(String, u64)>,
    /// Skipped events to keep. A known one stays as it is.
    pub skipped: Vec<Skipped>,
}

/// A [`ParkedKey`] without its queue and its request.
#[derive(Debug, PartialEq, Serialize)]
pub struct Parked {
    /// See [`ParkedKey::key`].
    pub key: String,
    /// See [`ParkedKey::partition`].
    pub partition: u32,
    /// See [`ParkedKey::position`].
    pub position: u64,
    /// See [`ParkedKey::event`].
    pub event: String,
    /// See [`ParkedKey::reason`].
    pub reason: String,
    /// See [`ParkedKey::attempts`].
    pub attempts: u32,
    /// Microseconds since 1970.
    pub since: i64,
    /// The last position that it stood at; it is beyond the present one if it went back.
    pub done_to: u64,
}

/// A [`SkippedEvent`].
#[derive(Debug, PartialEq, Serialize)]
pub struct Skipped {
    /// See [`SkippedEvent::key`].
    pub key: String,
    /// See [`SkippedEvent::position`].
    pub position: u64,
    /// See [`SkippedEvent::event`].
    pub event: String,
    /// See [`SkippedEvent::reason`].
    pub reason: String,
    /// Microseconds since 1970.
    pub skipped_at: i64,
}

/// Net effect on one key.
#[derive(Default)]
struct Key {
    is_released: bool,
    parked: Option<Parked>,
    unlisted: Option<(Option<u64>, i64)>,
    /// The queue from this position on was deleted.
    forgotten_from: Option<u64>,
    queued: Vec<u64>,
}

impl ParkedDelta {
    /// The net effect of these changes, one after the other.
    pub fn of(changes: &[ParkedChange]) -> Self {
        let (mut keys, mut all) = (BTreeMap::<&str, Key>::new(), Self::default());
        for change in changes {
            match change {
                ParkedChange::Park(parked) => keys.entry(&parked.key).or_default().park(parked),
                ParkedChange::Queue { key, position } => {
                    keys.entry(key).or_default().queued.push(position.0);
                }
                ParkedChange::Unlisted { key, from, sum } => {
                    keys.entry(key).or_default().unlist(from.map(|from| from.0), *sum);
                }
                ParkedChange::Release { key } => {
                    keys.insert(key, Key { is_released: true, ..Key::default() });
                }
                ParkedChange::Skip(skipped) => all.skipped.push(Skipped::of(skipped)),
            }
        }
        for (name, key) in keys {
            all.released.extend(key.is_released.then(|| name.to_owned()));
            all.parked.extend(key.parked);
            let unlisted = key.unlisted;
            let unlisted =
                unlisted.map(|(from, sum)| (name.to_owned(), key.forgotten_from, from, sum));
            all.unlisted.extend(unlisted);
            all.queued.extend(key.queued.into_iter().map(|position| (name.to_owned(), position)));
        }
        all
    }

    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Key {
    fn unlist(&mut self, from: Option<u64>, sum: i64) {
        if let Some(from) = from {
            self.queued.retain(|position| *position < from);
            self.forgotten_from = Some(self.forgotten_from.map_or(from, |known| known.min(from)));
        }
        self.unlisted = Some((from, sum));
    }

    fn park(&mut self, parked: &ParkedKey) {
        self.queued.retain(|position| *position > parked.position.0);
        let (mut since, mut done_to) = (micros(parked.since), parked.position.0);
        if let Some(before) = &self.parked {
            (since, done_to) = (before.since, done_to.max(before.done_to));
        }
        self.parked = Some(Parked {
            key: parked.key.clone(),
            partition: parked.partition,
            position: parked.position.0,
            event: text(&parked.event),
            reason: text(&parked.reason),
            attempts: parked.attempts,
            since,
            done_to,
        });
    }
}

impl Skipped {
    fn of(skipped: &SkippedEvent) -> Self {
        Self {
            key: skipped.key.clone(),
            position: skipped.position.0,
            event: text(&skipped.event),
            reason: text(&skipped.reason),
            skipped_at: micros(skipped.skipped_at),
        }
    }
}

/// The page of these parked keys of a model, given by key, that a query selects.
pub fn page<'a>(keys: impl Iterator<Item = &'a ParkedKey>, query: &ParkedQuery) -> ParkedPage {
    let ParkedQuery { keys: wanted, only_requested, with_queues, at_most } = query;
    let is_wanted = |parked: &&ParkedKey| {
        wanted.as_ref().is_none_or(|wanted| wanted.contains(&parked.key))
            && (!only_requested || parked.request.is_some())
    };
    let mut page = ParkedPage::default();
    for parked in keys.filter(is_wanted) {
        page.total += 1;
        if page.keys.len() < *at_most {
            let queue = if *with_queues { parked.queue.clone() } else { Vec::new() };
            page.keys.push(ParkedKey { queue, ..parked.clone() });
        }
    }
    page
}

/// A text as every database can keep it: no NUL, and of bounded length.
pub fn text(given: &str) -> String {
    given[..given.floor_char_boundary(MAX_TEXT_BYTES)].replace('\0', "\u{fffd}")
}

/// Microseconds since 1970.
pub fn micros(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1000) as i64 // no year that a time can have is beyond it
}

/// The same time again.
pub fn time(micros: i64) -> OffsetDateTime {
    let nanos = i128::from(micros) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
