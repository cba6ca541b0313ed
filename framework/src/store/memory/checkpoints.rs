//! Checkpoints and parked keys in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, ParkedKey, ParkedRequest, PartitionId, SkippedEvent,
};
use crate::store::kit::parked_keys::text;

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
