//! Command keys: which are known, and which are old enough to be forgotten.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::rows::micros;
use crate::event_store::Append;
use crate::store::plan::PastCommand;
use crate::store::sql::numbers::{most, past_command};

/// What came of those of the appends' commands that are known.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    appends: &[Append],
) -> Result<HashMap<String, PastCommand>, sqlx::Error> {
    let keys: Vec<&str> =
        appends.iter().filter_map(|a| a.command.as_ref()).map(|key| &*key.id).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let asked = serde_json::to_string(&keys).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let found: Vec<(String, Vec<u8>, i64, i64)> = sqlx::query_as(
        "SELECT command_id, fingerprint, version, position FROM commands
         WHERE command_id IN (SELECT value FROM json_each(?))",
    )
    .bind(asked)
    .fetch_all(connection)
    .await?;
    found
        .into_iter()
        .map(|(id, fingerprint, version, position)| {
            Ok((id, past_command(&fingerprint, version, position)?))
        })
        .collect()
}

/// A request to delete command keys.
#[derive(Debug)]
pub(super) struct Prune {
    pub(super) recorded_before: OffsetDateTime,
    pub(super) at_most: usize,
}

/// Deletes the oldest keys that were recorded before a time. Returns whether there may be more.
///
/// Keys are looked at in the order in which they came, because an index by time would cost each
/// command a page. Those from the future, which a clock that was ahead left, are passed over: else
/// they would keep all later ones for as long.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    prune: &Prune,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM commands
         WHERE number IN (SELECT number FROM commands WHERE recorded_at <= ?
                          ORDER BY number LIMIT ?)
           AND recorded_at < ?",
    )
    .bind(micros(now))
    .bind(most(prune.at_most))
    .bind(micros(prune.recorded_before))
    .execute(connection)
    .await?;
    Ok(gone.rows_affected() > 0 && gone.rows_affected() >= prune.at_most as u64)
}
