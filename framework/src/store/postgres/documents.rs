//! Documents with the checkpoint and the parked keys that belong to them, from one snapshot: all of
//! it is one statement, so no save can come between its parts.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::checkpoints::{bound, changes, is_taken};
use super::connections::Purpose;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, DocumentBatch, DocumentRange, DocumentStore, DocumentsAt, MAX_LIST_BYTES, OpenWork,
    PageLimit, ParkedAt, PartitionId, StoredPage, WorkDue,
};
use crate::store::kit::list::{Bounds, Found};

const PAGE: &str = "
    WITH page AS (SELECT key, body::text AS body FROM documents
                  WHERE model = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4),
    sized AS (SELECT key, body, sum(octet_length(body)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING)
                                - octet_length(body) AS before
              FROM page)
    SELECT 'document' AS kind, key, CASE WHEN before < $5 THEN body END AS body,
           0 AS partition, 0::bigint AS position
    FROM sized
    UNION ALL
    SELECT 'parked', key, NULL, 0, 0
    FROM (SELECT key FROM parked WHERE model = $1 AND key >= $2 AND key < $3
          ORDER BY key LIMIT $4) AS parked
    UNION ALL
    SELECT 'checkpoint', '', NULL, partition, position FROM checkpoints WHERE model = $1";

const DOCUMENTS_AT: &str = "
    SELECT 'document', key, body::text, NULL::bigint, NULL::uuid, NULL::uuid
    FROM documents WHERE model = $1 AND key = ANY ($3)
    UNION ALL
    SELECT 'parked', key, reason, position, NULL, NULL
    FROM parked WHERE model = $1 AND key = ANY ($3)
    UNION ALL
    SELECT 'checkpoint', NULL, NULL, position, log_id, event_id
    FROM checkpoints WHERE model = $1 AND partition = $2";

#[async_trait]
impl DocumentStore for PostgresStore {
    async fn load_documents(
        &self,
        partition: &PartitionId,
        keys: &[String],
    ) -> Result<DocumentsAt, StoreError> {
        let (asked, keys) = (partition.clone(), keys.to_vec());
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(DOCUMENTS_AT)
                .bind(asked.model.clone())
                .bind(asked.number as i32)
                .bind(keys.clone())
        });
        let mut found = DocumentsAt::default();
        for row in rows.await.map_err(|fault| self.unavailable(&fault))? {
            let position = || GlobalPosition(row.get::<i64, _>(3) as u64);
            match row.get::<&str, _>(0) {
                "document" => found.documents.push((row.get(1), row.get(2))),
                "parked" => found.parked.push(ParkedAt {
                    key: row.get(1),
                    position: position(),
                    reason: row.get(2),
                }),
                _ => {
                    let (log_id, event_id) = (row.get(4), row.get(5));
                    found.checkpoint = Some(Checkpoint { log_id, position: position(), event_id });
                }
            }
        }
        Ok(found)
    }

    async fn list_documents(
        &self,
        model: &str,
        range: &DocumentRange,
    ) -> Result<StoredPage, StoreError> {
        let (bounds, asked) = (Bounds::of(range), model.to_owned());
        let limit = bounds.limit;
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(PAGE)
                .bind(asked.clone())
                .bind(bounds.from.clone())
                .bind(bounds.below.clone())
                .bind(bounds.sought() as i64)
                .bind(MAX_LIST_BYTES as i64)
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let mut found = Found::default();
        rows.iter().for_each(|row| take(row, &mut found));
        Ok(found.page(limit))
    }

    async fn load_work(
        &self,
        partition: &PartitionId,
        after: Option<WorkDue>,
        limit: PageLimit,
    ) -> Result<Vec<OpenWork>, StoreError> {
        self.open_work(partition, after, limit).await
    }

    async fn save_documents(&self, batch: DocumentBatch) -> Result<(), StoreError> {
        let DocumentBatch { documents, deleted, update } = batch;
        let (asked, changes) = (update.clone(), changes(&update)?);
        if update.is_replay {
            // Of handlers, which have no documents.
            let row = self.connections.row(Purpose::Documents, move || {
                let call = "SELECT * FROM replay($1, $2, $3, $4, $5, $6, $7, $8, $9)";
                bound(sqlx::query(call), &asked, changes.clone())
            });
            let row = row.await.map_err(|fault| fault.not_written(&self.place))?;
            return is_taken(&row, &update).map(drop);
        }
        let row = self.connections.row(Purpose::Documents, move || {
            let call = "SELECT * FROM save_documents(
                            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
            bound(sqlx::query(call), &asked, changes.clone())
                .bind(documents.iter().map(|(key, _)| &**key).collect::<Vec<_>>())
                .bind(documents.iter().map(|(_, body)| &**body).collect::<Vec<_>>())
                .bind(deleted.clone())
        });
        let row = row.await.map_err(|fault| fault.not_written(&self.place))?;
        is_taken(&row, &update).map(drop)
    }
}

fn take(row: &PgRow, found: &mut Found) {
    match row.get("kind") {
        "document" => found.documents.push((row.get("key"), row.get("body"))),
        "parked" => found.parked.push(row.get("key")),
        _ => {
            let position = GlobalPosition(row.get::<i64, _>("position") as u64);
            found.checkpoints.push((row.get::<i32, _>("partition") as u32, position));
        }
    }
}
