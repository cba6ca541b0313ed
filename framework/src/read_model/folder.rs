//! The folder of a read model: pages of the log become changes of documents.
//!
//! Pure: no I/O, no clock and no actor. A page is decoded, the caller loads the documents that are not
//! in memory, and the page is folded. What changed gathers until [`Folder::hand_out`]. The actor runs
//! a folder in production, and `ReadModelScenario` runs the same one in tests.

use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use super::documents::{Documents, HandedOut, Unstorable};
use super::encoding::decode;
use super::fold::{Decoded, Poison, apply};
use super::sizes::Sizes;
use super::{ReadModel, Sources};
use crate::event::{GlobalPosition, RecordedEvent};
use crate::partition::Reached;
use crate::partition::parking::{Drain, Full, Listing, Parking, Stopped, in_words, positions_of};
use crate::store::contract::{Page, ParkedChange, partition_of};

/// The documents and parked keys of one partition, and how far they reach.
pub(crate) struct Folder<M> {
    pub(super) sources: Sources<M>,
    partition: u32,
    partitions: u32,
    pub(super) documents: Documents<M>,
    pub(super) sizes: Sizes,
    pub(super) parking: Parking,
    /// Reads are answered up to here: what is folded or, on a standby, what the owner has saved.
    pub(super) reached: Reached,
}

/// The result of folding a page.
pub(crate) struct Folded {
    /// Number of changes that were applied or parked.
    pub(crate) events: usize,
    pub(crate) has_parked: bool,
    /// The event that nothing can be folded after.
    pub(crate) poison: Option<Poison>,
}

/// Documents and parked keys that a save writes with the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Key and JSON text of each document that changed.
    pub(crate) documents: Vec<(String, String)>,
    /// Keys of deleted documents.
    pub(crate) deleted: Vec<String>,
    /// Documents that cannot be stored. Their keys are parked, and tried again at once.
    pub(crate) unstorable: Vec<Unstorable>,
    pub(crate) parked: Vec<ParkedChange>,
}

impl<M: ReadModel> Folder<M> {
    /// A folder of a standby: nothing in memory, and nothing to be kept there.
    pub(crate) fn standby(partition: u32, partitions: u32, reached: Reached) -> Self {
        Self {
            sources: M::sources(),
            partition,
            partitions,
            documents: Documents::none(),
            sizes: Sizes::default(),
            parking: Parking::none(),
            reached,
        }
    }

    /// Begins to fold from where the standby is. `is_new`: nothing of the partition was ever stored.
    pub(crate) fn begin(
        &mut self,
        reached: Reached,
        capacity: usize,
        is_new: bool,
        parking: Parking,
    ) {
        self.documents = Documents::new(capacity, is_new);
        self.sizes = Sizes::default();
        self.parking = parking;
        self.reached = reached;
    }

    /// Position up to which events are folded.
    pub(crate) fn reached(&self) -> GlobalPosition {
        self.reached.position
    }

    /// End of what is folded, for a checkpoint.
    pub(crate) fn reached_at(&self) -> Reached {
        self.reached
    }

    /// The parked keys.
    pub(crate) fn parking(&mut self) -> &mut Parking {
        &mut self.parking
    }

    /// Checks if a document must be loaded before it can be folded.
    pub(crate) fn is_cold(&self, key: &str) -> bool {
        self.documents.is_cold(key)
    }

    /// Number of events of a page whose documents fit into this many bytes.
    pub(crate) fn page_events(&self, bytes: usize) -> usize {
        self.sizes.events(bytes)
    }

    /// Changes a part of a document that is not stored, if the document is in memory.
    pub(crate) fn change<T>(&mut self, key: &str, change: impl FnOnce(&mut M) -> T) -> Option<T> {
        self.documents.peek_mut(key).map(change)
    }

    /// Ends the listing of the events that wait for a parked key: those of this page.
    pub(crate) fn end_listing(&mut self, listing: Listing, page: &Page, now: Instant) {
        let found = positions_of(&listing.key, page, &self.sources.routes);
        let reached = self.reached.position;
        self.parking.end_listing(listing, &found, page.scanned_to, reached, now);
    }

    /// Decodes a page and finds the keys of its events.
    pub(crate) fn decode(&self, page: Arc<Page>) -> Decoded<M> {
        let is_ours = |key: &str| partition_of(key, self.partitions) == self.partition;
        Decoded::new(&self.sources, page, is_ours)
    }

    /// Keys of documents that must be loaded before this page can be folded.
    pub(crate) fn cold_keys(&self, page: &Decoded<M>) -> Vec<String> {
        page.cold_keys(&self.documents)
    }

    /// Takes in stored documents. One that does not decode is remembered as unreadable: the next
    /// event for it parks its key, and no other key is concerned.
    pub(crate) fn warm(&mut self, documents: Vec<(String, String)>) {
        for (key, text) in documents {
            self.sizes.sampled(text.len());
            self.documents.warm(key, || {
                decode(&text).map_err(|unreadable| {
                    let reason = unreadable.reason;
                    format!("its stored document does not decode: {reason}. Deploy code that reads it, or raise the VERSION")
                })
            });
        }
    }

    /// Folds a page whose documents are all in memory. `sample` bounds the bytes that are serialised
    /// to estimate the size of documents.
    pub(crate) fn fold(
        &mut self,
        page: Decoded<M>,
        sample: usize,
        now: Instant,
        at: OffsetDateTime,
    ) -> Folded {
        // Counted before the fold, because the page is consumed by it.
        let (events, parked) = (page.events(), self.parking.len());
        let (reached, poison) = page.fold(&mut self.documents, &mut self.parking, now, at);
        self.reached = reached;
        if let Some(bytes) = self.documents.sample(sample) {
            self.sizes.sampled(bytes);
        }
        Folded { events, has_parked: self.parking.len() > parked, poison }
    }

    /// Number of changes that were not passed to a save yet.
    pub(crate) fn changed(&self) -> usize {
        self.documents.changed() + self.parking.unsaved()
    }

    /// Hands out what changed, to be saved with a checkpoint at `reached`. A document that cannot be
    /// stored is set back: its key is parked at the first event that the stored document lacks.
    ///
    /// # Errors
    /// Too many keys are parked: the cause is the code and not one document. The checkpoint must not
    /// move then, because it would pass events that are neither in a document nor queued.
    pub(crate) fn hand_out(&mut self, now: Instant, at: OffsetDateTime) -> Result<Changes, Full> {
        let HandedOut { documents, deleted, unstorable } = self.documents.hand_out();
        // Before the parked keys are handed out, so that the same save has the key as parked and no
        // document of it.
        for Unstorable { key, positions, reason } in &unstorable {
            self.parking.set_back(key, positions, reason.clone(), now, at)?;
        }
        self.sizes.measured(documents.iter().map(|(_, body)| body.len()));
        Ok(Changes { documents, deleted, unstorable, parked: self.parking.hand_out() })
    }

    /// Records that the changes that were passed to the last save are stored. Updates the limits of the
    /// documents in memory, because their sizes are known better now.
    pub(crate) fn saved(&mut self, hot_bytes: usize, hot_documents: usize) {
        self.documents.saved();
        self.parking.saved();
        self.documents.set_capacity(self.sizes.fit(hot_bytes, hot_documents));
    }

    /// Lets documents leave memory. Not while a page waits for documents, because it has already
    /// decided which ones are in memory.
    pub(crate) fn evict(&mut self) {
        self.documents.forget_unreadable();
        self.documents.evict();
    }

    /// Applies events that wait for a parked key, up to the first that cannot be applied. Returns
    /// the number of those that were.
    pub(crate) fn drain(
        &mut self,
        drain: Drain,
        events: &[Arc<RecordedEvent>],
        now: Instant,
        at: OffsetDateTime,
    ) -> usize {
        // Events may have arrived behind the drain while it was loading.
        let may_apply = self.parking.may_apply(&drain).min(events.len());
        let (applied, reason) = self.apply_all(&drain.key, &events[..may_apply]);
        let next = events.get(applied);
        let stopped = next.map(|next| Stopped { event: in_words(next), reason });
        self.parking.end(drain, applied, stopped, now, at);
        applied
    }

    /// Applies events in order, up to the first that cannot be applied or after which the document
    /// could not be stored. Returns how many were applied, and the reason why no more were.
    ///
    /// To serialise a large document after every event is expensive, so it is checked once at the
    /// end, and after each event only if that check fails.
    fn apply_all(&mut self, key: &str, events: &[Arc<RecordedEvent>]) -> (usize, Option<String>) {
        let before = match self.documents.backup(key) {
            Ok(before) => before,
            Err(reason) => return (0, Some(reason)),
        };
        let (applied, reason) = count(events, |event| self.apply_waiting(key, event));
        // The usual case: all of it can be stored, and was serialised once.
        if self.documents.check(key).is_ok() {
            return (applied, reason);
        }
        self.documents.restore(key, before);
        count(events, |event| self.apply_checked(key, event))
    }

    /// Applies one event, unless the document could not be stored after it.
    fn apply_checked(&mut self, key: &str, event: &Arc<RecordedEvent>) -> Result<(), String> {
        let before = self.documents.backup(key)?;
        self.apply_waiting(key, event)?;
        let storable = self.documents.check(key);
        if storable.is_err() {
            self.documents.restore(key, before);
        }
        storable
    }

    fn apply_waiting(&mut self, key: &str, event: &Arc<RecordedEvent>) -> Result<(), String> {
        let change = self.sources.routes.route_parked(event, key);
        apply(&mut self.documents, key, event.position, change)
    }
}

/// Number of events up to the first that fails, and the reason why it does.
fn count(
    events: &[Arc<RecordedEvent>],
    mut apply: impl FnMut(&Arc<RecordedEvent>) -> Result<(), String>,
) -> (usize, Option<String>) {
    let mut applied = 0;
    let reason = events.iter().find_map(|event| {
        let reason = apply(event).err();
        applied += usize::from(reason.is_none());
        reason
    });
    (applied, reason)
}
