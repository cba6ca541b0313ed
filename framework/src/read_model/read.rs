//! Reads: those that wait for a position, and those that wait for a document from the store.
//!
//! Cold documents are loaded beside the folding, many in one call: while one load is under way the
//! next ones gather.

use std::cmp::max;
use std::collections::{BTreeMap, HashMap};

use actix::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::documents::Lookup;
use super::encoding::parse;
use super::folder::Folder;
use super::{Document, ReadModel};
use crate::catch_panic::{Isolated, guarded};
use crate::error::{ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::DocumentsAt;

/// The most documents loaded in one call for reads.
const MOST_COLD: usize = 1_000;

/// A question and where its answer goes.
pub(super) struct Read<M> {
    pub(super) key: String,
    /// The document must reflect everything up to here.
    pub(super) wanted: GlobalPosition,
    pub(super) reply: oneshot::Sender<Result<Document<M>, ReadError>>,
    /// Held until the question is answered or found abandoned, so that few can be in memory.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl<M: 'static> Message for Read<M> {
    type Result = ();
}

impl<M: ReadModel> Read<M> {
    pub(super) fn answer(self, result: Result<Document<M>, ReadError>) {
        if let Err(unread) = self.reply.send(result) {
            // The reader has left. The document's Drop is user code.
            drop(Isolated::new(unread));
        }
    }

    fn not_found(self, reflects: GlobalPosition) {
        let key = self.key.clone();
        self.answer(Err(ReadError::NotFound { model: M::NAME, key, reflects }));
    }

    fn parked(self, position: GlobalPosition, reason: String, reflects: GlobalPosition) {
        let key = self.key.clone();
        self.answer(Err(ReadError::Parked { model: M::NAME, key, position, reason, reflects }));
    }

    fn found(self, body: &M, position: GlobalPosition) {
        let copy = guarded(|| body.clone());
        let place = || format!("{} {:?}", M::NAME, self.key);
        let document = copy.map(|body| Document { body, position }).map_err(|panic| {
            StoreError::Corrupt { place: place(), reason: format!("its copy panicked: {panic}") }
        });
        self.answer(document.map_err(ReadError::from));
    }
}

/// Reads that cannot be answered yet.
pub(super) struct Reads<M> {
    waiting: BTreeMap<GlobalPosition, Vec<Read<M>>>,
    cold: Vec<Read<M>>,
    is_loading: bool,
}

/// Reads whose documents are being loaded, and when that began.
pub(super) struct Loading<M> {
    reads: Vec<Read<M>>,
    /// Position up to which an owner had folded. These documents were not in its memory then, so
    /// every change to them up to that position was stored.
    folded: GlobalPosition,
    evictions: u64,
}

impl<M: ReadModel> Reads<M> {
    pub(super) fn new() -> Self {
        Self { waiting: BTreeMap::new(), cold: Vec::new(), is_loading: false }
    }

    pub(super) fn wait(&mut self, read: Read<M>) {
        self.waiting.entry(read.wanted).or_default().push(read);
    }

    /// Those that waited for a position up to this one.
    pub(super) fn due(&mut self, reached: GlobalPosition) -> Vec<Read<M>> {
        if self.waiting.first_key_value().is_none_or(|(wanted, _)| *wanted > reached) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&reached.next());
        std::mem::replace(&mut self.waiting, later).into_values().flatten().collect()
    }

    /// Answers from memory, or sets the read aside to be loaded.
    pub(super) fn look_up(&mut self, read: Read<M>, folder: &mut Folder<M>) {
        if let Some((position, reason)) = folder.parking.standing(&read.key) {
            let reason = reason.to_owned();
            return read.parked(position, reason, folder.reached.position);
        }
        match folder.documents.lookup(&read.key) {
            Lookup::Hot(body) => read.found(body, folder.reached.position),
            Lookup::Absent => read.not_found(folder.reached.position),
            Lookup::Cold => self.cold.push(read),
        }
    }

    /// Returns the keys to load now, if there are any, and the reads that wait for them.
    pub(super) fn begin_load(
        &mut self,
        folder: &mut Folder<M>,
        is_owner: bool,
    ) -> Option<(Vec<String>, Loading<M>)> {
        if self.is_loading || self.cold.is_empty() {
            return None;
        }
        for read in std::mem::take(&mut self.cold) {
            self.look_up(read, folder); // it may have become hot meanwhile
        }
        // A bounded call, because all its documents are in memory at once.
        let rest = self.cold.split_off(self.cold.len().min(MOST_COLD));
        let reads = std::mem::replace(&mut self.cold, rest);
        let mut keys: Vec<_> = reads.iter().map(|read| read.key.clone()).collect();
        // Many readers may wait for one document, which is loaded once.
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return None;
        }
        self.is_loading = true;
        let evictions = folder.documents.evictions();
        // A standby has folded nothing: its answers reflect what is stored and nothing else.
        let folded = if is_owner { folder.reached.position } else { GlobalPosition::ZERO };
        Some((keys, Loading { reads, folded, evictions }))
    }

    /// Answers the reads of a load that has ended. Each answer names the position that it reflects:
    /// that of memory, or that of the snapshot it was loaded from.
    pub(super) fn end_load(
        &mut self,
        loading: Loading<M>,
        stored: Result<DocumentsAt, StoreError>,
        folder: &mut Folder<M>,
        is_owner: bool,
    ) {
        self.is_loading = false;
        let DocumentsAt { checkpoint, documents, parked } = match stored {
            Ok(stored) => stored,
            Err(error) => {
                let refuse = |read: Read<M>| read.answer(Err(error.clone().into()));
                return loading.reads.into_iter().for_each(refuse);
            }
        };
        let bodies: HashMap<_, _> = documents.into_iter().collect();
        // An owner has its parked keys in memory, newer than the stored ones.
        let parked = parked.into_iter().filter(|_| !is_owner);
        let parked: HashMap<_, _> = parked.map(|parked| (parked.key.clone(), parked)).collect();
        // A cold document had no unsaved change when the load began, so an older checkpoint means
        // that nothing has changed it up to there.
        let stored = checkpoint.map(|checkpoint| checkpoint.position).unwrap_or_default();
        let reflects = max(stored, loading.folded);
        for read in loading.reads {
            if let Some((position, reason)) = folder.parking.standing(&read.key) {
                let reason = reason.to_owned();
                read.parked(position, reason, folder.reached.position);
                continue;
            }
            if reflects < read.wanted {
                self.wait(read); // a standby's store went back: a failover, perhaps
                continue;
            }
            if let Some(parked) = parked.get(&read.key) {
                read.parked(parked.position, parked.reason.clone(), reflects);
                continue;
            }
            // Folded or deleted meanwhile: memory is newer than what was loaded.
            match folder.documents.lookup(&read.key) {
                Lookup::Hot(body) => {
                    read.found(body, folder.reached.position);
                    continue;
                }
                Lookup::Absent => {
                    read.not_found(folder.reached.position);
                    continue;
                }
                Lookup::Cold => {}
            }
            let Some(body) = bodies.get(&read.key) else {
                read.not_found(reflects);
                continue;
            };
            match parse::<M>(&read.key, body) {
                Ok(body) => {
                    let key = read.key.clone();
                    read.found(&body, reflects);
                    // If a document has left memory since, it may have been this one, and newer.
                    if folder.documents.evictions() == loading.evictions {
                        folder.documents.warm(key, || Ok(body.into_inner()));
                    }
                }
                Err(error) => read.answer(Err(error.into())),
            }
        }
    }

    /// The reads of a load whose answer is of no use.
    pub(super) fn give_up_load(&mut self, loading: Loading<M>) -> Vec<Read<M>> {
        self.is_loading = false;
        loading.reads
    }

    /// Returns true if no read waits for its position.
    pub(super) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns `true` if no read waits at all.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.cold.is_empty()
    }

    /// All that wait, for a position or for a document that is not being loaded yet.
    pub(super) fn take_all(&mut self) -> Vec<Read<M>> {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        waiting.chain(self.cold.drain(..)).collect()
    }

    /// Answers all that wait with the same error.
    pub(super) fn refuse_all(&mut self, error: &ReadError) {
        for read in self.take_all() {
            read.answer(Err(error.clone()));
        }
    }

    /// Forgets reads whose callers have left.
    pub(super) fn forget_abandoned(&mut self) {
        let is_awaited = |read: &Read<M>| !read.reply.is_closed();
        self.waiting.retain(|_, reads| {
            reads.retain(is_awaited);
            !reads.is_empty()
        });
        self.cold.retain(is_awaited);
    }
}
