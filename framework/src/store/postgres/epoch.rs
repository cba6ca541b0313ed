//! Raising the epoch of a log that was restored from a dump.

use super::PostgresStore;
use super::open::Opening;
use super::options::PostgresOptions;
use crate::error::StartError;

impl PostgresStore {
    /// Raises the epoch of the log that these options lead to, and returns it. Call it after `pg_restore` and before
    /// any process opens the log: whoever remembers a place in the log from before then recognises
    /// that history has changed. Needs UPDATE on the table `log`.
    ///
    /// # Errors
    /// [`StartError::Open`]: the server cannot be reached, or there is no log. Nothing is changed.
    pub async fn raise_epoch(options: PostgresOptions) -> Result<u64, StartError> {
        let opening = Opening::new(options)?;
        let mut connection = opening.connect().await?;
        let raised = sqlx::query_scalar("UPDATE log SET epoch = epoch + 1 RETURNING epoch");
        let raised: Result<i64, _> = raised.fetch_one(&mut connection).await;
        raised.map(|epoch| epoch as u64).map_err(|error| opening.cannot_open(&error))
    }
}
