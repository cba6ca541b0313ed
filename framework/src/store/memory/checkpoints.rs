//! Checkpoints and parked keys in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, ParkedPage, ParkedQuery, ParkedRequest, PartitionId, SkippedEvent,
};

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.read_side().checkpoint(partition))
    }

    async fn load_parked(
        &self,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        Ok(self.read_side().parked(model, query))
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        Ok(self.read_side().skipped(model))
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        Ok(self.read_side().request(model, key, position, request))
    }
}
