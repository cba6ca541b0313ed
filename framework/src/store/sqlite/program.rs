//! Name of the program whose log this is, kept in the log.
//!
//! Guarantees that the first name stays. The application compares it with its own at start.

use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::side_write::SideWrite;
use crate::error::StoreError;

/// Keeps the name if the log has none.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let keep = sqlx::query("UPDATE log SET program = ? WHERE program IS NULL");
    Ok(keep.bind(name).execute(connection).await?.rows_affected() > 0)
}

impl SqliteStore {
    /// Keeps the name if the log has none, and returns the one it has.
    pub(super) async fn keep_program(&self, name: &str) -> Result<String, StoreError> {
        if let Some(kept) = self.read_program().await? {
            return Ok(kept);
        }
        self.write_beside(SideWrite::Program(name.to_owned())).await?;
        Ok(self.read_program().await?.unwrap_or_else(|| name.to_owned()))
    }

    async fn read_program(&self) -> Result<Option<String>, StoreError> {
        let mut reader = self.reader().await?;
        let kept = sqlx::query_scalar("SELECT program FROM log").fetch_one(&mut *reader).await;
        kept.map_err(|error| self.unavailable(&error))
    }
}
