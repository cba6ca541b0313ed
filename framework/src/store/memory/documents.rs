//! Documents in memory, with the checkpoints and parked keys of the same moment.

use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStore, within};
use crate::error::StoreError;
use crate::store::contract::{
    DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, PageLimit, ParkedAt, PartitionId,
    StoredPage,
};
use crate::store::kit::list::Bounds;

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
