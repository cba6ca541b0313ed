//! The documents in memory: hot ones, and all that are not saved yet.
//!
//! A document leaves memory only when the store has it as it is. So a key that is not here is in
//! the store, current, or nowhere. The exception is a document that cannot be stored: it leaves
//! memory together with the positions of its unsaved events, and the caller parks its key. No I/O
//! here.

use std::cmp::max;
use std::collections::HashMap;
use std::io::{self, Write};

use lru::LruCache;

use super::ReadModel;
use super::encoding::encode;
use crate::catch_panic::{Isolated, guarded};
use crate::event::GlobalPosition;

pub(super) struct Documents<M> {
    hot: LruCache<String, Hot<M>>,
    capacity: usize,
    /// Keys of the documents that are `Changed`, each once.
    changed: Vec<String>,
    /// Keys of the documents that were handed out to be saved.
    saving: Vec<String>,
    /// Nothing was ever stored that is not here.
    is_complete: bool,
    /// True if loaded documents stay in memory. A standby keeps none, because they are old as soon as the
    /// owner saves.
    keeps: bool,
    evictions: u64,
    /// Stays, though it may be saved.
    pinned: Option<String>,
    /// Keys whose stored document does not decode, and why: an event cannot be applied to it.
    unreadable: HashMap<String, String>,
    /// A document has changed since the last sample.
    is_unsampled: bool,
    /// Bytes that were serialised for samples since documents were last handed out.
    sampled: usize,
}

struct Hot<M> {
    /// `None` if the document is deleted. It stays here until the store has deleted it too.
    body: Option<M>,
    stored: Stored,
    /// The positions of the events that changed it since it was last handed out.
    pending: Vec<GlobalPosition>,
}

/// Counts what is written and keeps nothing of it.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A document that cannot be stored. Memory has forgotten it, so the store's older one counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unstorable {
    pub(crate) key: String,
    /// The events that the stored document lacks, in order. There is at least one.
    pub(super) positions: Vec<GlobalPosition>,
    pub(crate) reason: String,
}

/// Documents that a save writes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct HandedOut {
    /// Key and JSON text of each document that changed.
    pub(super) documents: Vec<(String, String)>,
    /// Keys of those that were deleted.
    pub(super) deleted: Vec<String>,
    pub(super) unstorable: Vec<Unstorable>,
}

/// A document as it was before some events, to return to it.
pub(super) struct Backup<M>(Option<Hot<M>>);

impl<M> Drop for Hot<M> {
    /// A document's Drop is user code. A panic in it must not end the actor.
    fn drop(&mut self) {
        drop(Isolated::new(self.body.take()));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    AsItIs,
    /// As it was handed out, once that save succeeds.
    Soon,
    /// In an older form, or not at all.
    Changed,
}

/// Document of a key in memory.
pub(super) enum Lookup<'a, M> {
    Hot(&'a M),
    /// There is no such document.
    Absent,
    /// Ask the store.
    Cold,
}

impl<M: ReadModel> Documents<M> {
    /// `is_complete`: nothing was ever stored of this read model.
    pub(super) fn new(capacity: usize, is_complete: bool) -> Self {
        Self {
            hot: LruCache::unbounded(),
            capacity: max(capacity, 1),
            changed: Vec::new(),
            saving: Vec::new(),
            is_complete,
            keeps: true,
            evictions: 0,
            pinned: None,
            unreadable: HashMap::new(),
            is_unsampled: false,
            sampled: 0,
        }
    }

    /// Knows nothing and takes in nothing, because somebody else folds.
    pub(super) fn none() -> Self {
        Self { keeps: false, ..Self::new(0, false) }
    }

    pub(super) fn lookup(&mut self, key: &str) -> Lookup<'_, M> {
        let is_complete = self.is_complete;
        match self.hot.get(key).map(|hot| &hot.body) {
            Some(Some(body)) => Lookup::Hot(body),
            Some(None) => Lookup::Absent,
            // Everything that was ever stored is here, so a new read model never asks the store.
            None if is_complete => Lookup::Absent,
            None => Lookup::Cold,
        }
    }

    /// A document in memory, for a change of what is not stored of it.
    pub(super) fn peek_mut(&mut self, key: &str) -> Option<&mut M> {
        self.hot.peek_mut(key)?.body.as_mut()
    }

    /// Returns true if the document must be loaded before it can change.
    pub(super) fn is_cold(&self, key: &str) -> bool {
        !self.is_complete && !self.hot.contains(key) && !self.unreadable.contains_key(key)
    }

    /// Takes in a document as the store has it, unless memory has it already. `body` is the reason
    /// if the stored text does not decode: until [`Documents::forget_unreadable`] every change of
    /// the document fails with it.
    pub(super) fn warm(&mut self, key: String, body: impl FnOnce() -> Result<M, String>) {
        // What memory has is newer: it was folded while the stored text was being loaded.
        if !self.keeps || self.hot.contains(&key) {
            return;
        }
        match body() {
            Ok(body) => {
                let hot = Hot { body: Some(body), stored: Stored::AsItIs, pending: Vec::new() };
                self.hot.put(key, hot);
            }
            Err(reason) => {
                self.unreadable.insert(key, reason);
            }
        }
    }

    /// Forgets which stored documents did not decode. Only when no page waits to be folded: each
    /// change of such a document must find the reason here, and never begin at the default.
    pub(super) fn forget_unreadable(&mut self) {
        self.unreadable.clear();
    }

    /// Applies a change to a copy of a document, or to the default if there is none. Returns the
    /// copy, or `None` if the document is then to be deleted. The document itself stays as it is.
    ///
    /// # Errors
    /// The read model's code panicked, or the stored document does not decode.
    pub(super) fn changed_copy(
        &self,
        key: &str,
        apply: impl FnOnce(&mut M),
    ) -> Result<Isolated<Option<M>>, String> {
        if let Some(reason) = self.unreadable.get(key) {
            return Err(reason.clone());
        }
        // `peek` and not `get`, because a change that fails must not make the document look used.
        let before = self.hot.peek(key).and_then(|hot| hot.body.as_ref());
        let changed = guarded(|| {
            let mut body = Isolated::new(before.cloned().unwrap_or_default());
            apply(&mut body);
            Isolated::new((!body.is_deleted()).then(|| body.into_inner()))
        });
        changed.map_err(|panic| format!("panicked: {panic}"))
    }

    /// Replaces a document by a copy of it that the event at a position has changed; `None` deletes
    /// it.
    pub(super) fn put_changed(&mut self, key: &str, at: GlobalPosition, body: Isolated<Option<M>>) {
        let body = body.into_inner();
        self.is_unsampled = true;
        match self.hot.get_mut(key) {
            Some(hot) => {
                drop(Isolated::new(std::mem::replace(&mut hot.body, body)));
                hot.pending.push(at);
                // Its key is in `changed` already. Twice there, the document would be written
                // twice.
                if hot.stored == Stored::Changed {
                    return;
                }
                hot.stored = Stored::Changed;
            }
            None => {
                let hot = Hot { body, stored: Stored::Changed, pending: vec![at] };
                self.hot.put(key.to_owned(), hot);
            }
        }
        self.changed.push(key.to_owned());
    }

    /// Size of the document that changed last, as JSON. `None` if none has changed since the last
    /// sample, or it cannot be JSON, which the save finds out too.
    ///
    /// To serialise a large document for every page would cost as much as folding it. So samples end
    /// once they had `most_bytes` between two saves; each save measures all that has changed.
    pub(super) fn sample(&mut self, most_bytes: usize) -> Option<usize> {
        if !std::mem::take(&mut self.is_unsampled) || self.sampled >= most_bytes {
            return None;
        }
        let (_, hot) = self.hot.iter().next()?; // the one used last
        let mut counted = Counted(0);
        let written = guarded(|| serde_json::to_writer(&mut counted, hot.body.as_ref()?).ok());
        self.sampled = self.sampled.saturating_add(counted.0);
        written.ok().flatten().map(|()| counted.0)
    }

    /// Sets how many documents stay in memory.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = max(capacity, 1);
    }

    /// Checks that a document can be stored as it is now.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn check(&self, key: &str) -> Result<(), String> {
        let body = self.hot.peek(key).and_then(|hot| hot.body.as_ref());
        body.map_or(Ok(()), |body| encode(body).map(drop))
    }

    /// A copy of a document as it is now, to be restored if what follows fails.
    ///
    /// # Errors
    /// Its `Clone` panicked.
    pub(super) fn backup(&self, key: &str) -> Result<Backup<M>, String> {
        let Some(hot) = self.hot.peek(key) else { return Ok(Backup(None)) };
        let body = guarded(|| hot.body.clone()).map_err(|panic| format!("panicked: {panic}"))?;
        let copy = Hot { body, stored: hot.stored, pending: hot.pending.clone() };
        Ok(Backup(Some(copy)))
    }

    /// Undoes what changed a document since its backup.
    pub(super) fn restore(&mut self, key: &str, backup: Backup<M>) {
        let was_changed = matches!(&backup.0, Some(hot) if hot.stored == Stored::Changed);
        match backup.0 {
            Some(hot) => drop(self.hot.put(key.to_owned(), hot)),
            None => drop(self.hot.pop(key)),
        }
        // Otherwise the next save would write a document that has not changed.
        if !was_changed {
            self.changed.retain(|changed| changed != key);
        }
    }

    /// Keeps this document in memory until the next is pinned.
    pub(super) fn pin(&mut self, key: Option<String>) {
        self.pinned = key;
    }

    /// Returns the number of documents that are not saved yet.
    pub(super) fn unsaved(&self) -> usize {
        self.changed.len() + self.saving.len()
    }

    /// Returns the number of documents that changed since they were passed to a save.
    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Hands out all changed documents as they are now, as JSON texts that decode again. What
    /// cannot be stored is handed out as such and leaves memory.
    pub(super) fn hand_out(&mut self) -> HandedOut {
        self.sampled = 0;
        let mut handed_out = HandedOut::default();
        for key in std::mem::take(&mut self.changed) {
            let Some(hot) = self.hot.peek_mut(&key) else { continue };
            let positions = std::mem::take(&mut hot.pending);
            match hot.body.as_ref().map(encode).transpose() {
                Ok(json) => {
                    // Not `AsItIs` before the save succeeds, because a document that could be
                    // evicted now would be read back in its older form.
                    hot.stored = Stored::Soon;
                    self.saving.push(key.clone());
                    match json {
                        Some(json) => handed_out.documents.push((key, json)),
                        None => handed_out.deleted.push(key),
                    }
                }
                Err(reason) => {
                    self.forget(&key);
                    handed_out.unstorable.push(Unstorable { key, positions, reason });
                }
            }
        }
        handed_out
    }

    /// The store may have an older document with this key, which is the one that counts.
    fn forget(&mut self, key: &str) {
        drop(self.hot.pop(key));
        // From here on a key that is missing may be in the store.
        self.is_complete = false;
        self.evictions += 1;
    }

    /// Records that the documents of the last save are stored.
    pub(super) fn saved(&mut self) {
        for key in self.saving.drain(..) {
            if let Some(hot) = self.hot.peek_mut(&key)
                // One that has changed again since the save began is still newer than the store.
                && hot.stored == Stored::Soon
            {
                hot.stored = Stored::AsItIs;
            }
        }
    }

    /// Returns the maximum number of documents in memory.
    fn enough(&self) -> usize {
        max(self.capacity, self.unsaved() + usize::from(self.pinned.is_some()))
    }

    /// Returns true if a quarter more than the maximum are in memory.
    pub(super) fn is_overfull(&self) -> bool {
        self.hot.len() > self.enough() + self.enough() / 4
    }

    /// Lets the longest unused documents go, as far as they are saved.
    pub(super) fn evict(&mut self) {
        while self.hot.len() > self.enough() {
            let Some((key, hot)) = self.hot.peek_lru() else { return };
            if hot.stored == Stored::AsItIs && self.pinned.as_ref() != Some(key) {
                self.hot.pop_lru();
                self.evictions += 1;
                self.is_complete = false;
            } else {
                // Used again, in a way; so each one is met once in a round, not every time.
                let key = key.clone();
                self.hot.promote(&key);
            }
        }
    }

    /// Grows with every document that leaves memory.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }
}
