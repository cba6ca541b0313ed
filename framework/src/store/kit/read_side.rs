//! Documents, checkpoints and parked keys in memory, as plain data under the caller's lock.
//!
//! `MemoryStore` keeps its read side in it. A store that keeps everything in memory, and writes a
//! journal, can do the same.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::checkpoint_rule::{Stored, continues};
use super::list::{Bounds, Found};
use super::parked_keys::{ParkedDelta, page, text, time};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, DocumentBatch, DocumentRange, DocumentsAt, MAX_LIST_BYTES,
    ParkedAt, ParkedKey, ParkedPage, ParkedQuery, ParkedRequest, PartitionId, SkippedEvent,
    StoredPage,
};

/// Read side of a store: rows by model, those of one model in the order in which they are returned.
#[derive(Debug, Clone, Default)]
pub struct ReadSide {
    documents: HashMap<String, BTreeMap<String, String>>,
    checkpoints: HashMap<PartitionId, Stored>,
    parked: HashMap<String, BTreeMap<String, ParkedKey>>,
    skipped: HashMap<String, BTreeMap<(GlobalPosition, String), SkippedEvent>>,
}

impl ReadSide {
    /// Stores a batch whole or not at all. The caller has checked its lease.
    ///
    /// # Errors
    /// See `DocumentStore::save_documents`.
    pub fn save(&mut self, batch: DocumentBatch) -> Result<(), StoreError> {
        // An update that is stored already changes nothing: its reply was lost, so it was sent again.
        if self.update_checkpoint(&batch.update)? {
            let documents = self.documents.entry(batch.update.partition.model).or_default();
            batch.deleted.iter().for_each(|key| drop(documents.remove(key)));
            documents.extend(batch.documents);
        }
        Ok(())
    }

    /// Checks an update without storing anything: true if [`ReadSide::save`] would store it now,
    /// false if it is stored already. A store that writes a journal calls it before.
    ///
    /// # Errors
    /// See `DocumentStore::save_documents`.
    pub fn admits(&self, update: &CheckpointUpdate) -> Result<bool, StoreError> {
        let is_new = continues(update, self.checkpoints.get(&update.partition).copied())?;
        self.check_parked(&update.partition, &ParkedDelta::of(&update.parked))?;
        Ok(is_new)
    }

    /// See `CheckpointStore::load_checkpoint`.
    pub fn checkpoint(&self, partition: &PartitionId) -> Option<Checkpoint> {
        self.checkpoints.get(partition).map(|stored| stored.checkpoint)
    }

    /// The greatest token that anything was stored under; see `Leases::after`.
    pub fn last_token(&self) -> u64 {
        self.checkpoints.values().map(|stored| stored.token).max().unwrap_or(0)
    }

    /// See `CheckpointStore::load_parked`.
    pub fn parked(&self, model: &str, query: &ParkedQuery) -> ParkedPage {
        page(self.parked.get(model).into_iter().flat_map(BTreeMap::values), query)
    }

    /// See `CheckpointStore::load_skipped`.
    pub fn skipped(&self, model: &str) -> Vec<SkippedEvent> {
        self.skipped.get(model).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// See `CheckpointStore::request_parked`.
    pub fn request(
        &mut self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> bool {
        let parked = self.parked.get_mut(model).and_then(|parked| parked.get_mut(key));
        let Some(parked) = parked.filter(|parked| parked.position == position) else {
            return false;
        };
        parked.request = Some(match request {
            ParkedRequest::Retry => ParkedRequest::Retry,
            ParkedRequest::Skip { reason } => ParkedRequest::Skip { reason: text(&reason) },
        });
        true
    }

    /// See `DocumentStore::load_documents`.
    pub fn documents(&self, partition: &PartitionId, keys: &[String]) -> DocumentsAt {
        let (documents, parked) =
            (self.documents.get(&partition.model), self.parked.get(&partition.model));
        let body = |key: &String| Some((key.clone(), documents?.get(key)?.clone()));
        let parked = |key: &String| {
            let parked = parked?.get(key)?;
            let (position, reason) = (parked.position, parked.reason.clone());
            Some(ParkedAt { key: key.clone(), position, reason })
        };
        DocumentsAt {
            checkpoint: self.checkpoint(partition),
            documents: keys.iter().filter_map(body).collect(),
            parked: keys.iter().filter_map(parked).collect(),
        }
    }

    /// See `DocumentStore::list_documents`.
    pub fn list(&self, model: &str, range: &DocumentRange) -> StoredPage {
        let bounds = Bounds::of(range);
        self.find(model, &bounds).page(bounds.limit)
    }

    /// Deletes a model with all that belongs to it.
    pub fn forget(&mut self, model: &str) {
        self.documents.remove(model);
        self.checkpoints.retain(|partition, _| partition.model != model);
        self.parked.remove(model);
        self.skipped.remove(model);
    }

    fn find(&self, model: &str, bounds: &Bounds) -> Found {
        let mut found = Found::default();
        let of_model = self.checkpoints.iter().filter(|(partition, _)| partition.model == model);
        let position =
            |(id, stored): (&PartitionId, &Stored)| (id.number, stored.checkpoint.position);
        found.checkpoints = of_model.map(position).collect();
        if bounds.from >= bounds.below {
            return found; // a `BTreeMap` refuses a range that ends before it begins
        }
        let keys = || (Bound::Included(&*bounds.from), Bound::Excluded(&*bounds.below));
        let documents = self.documents.get(model);
        let documents = documents.into_iter().flat_map(|all| all.range::<str, _>(keys()));
        let mut bytes = 0;
        for (key, body) in documents.take(bounds.sought()) {
            // Bodies are cloned up to the bound only, so that a page of large documents stays small.
            let body = (bytes < MAX_LIST_BYTES).then(|| body.clone());
            bytes += body.as_ref().map_or(0, String::len);
            found.documents.push((key.clone(), body));
        }
        let parked = self.parked.get(model);
        let parked = parked.into_iter().flat_map(|all| all.range::<str, _>(keys()));
        found.parked = parked.take(bounds.sought()).map(|(key, _)| key.clone()).collect();
        found
    }

    /// Takes an update; false if it was taken already.
    fn update_checkpoint(&mut self, update: &CheckpointUpdate) -> Result<bool, StoreError> {
        let stored = self.checkpoints.get(&update.partition).copied();
        if !continues(update, stored)? {
            return Ok(false);
        }
        // Before the checkpoint, because this may refuse the update, and nothing of it may be stored then.
        self.park(&update.partition, ParkedDelta::of(&update.parked))?;
        self.checkpoints.insert(update.partition.clone(), Stored::after(update));
        Ok(true)
    }

    /// Applies what the changes come to, all of it or nothing.
    fn park(&mut self, partition: &PartitionId, changes: ParkedDelta) -> Result<(), StoreError> {
        // Before the first change, because a refused update must leave everything as it was.
        self.check_parked(partition, &changes)?;
        let parked = self.parked.entry(partition.model.clone()).or_default();
        for key in changes.released {
            parked.remove(&key);
        }
        for new in changes.parked {
            let old = parked.remove(&new.key);
            let position = GlobalPosition(new.position);
            let is_to_skip = |old: &ParkedKey| {
                old.position == position && matches!(old.request, Some(ParkedRequest::Skip { .. }))
            };
            let mut queue = old.as_ref().map_or_else(Vec::new, |old| old.queue.clone());
            queue.retain(|queued| queued.0 > new.done_to);
            let new = ParkedKey {
                key: new.key,
                partition: new.partition,
                position,
                event: new.event,
                reason: new.reason,
                attempts: new.attempts,
                // The key has been parked since then; only its place has changed.
                since: old.as_ref().map_or_else(|| time(new.since), |old| old.since),
                waiting: queue.len() as u64,
                queue,
                unlisted_from: old.as_ref().and_then(|old| old.unlisted_from),
                unlisted_sum: old.as_ref().map_or(0, |old| old.unlisted_sum),
                request: old.filter(is_to_skip).and_then(|old| old.request),
            };
            parked.insert(new.key.clone(), new);
        }
        for (key, forgotten_from, from, sum) in changes.unlisted {
            let Some(parked) = parked.get_mut(&key) else { continue };
            let stays = |at: &GlobalPosition| forgotten_from.is_none_or(|from| at.0 < from);
            parked.queue.retain(stays);
            parked.waiting = parked.queue.len() as u64;
            parked.unlisted_from = from.map(GlobalPosition);
            parked.unlisted_sum = sum;
        }
        for (key, position) in changes.queued {
            if let Some(parked) = parked.get_mut(&key)
                && let Err(place) = parked.queue.binary_search(&GlobalPosition(position))
            {
                parked.queue.insert(place, GlobalPosition(position));
                parked.waiting += 1;
            }
        }
        let skipped = self.skipped.entry(partition.model.clone()).or_default();
        for new in changes.skipped {
            let position = GlobalPosition(new.position);
            skipped.entry((position, new.key.clone())).or_insert_with(|| SkippedEvent {
                key: new.key,
                position,
                event: new.event,
                reason: new.reason,
                skipped_at: time(new.skipped_at),
            });
        }
        Ok(())
    }
    /// Refuses changes of which one waits behind a key that is not parked.
    fn check_parked(
        &self,
        partition: &PartitionId,
        changes: &ParkedDelta,
    ) -> Result<(), StoreError> {
        let parked = self.parked.get(&partition.model);
        let will_be = |key: &str| changes.parked.iter().any(|parked| parked.key == key);
        let is = |key: &String| {
            parked.is_some_and(|parked| parked.contains_key(key)) && !changes.released.contains(key)
        };
        let queued = changes.queued.iter().map(|(key, _)| key);
        let behind = queued.chain(changes.unlisted.iter().map(|(key, ..)| key));
        // An event behind a key that is not parked would never be tried again, so the writer is wrong about
        // what is stored.
        if let Some(key) = behind.into_iter().find(|key| !will_be(key) && !is(key)) {
            let reason =
                format!("the key {key:?} of {partition} is not parked: nothing waits there");
            return Err(StoreError::Unavailable(reason));
        }
        Ok(())
    }
}
