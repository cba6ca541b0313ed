//! The store's documents. They are loaded with the checkpoint and the parked keys that belong to them
//! from one snapshot: all of it is one statement, so no save can come between its parts.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::side_write::SideWrite;
use super::{SqliteStore, open_work};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, MAX_LIST_BYTES, OpenWork,
    PageLimit, ParkedAt, PartitionId, StoredPage, WorkDue,
};
use crate::store::kit::list::{Bounds, Found};

/// `octet_length` reads the header of a row; only the bodies of the page are read themselves.
const PAGE: &str = "
    WITH page AS (SELECT key, octet_length(body) AS size FROM documents
                  WHERE model = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4 + 0),
    sized AS (SELECT key, sum(size) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING) - size AS before
              FROM page)
    SELECT 'document' AS kind, key,
           CASE WHEN before < ?5 THEN (SELECT body FROM documents AS d
                                       WHERE d.model = ?1 AND d.key = sized.key) END AS body,
           0 AS partition, 0 AS position
    FROM sized
    UNION ALL
    SELECT 'parked', key, NULL, 0, 0
    FROM (SELECT key FROM parked WHERE model = ?1 AND key >= ?2 AND key < ?3
          ORDER BY key LIMIT ?4 + 0)
    UNION ALL
    SELECT 'checkpoint', '', NULL, partition, position FROM checkpoints WHERE model = ?1";

const DOCUMENTS_AT: &str = "
    SELECT 'document', key, body, NULL, NULL, NULL
    FROM documents WHERE model = ?1 AND key IN (SELECT value FROM json_each(?3))
    UNION ALL
    SELECT 'parked', key, reason, position, NULL, NULL
    FROM parked WHERE model = ?1 AND key IN (SELECT value FROM json_each(?3))
    UNION ALL
    SELECT 'checkpoint', NULL, NULL, position, log_id, event_id
    FROM checkpoints WHERE model = ?1 AND partition = ?2";

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn load_documents(
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

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        let bounds = Bounds::of(range);
        let mut reader = self.reader().await?;
        let rows = sqlx::query(PAGE)
            .bind(model.to_owned())
            .bind(bounds.from.clone())
            .bind(bounds.below.clone())
            .bind(bounds.sought() as i64)
            .bind(MAX_LIST_BYTES as i64)
            .fetch_all(&mut *reader)
            .await;
        let rows = rows.map_err(|e| self.unavailable(&e))?;
        let mut found = Found::default();
        for row in &rows {
            let taken = take(row, &mut found);
            taken.map_err(|e| self.corrupt(format!("the documents of {model}"), e))?;
        }
        Ok(found.page(bounds.limit))
    }

    async fn load_work(
        &self,
        partition: &PartitionId,
        after: Option<WorkDue>,
        limit: PageLimit,
    ) -> Result<Vec<OpenWork>, StoreError> {
        let mut reader = self.reader().await?;
        let page = open_work::load(&mut reader, partition, after, limit).await;
        page.map_err(|error| self.unreadable(format!("the open work of {partition}"), error))
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        self.write_beside(SideWrite::Documents(batch)).await.map(drop)
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

fn take(row: &SqliteRow, found: &mut Found) -> Result<(), sqlx::Error> {
    match row.try_get("kind")? {
        "document" => found.documents.push((row.try_get("key")?, row.try_get("body")?)),
        "parked" => found.parked.push(row.try_get("key")?),
        _ => {
            let position = GlobalPosition(row.try_get::<i64, _>("position")? as u64);
            found.checkpoints.push((row.try_get("partition")?, position));
        }
    }
    Ok(())
}
