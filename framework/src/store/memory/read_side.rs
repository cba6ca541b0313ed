//! What the memory store keeps for read models: documents, checkpoints, parked keys, versions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use async_trait::async_trait;

use super::versions::Versions;
use super::{MemoryStore, within};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, CheckpointUpdate, DocumentBatch, DocumentRange, DocumentStore,
    DocumentsAt, MAX_LIST_BYTES, PageLimit, ParkedAt, ParkedKey, ParkedRequest, PartitionId,
    ProjectionStore, SkippedEvent, StoredPage,
};
use crate::store::kit::checkpoint_rule::{Stored, continues};
use crate::store::kit::list::{Bounds, Found};
use crate::store::kit::parked_keys::{Parking, text, time};

/// By model, and what is of one model in the order in which it is answered.
#[derive(Default)]
pub(super) struct ReadSide {
    documents: HashMap<String, BTreeMap<String, String>>,
    checkpoints: HashMap<PartitionId, Stored>,
    parked: HashMap<String, BTreeMap<String, ParkedKey>>,
    skipped: HashMap<String, BTreeMap<(GlobalPosition, String), SkippedEvent>>,
    pub(super) versions: Versions,
}

impl ReadSide {
    /// Forgets a model with all that belongs to it.
    pub(super) fn forget(&mut self, model: &str) {
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
            let body = (bytes < MAX_LIST_BYTES).then(|| body.clone());
            bytes += body.as_ref().map_or(0, String::len);
            found.documents.push((key.clone(), body));
        }
        let parked = self.parked.get(model);
        let parked = parked.into_iter().flat_map(|all| all.range::<str, _>(keys()));
        found.parked = parked.take(bounds.sought()).map(|(key, _)| key.clone()).collect();
        found
    }

    /// Takes a step; `false` if it was taken already.
    fn update_checkpoint(&mut self, update: &CheckpointUpdate) -> Result<bool, StoreError> {
        let stored = self.checkpoints.get(&update.partition).copied();
        if !continues(update, stored)? {
            return Ok(false);
        }
        self.park(&update.partition, Parking::of(&update.parked))?;
        self.checkpoints.insert(update.partition.clone(), Stored::after(update));
        Ok(true)
    }

    /// Applies what the changes come to, all of it or nothing.
    fn park(&mut self, partition: &PartitionId, changes: Parking) -> Result<(), StoreError> {
        let parked = self.parked.entry(partition.model.clone()).or_default();
        let will_be = |key: &str| changes.parked.iter().any(|parked| parked.key == key);
        let is = |key: &String| parked.contains_key(key) && !changes.released.contains(key);
        let queued = changes.queued.iter().map(|(key, _)| key);
        let behind = queued.chain(changes.unlisted.iter().map(|(key, ..)| key));
        if let Some(key) = behind.into_iter().find(|key| !will_be(key) && !is(key)) {
            let reason =
                format!("the key {key:?} of {partition} is not parked: nothing waits there");
            return Err(StoreError::Unavailable(reason));
        }
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
}

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.read_side().checkpoints.get(partition).map(|stored| stored.checkpoint))
    }

    async fn load_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
    ) -> Result<Vec<ParkedKey>, StoreError> {
        let read_side = self.read_side();
        let parked = read_side.parked.get(model).into_iter().flat_map(BTreeMap::values);
        let is_asked = |parked: &&ParkedKey| of.is_none_or(|of| of.contains(&parked.key));
        Ok(parked.filter(is_asked).cloned().collect())
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        let read_side = self.read_side();
        let skipped = read_side.skipped.get(model).into_iter().flat_map(BTreeMap::values);
        Ok(skipped.cloned().collect())
    }

    async fn load_requests(
        &self,
        model: &str,
    ) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, StoreError> {
        let read_side = self.read_side();
        let parked = read_side.parked.get(model).into_iter().flat_map(BTreeMap::values);
        let asked = |parked: &ParkedKey| {
            parked.request.clone().map(|request| (parked.key.clone(), parked.position, request))
        };
        Ok(parked.filter_map(asked).collect())
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let mut read_side = self.read_side();
        let parked = read_side.parked.get_mut(model).and_then(|parked| parked.get_mut(key));
        let Some(parked) = parked.filter(|parked| parked.position == position) else {
            return Ok(false);
        };
        parked.request = Some(match request {
            ParkedRequest::Retry => ParkedRequest::Retry,
            ParkedRequest::Skip { reason } => ParkedRequest::Skip { reason: text(&reason) },
        });
        Ok(true)
    }
}

#[async_trait]
impl DocumentStore for MemoryStore {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        let read_side = self.read_side();
        let Some(documents) = read_side.documents.get(model) else { return Ok(Vec::new()) };
        let body = |key: &String| documents.get(key).map(|body| (key.clone(), body.clone()));
        Ok(keys.iter().filter_map(body).collect())
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        let read_side = self.read_side(); // one lock, so one moment
        let (documents, parked) =
            (read_side.documents.get(&partition.model), read_side.parked.get(&partition.model));
        let body = |key: &String| Some((key.clone(), documents?.get(key)?.clone()));
        let parked = |key: &String| {
            let parked = parked?.get(key)?;
            let (position, reason) = (parked.position, parked.reason.clone());
            Some(ParkedAt { key: key.clone(), position, reason })
        };
        Ok(DocumentsAt {
            checkpoint: read_side.checkpoints.get(partition).map(|stored| stored.checkpoint),
            documents: keys.iter().filter_map(body).collect(),
            parked: keys.iter().filter_map(parked).collect(),
        })
    }

    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let read_side = self.read_side();
        let Some(documents) = read_side.documents.get(model) else { return Ok(Vec::new()) };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = documents.range::<str, _>((after, Bound::Unbounded));
        let page = within(limit, rest, |(_, body)| body.len());
        Ok(page.map(|(key, body)| (key.clone(), body.clone())).collect())
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        let read_side = self.read_side();
        let bounds = Bounds::of(range);
        Ok(read_side.find(model, &bounds).page(bounds.limit))
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        let mut read_side = self.read_side();
        self.leases.check(&batch.update)?;
        if read_side.update_checkpoint(&batch.update)? {
            let model = batch.update.partition.model;
            let documents = read_side.documents.entry(model).or_default();
            batch.deleted.iter().for_each(|key| drop(documents.remove(key)));
            documents.extend(batch.documents);
        }
        Ok(())
    }
}

/// It has no database to give.
impl ProjectionStore for MemoryStore {}
