//! Documents and open work in memory. There are no projections, because there is no SQL database to give.

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::StoreError;
use crate::store::contract::{
    DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, OpenWork, PageLimit, PartitionId,
    ProjectionStore, StoredPage, WorkDue,
};

#[async_trait]
impl DocumentStore for MemoryStore {
    async fn load_documents(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        Ok(self.read_side().documents(partition, keys)) // one lock, so one moment
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        Ok(self.read_side().list(model, range))
    }

    async fn load_work(
        &self,
        partition: &PartitionId,
        after: Option<WorkDue>,
        limit: PageLimit,
    ) -> Result<Vec<OpenWork>, StoreError> {
        Ok(self.read_side().work(partition, after, limit))
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        // The lease is checked under the lock, so that its next owner finds what is stored.
        let mut read_side = self.read_side();
        self.leases.check(&batch.update)?;
        read_side.save(batch)
    }
}

impl ProjectionStore for MemoryStore {}
