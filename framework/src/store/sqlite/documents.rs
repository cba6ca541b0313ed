//! The store's documents. They are loaded with the checkpoint and the parked keys that belong to them
//! from one snapshot: all of it is one statement, so no save can come between its parts.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::SqliteStore;
use super::side_write::SideWrite;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, PageLimit, ParkedAt,
    PartitionId, StoredPage,
};

const DOCUMENTS_AT: &str = "
    SELECT 'document', key, body, NULL, NULL, NULL
    FROM documents WHERE model = ?1 AND key IN (SELECT value FROM json_each(?3))
    UNION ALL
    SELECT 'parked', key, reason, position, NULL, NULL
    FROM parked WHERE model = ?1 AND key IN (SELECT value FROM json_each(?3))
    UNION ALL
    SELECT 'checkpoint', NULL, NULL, position, log_id, event_id
    FROM checkpoints WHERE model = ?1 AND partition = ?2";

impl SqliteStore {
    pub(super) async fn read_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        let asked = serde_json::to_string(keys).map_err(|e| self.corrupt("a list of keys", e))?;
        let mut reader = self.reader().await?;
        let rows = sqlx::query(DOCUMENTS_AT)
            .bind(partition.model.clone())
            .bind(partition.number)
            .bind(asked)
            .fetch_all(&mut *reader)
            .await;
        let mut found = DocumentsAt::default();
        for row in rows.map_err(|e| self.unavailable(&e))? {
            let added = add(&mut found, &row);
            added.map_err(|e| self.corrupt(format!("the documents of {partition}"), e))?;
        }
        Ok(found)
    }
}

fn add(found: &mut DocumentsAt, row: &SqliteRow) -> Result<(), sqlx::Error> {
    let position = || row.try_get::<i64, _>(3).map(|position| GlobalPosition(position as u64));
    let uuid = |column: usize| {
        Uuid::from_slice(row.try_get(column)?).map_err(|e| sqlx::Error::Decode(e.into()))
    };
    match row.try_get::<&str, _>(0)? {
        "document" => found.documents.push((row.try_get(1)?, row.try_get(2)?)),
        "parked" => {
            let (key, reason) = (row.try_get(1)?, row.try_get(2)?);
            found.parked.push(ParkedAt { key, position: position()?, reason });
        }
        _ => {
            let (position, log_id, event_id) = (position()?, uuid(4)?, uuid(5)?);
            found.checkpoint = Some(Checkpoint { log_id, position, event_id });
        }
    }
    Ok(())
}

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn load_documents(
        &self,
        model: &str,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read_documents(model, keys).await
    }

    async fn load_documents_at(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        self.read_documents_at(partition, keys).await
    }

    async fn scan_documents(
        &self,
        model: &str,
        after: Option<&str>,
        limit: PageLimit,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read_documents_after(model, after, limit).await
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        self.read_page(model, range).await
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        self.write_beside(SideWrite::Documents(batch)).await.map(drop)
    }
}
