//! What the memory store keeps for read models: documents, checkpoints, parked keys, versions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::MemoryStore;
use super::versions::Versions;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    CheckpointUpdate, MAX_LIST_BYTES, ParkedKey, ParkedRequest, PartitionId, ProjectionStore,
    SkippedEvent,
};
use crate::store::kit::checkpoint_rule::{Stored, continues};
use crate::store::kit::list::{Bounds, Found};
use crate::store::kit::parked_keys::{Parking, time};

/// By model, and what is of one model in the order in which it is answered.
#[derive(Default)]
pub(super) struct ReadSide {
    pub(super) documents: HashMap<String, BTreeMap<String, String>>,
    pub(super) checkpoints: HashMap<PartitionId, Stored>,
    pub(super) parked: HashMap<String, BTreeMap<String, ParkedKey>>,
    pub(super) skipped: HashMap<String, BTreeMap<(GlobalPosition, String), SkippedEvent>>,
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

    pub(super) fn find(&self, model: &str, bounds: &Bounds) -> Found {
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
    pub(super) fn update_checkpoint(
        &mut self,
        update: &CheckpointUpdate,
    ) -> Result<bool, StoreError> {
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

/// It has no database to give.
impl ProjectionStore for MemoryStore {}
