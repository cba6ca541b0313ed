//! Listing of the events behind a hot parked key: only the next ones are listed.
//!
//! A list of everything would grow as long as the key is parked. So it ends at a number of events,
//! and from a position on the log itself is the list: it is read again, page by page, when the
//! listed events have been applied. Every event that the owner has passed is either listed or at or
//! after that position, so none is lost and none is applied twice.
//!
//! The key of an event may be another one in the next release. A checksum of the unlisted events is
//! therefore kept, and an owner that did not pass them itself searches the log for them first: if it
//! does not find exactly these, the key stays parked, as it does at a listed event that has moved.

use std::time::Instant;

use super::{Parking, Stopped};
use crate::event::GlobalPosition;
use crate::store::contract::ParkedChange;

/// A key whose next events are to be found in the log.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) key: String,
    /// Position of the first event that may be one of them.
    pub(crate) from: GlobalPosition,
    stood_at: u64,
}

/// The events of a key that wait and are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unlisted {
    /// Position of the first one, or an earlier position.
    pub(super) from: GlobalPosition,
    /// Sum of [`term`] over their positions.
    pub(super) sum: i64,
}

/// Progress of the search for unlisted events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    from: GlobalPosition,
    /// Sum of the events found so far.
    sum: i64,
}

impl Unlisted {
    pub(super) fn check(self) -> Check {
        Check { from: self.from, sum: 0 }
    }
}

/// Summand of a position in a checksum. The constants are those of SplitMix64 by Sebastiano Vigna,
/// which spread the bits, so that other positions have another sum.
fn term(position: GlobalPosition) -> i64 {
    let spread = position.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let spread = (spread ^ (spread >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let spread = (spread ^ (spread >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (spread ^ (spread >> 31)).cast_signed()
}

/// Checksum of these positions.
pub(super) fn sum(positions: &[GlobalPosition]) -> i64 {
    positions.iter().fold(0, |sum: i64, position| sum.wrapping_add(term(*position)))
}

impl Parking {
    /// An event of a parked key waits behind the others.
    pub(crate) fn queue(&mut self, key: &str, position: GlobalPosition) {
        let Some(parked) = self.keys.get_mut(key) else { return };
        if parked.unlisted.is_none() && parked.queue.len() < self.settings.most_listed {
            return self.list(key, position);
        }
        let unlisted = parked.unlisted.get_or_insert(Unlisted { from: position, sum: 0 });
        unlisted.sum = unlisted.sum.wrapping_add(term(position));
        if !self.unlisted_changed.contains(key) {
            self.unlisted_changed.insert(key.to_owned());
        }
    }

    /// Lists an event behind those that are listed.
    pub(super) fn list(&mut self, key: &str, position: GlobalPosition) {
        let Some(parked) = self.keys.get_mut(key) else { return };
        parked.queue.push_back(position);
        self.unsaved.push(ParkedChange::Queue { key: key.to_owned(), position });
    }

    /// The key to list events of, if it is due, nothing of it is listed any more, and nothing is
    /// being drained. Read the log from there and [`end_listing`](Parking::end_listing) it.
    pub(crate) fn begin_listing(&mut self, now: Instant) -> Option<Listing> {
        let key = self.due(now)?.to_owned();
        let parked = self.keys.get(&key)?;
        let unlisted = parked.unlisted.filter(|_| parked.queue.is_empty())?;
        let from = parked.check.map_or(unlisted.from, |check| check.from);
        let stood_at = parked.stood_at;
        self.draining = Some(key.clone());
        Some(Listing { key, from, stood_at })
    }

    /// The log was read up to `scanned_to` and has events of the key at the positions `found`.
    /// `reached` is the position up to which the owner has passed all events.
    pub(crate) fn end_listing(
        &mut self,
        listing: Listing,
        found: &[GlobalPosition],
        scanned_to: GlobalPosition,
        reached: GlobalPosition,
        now: Instant,
    ) {
        self.draining = None;
        let Listing { key, from, stood_at } = listing;
        let Some(parked) = self.keys.get_mut(&key).filter(|parked| parked.stood_at == stood_at)
        else {
            return;
        };
        let Some(unlisted) = parked.unlisted else { return };
        if scanned_to < from {
            // The store does not have yet what the owner has seen.
            parked.next_try = Some(now + parked.backoff.delay());
            return;
        }
        // Events after `reached` are still to come to the owner, who lists them then.
        let passed = &found[..found.partition_point(|position| *position <= reached)];
        let rest = (scanned_to < reached).then(|| scanned_to.next());
        if let Some(check) = parked.check {
            let check_sum = check.sum.wrapping_add(sum(passed));
            match rest {
                Some(from) => parked.check = Some(Check { from, sum: check_sum }),
                None if check_sum == unlisted.sum => parked.check = None,
                None => self.others_found(&key, unlisted, now),
            }
            return;
        }
        let (listed, others) = passed.split_at(passed.len().min(self.settings.most_listed.max(1)));
        let from = others.first().copied().or(rest);
        let sum = unlisted.sum.wrapping_sub(sum(listed));
        parked.unlisted = from.map(|from| Unlisted { from, sum });
        listed.iter().for_each(|position| self.list(&key, *position));
        self.unlisted_changed.insert(key);
    }

    /// The log has other events for the key than those that wait: the key stays parked.
    fn others_found(&mut self, key: &str, unlisted: Unlisted, now: Instant) {
        let Some(parked) = self.keys.get_mut(key) else { return };
        let reason = format!(
            "of the events that wait from position {} on, some have another key now, or others \
             have this one: raise the VERSION, to build all of it with the new keys, or deploy \
             the keys it was built with",
            unlisted.from
        );
        let event = parked.event.clone();
        parked.stop(Stopped { event, reason: Some(reason) }, now);
        parked.check = Some(unlisted.check());
        parked.is_resumed = false;
        self.stands += 1;
        parked.stood_at = self.stands;
        self.unsaved.push(parked.change(self.partition, key));
    }

    /// Ends a listing that came to nothing.
    pub(crate) fn abandon_listing(&mut self, listing: &Listing) {
        self.draining.take_if(|draining| *draining == listing.key);
    }
}
