//! Keys whose document turns out at a save to be unstorable, though each of its events was applied.
//!
//! Several events may lie between two saves, and which of them is to blame is not known. So the key
//! goes back to the first, and all of them are tried again, one by one.

use std::time::Instant;

use time::OffsetDateTime;

use super::listing::Unlisted;
use super::parked::Parked;
use super::{Drain, Full, Parking};
use crate::event::GlobalPosition;

impl Parking {
    /// The document of a key cannot be stored as it is after the events at these positions, which
    /// are the ones that the stored document lacks. The key is parked at the first of them, and the
    /// others wait behind it, before all that waits already. It is due at once: applied one by one,
    /// the events show which of them the document does not survive.
    ///
    /// # Errors
    /// Too many keys are parked.
    pub(crate) fn set_back(
        &mut self,
        key: &str,
        positions: &[GlobalPosition],
        reason: String,
        now: Instant,
        since: OffsetDateTime,
    ) -> Result<(), Full> {
        let Some((first, others)) = positions.split_first() else { return Ok(()) };
        let old = self.keys.remove(key);
        if old.is_none() && self.keys.len() >= self.settings.most_keys {
            let most = self.settings.most_keys;
            return Err(Full {
                what: format!("{most} keys are parked, now also {key:?} ({reason})"),
            });
        }
        let words = format!("the event at position {first}");
        let mut parked = Parked::at((*first, words), reason, since, &self.settings, now);
        parked.next_try = Some(now);
        // A request to skip means the event that the key stood at, which is not the next any more.
        let (stood_at, behind, unlisted, is_checked) = match old {
            Some(old) => {
                parked.since = old.since;
                (Some(old.position), old.queue, old.unlisted, old.check.is_none())
            }
            None => Default::default(),
        };
        self.stands += 1;
        parked.stood_at = self.stands;
        self.unsaved.push(parked.change(self.partition, key));
        self.keys.insert(key.to_owned(), parked);
        // All of them are listed: they are no more than lie between two saves, and what is not
        // listed comes after what is.
        others.iter().copied().chain(stood_at).for_each(|position| self.list(key, position));
        if let Some(parked) = self.keys.get_mut(key) {
            parked.queue.extend(behind); // the store has these already
            parked.unlisted = unlisted;
            parked.check = unlisted.filter(|_| !is_checked).map(Unlisted::check);
        }
        Ok(())
    }

    /// Checks that a key stands where it stood when the drain began.
    pub(crate) fn is_current(&self, drain: &Drain) -> bool {
        self.keys.get(&drain.key).is_some_and(|parked| parked.stood_at == drain.stood_at)
    }

    /// Ends a drain that came to nothing, because its key was set back meanwhile.
    pub(crate) fn abandon(&mut self, drain: &Drain) {
        self.draining.take_if(|draining| *draining == drain.key);
    }
}
