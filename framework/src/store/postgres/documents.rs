//! Documents with the checkpoint and the parked keys that belong to them, from one snapshot: all of
//! it is one statement, so no save can come between its parts.

use sqlx::Row;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Checkpoint, DocumentsAt, ParkedAt, PartitionId};

const DOCUMENTS_AT: &str = "
    SELECT 'document', key, body::text, NULL::bigint, NULL::uuid, NULL::uuid
    FROM documents WHERE model = $1 AND key = ANY ($3)
    UNION ALL
    SELECT 'parked', key, reason, position, NULL, NULL
    FROM parked WHERE model = $1 AND key = ANY ($3)
    UNION ALL
    SELECT 'checkpoint', NULL, NULL, position, log_id, event_id
    FROM checkpoints WHERE model = $1 AND partition = $2";

impl PostgresStore {
    pub(super) async fn read_documents_at(
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
}
