//! Command keys that are old enough to be forgotten.

use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::rows::micros;
use crate::store::sql::numbers::most;

/// Forget so many that were recorded before this.
#[derive(Debug)]
pub(super) struct Prune {
    pub(super) recorded_before: OffsetDateTime,
    pub(super) at_most: usize,
}

/// Whether there may be more.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    prune: &Prune,
) -> Result<bool, sqlx::Error> {
    // In the order in which they came; were the clock ahead for a while, they stay longer by as much.
    let gone = sqlx::query(
        "DELETE FROM commands
         WHERE number IN (SELECT number FROM commands ORDER BY number LIMIT ?) AND recorded_at < ?",
    )
    .bind(most(prune.at_most))
    .bind(micros(prune.recorded_before))
    .execute(connection)
    .await?;
    Ok(gone.rows_affected() > 0 && gone.rows_affected() >= prune.at_most as u64)
}
