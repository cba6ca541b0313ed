//! Transactions on the file of a projection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::executor::SqliteExecutor;
use crate::error::StoreError;
use crate::failpoints;
use crate::store::contract::sql::SqlConnection;
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, PartitionId, SqlSnapshot, SqlTransaction,
};
use crate::store::kit::leases::Leases;
use crate::store::sqlite::fault::{explain, is_damaged, is_unknown};
use crate::store::sqlite::lock::HeldFile;
use crate::store::sqlite::{checkpoints, origin};

/// The one transaction that writes.
pub(super) struct SqliteTransaction {
    executor: SqliteExecutor,
    leases: Leases,
    held: Arc<HeldFile>,
    path: PathBuf,
}

impl SqliteTransaction {
    pub(super) fn new(
        executor: SqliteExecutor,
        leases: Leases,
        held: Arc<HeldFile>,
        path: &Path,
    ) -> Self {
        Self { executor, leases, held, path: path.to_owned() }
    }

    fn database(&mut self) -> &mut SqliteConnection {
        &mut self.executor.connection
    }

    fn unavailable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Unavailable(explain(&self.path, error))
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let done = sqlx::query(sql).execute(self.database()).await;
        done.map(drop).map_err(|error| self.unavailable(&error))
    }

    /// Makes the bookkeeping; `false` if it is there.
    pub(super) async fn make(&mut self, bookkeeping: &str) -> Result<bool, StoreError> {
        let made = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints')";
        let made = sqlx::query_scalar(made).fetch_one(self.database()).await;
        if made.map_err(|error| self.unavailable(&error))? {
            return Ok(false);
        }
        let make = format!("{bookkeeping}; INSERT INTO wal_origin VALUES (1, zeroblob(56))");
        // The statements are the log's own schema.
        let done = sqlx::raw_sql(AssertSqlSafe(make)).execute(self.database()).await;
        done.map(|_| true).map_err(|error| self.unavailable(&error))
    }

    /// Continues with tables that are made already. Whatever is in them was written under leases
    /// that are void.
    pub(super) async fn go_on(mut self) -> Result<(), StoreError> {
        let token = checkpoints::last_token(&mut self.executor.connection).await;
        self.leases.grant_above(token.map_err(|error| self.unavailable(&error))?);
        self.undo().await
    }

    pub(super) async fn undo(mut self) -> Result<(), StoreError> {
        self.statement("ROLLBACK").await?;
        self.executor.connection.give_back();
        Ok(())
    }
}

#[async_trait]
impl SqlTransaction for SqliteTransaction {
    fn connection(&mut self) -> SqlConnection<'_> {
        SqlConnection::new(&mut self.executor)
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.statement("SAVEPOINT part").await
    }

    async fn release(&mut self, keep: bool) -> Result<(), StoreError> {
        if !keep {
            self.statement("ROLLBACK TO part").await?;
        }
        self.statement("RELEASE part").await
    }

    async fn check(&mut self) -> Result<(), String> {
        Ok(()) // a refused statement undoes itself and nothing else
    }

    fn trouble(&self) -> Option<StoreError> {
        self.executor.trouble.clone()
    }

    async fn commit(
        mut self: Box<Self>,
        update: Option<&CheckpointUpdate>,
    ) -> Result<(), StoreError> {
        if let Some(update) = update {
            let taken =
                checkpoints::update_checkpoint(&mut self.executor.connection, &self.leases, update)
                    .await;
            if !taken.map_err(|error| self.unavailable(&error))?? {
                return self.undo().await; // it is stored already, and so are its rows
            }
            failpoints::point("projection.before_commit");
        }
        self.held.check().map_err(StoreError::Unavailable)?;
        let row = origin::next(&mut self.executor.connection, &self.held, None).await;
        let row = row.map_err(|error| self.unavailable(&error))?;
        if let Err(error) = origin::commit(self.database(), row).await {
            if is_damaged(&error) {
                self.held.stop_writing(explain(&self.path, &error));
            }
            return Err(match is_unknown(&error, true) {
                true => StoreError::Unknown(explain(&self.path, &error)),
                false => self.unavailable(&error),
            });
        }
        // The rows may be in a file that nobody finds any more.
        self.held.check().map_err(StoreError::Unknown)?;
        if update.is_some() {
            failpoints::point("projection.after_commit");
        }
        self.executor.connection.give_back();
        Ok(())
    }

    async fn roll_back(self: Box<Self>) {
        let _ = self.undo().await; // if it fails, the connection is closed, which rolls back as well
    }
}

/// A transaction that reads.
pub(super) struct SqliteSnapshot {
    executor: SqliteExecutor,
    path: PathBuf,
}

impl SqliteSnapshot {
    pub(super) fn new(executor: SqliteExecutor, path: &Path) -> Self {
        Self { executor, path: path.to_owned() }
    }

    fn unavailable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Unavailable(explain(&self.path, error))
    }
}

#[async_trait]
impl SqlSnapshot for SqliteSnapshot {
    fn connection(&mut self) -> SqlConnection<'_> {
        SqlConnection::new(&mut self.executor)
    }

    fn tables(&self) -> &'static str {
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
         AND name NOT IN ('wal_origin', 'checkpoints', 'parked', 'parked_events', 'skipped')
         ORDER BY name"
    }

    async fn checkpoints(
        &mut self,
        partitions: &[PartitionId],
    ) -> Result<Vec<Option<Checkpoint>>, StoreError> {
        let mut found = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let read = checkpoints::checkpoint(&mut self.executor.connection, partition);
            let read = read.await.map_err(|error| self.unavailable(&error))?;
            found.push(read);
        }
        Ok(found)
    }

    async fn end(mut self: Box<Self>) {
        let ended = sqlx::query("ROLLBACK").execute(&mut *self.executor.connection).await;
        if ended.is_ok() {
            self.executor.connection.give_back();
        }
    }
}
