//! Pages of documents, each read by one statement, so all of a page is from one snapshot.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{DocumentRange, MAX_LIST_BYTES, StoredPage};
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

impl PostgresStore {
    pub(super) async fn read_page(
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
