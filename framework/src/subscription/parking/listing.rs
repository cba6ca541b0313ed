//! What waits behind a hot parked key: its next events are listed, those after them are not.
//!
//! A list of everything would grow as long as the key is parked. So it ends at a number of events,
//! and from a position on the log itself is the list: it is read again, page by page, when the
//! listed events have been applied. Every event that the owner has passed is either listed or at or
//! after that position, so none is lost and none is applied twice.

use std::time::Instant;

use super::Parking;
use crate::parking::ParkedChange;
use crate::stream::GlobalPosition;

/// A key whose next events are to be found in the log.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) key: String,
    /// Position of the first event that may be one of them.
    pub(crate) from: GlobalPosition,
    stood_at: u64,
}

impl Parking {
    /// An event of a parked key waits behind the others.
    pub(crate) fn queue(&mut self, key: &str, position: GlobalPosition) {
        let Some(parked) = self.keys.get_mut(key) else { return };
        if parked.unlisted_from.is_some() {
            return; // this one is after that position
        }
        if parked.queue.len() < self.settings.most_listed {
            return self.list(key, position);
        }
        parked.unlisted_from = Some(position);
        let key = key.to_owned();
        self.unsaved.push(ParkedChange::Unlisted { key, from: Some(position) });
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
        let from = parked.unlisted_from.filter(|_| parked.queue.is_empty())?;
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
        if scanned_to < from {
            // The store does not have yet what the owner has seen.
            parked.next_try = Some(now + parked.pause);
            return;
        }
        // Events after `reached` are still to come to the owner, who lists them then.
        let passed = found.iter().copied().filter(|position| *position <= reached);
        let mut passed = passed.peekable();
        let room = self.settings.most_listed.max(1);
        let listed: Vec<_> = passed.by_ref().take(room).collect();
        let rest = (scanned_to < reached).then(|| scanned_to.next());
        let unlisted_from = passed.next().or(rest);
        parked.unlisted_from = unlisted_from;
        listed.into_iter().for_each(|position| self.list(&key, position));
        self.unsaved.push(ParkedChange::Unlisted { key, from: unlisted_from });
    }

    /// Ends a listing that came to nothing.
    pub(crate) fn abandon_listing(&mut self, listing: &Listing) {
        self.draining.take_if(|draining| *draining == listing.key);
    }
}
