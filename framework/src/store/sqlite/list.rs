//! Pages of documents, each read by one statement, so all of a page is from one snapshot.
//!
//! Sizes come first and bodies only as far as the page may grow, so a page of large documents costs
//! no more memory than it may have.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{DocumentRange, MAX_LIST_BYTES, StoredPage};
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

impl SqliteStore {
    pub(super) async fn read_page(
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
