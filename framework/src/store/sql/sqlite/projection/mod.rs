//! Projections on SQLite: each version in a file of its own beside the log.
//!
//! `bank.db` has `bank.db.statement@1`, with the projection's tables and its own bookkeeping, so rows
//! and checkpoint are one commit that the log's writer knows nothing of: neither a slow projection
//! nor a disk that is full for it holds up a command. One connection writes, some read.

mod executor;
mod transaction;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnection;

use self::executor::SqliteExecutor;
use self::transaction::{SqliteSnapshot, SqliteTransaction};
use super::SqliteStore;
use super::checkpoints::{self, Request};
use super::fault::{self, explain};
use super::open::Opening;
use crate::checkpoint::{Checkpoint, CheckpointStore, PartitionId};
use crate::error::{StartError, StoreError};
use crate::lease::Lease;
use crate::parking::{ParkedKey, ParkedPage, ParkedRequest, SkippedEvent};
use crate::projection_store::{ProjectionDatabase, ProjectionStore, SqlSnapshot, SqlTransaction};
use crate::store::leases::Leases;
use crate::store::sql::lent::{Lender, Lent};
use crate::stream::GlobalPosition;

/// How the log keeps checkpoints and what is parked: so does the file of a projection.
const BOOKKEEPING: &str = "SELECT group_concat(sql, ';' ORDER BY rowid) FROM sqlite_schema
    WHERE tbl_name IN ('checkpoints', 'parked', 'parked_events', 'skipped') AND sql IS NOT NULL";

/// The file of one version.
struct SqliteProjection {
    opening: Arc<Opening>,
    path: PathBuf,
    /// The statements that make its bookkeeping.
    bookkeeping: String,
    leases: Leases,
    writer: Lender<SqliteConnection>,
    readers: Lender<SqliteConnection>,
}

#[async_trait]
impl ProjectionStore for SqliteStore {
    async fn open_projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Arc<dyn ProjectionDatabase>, StartError> {
        let readers = self.opening.options.readers as usize;
        let bookkeeping = sqlx::query_scalar(BOOKKEEPING).fetch_one(&self.readers).await;
        let bookkeeping = bookkeeping.map_err(|error| self.opening.cannot_open(&error))?;
        Ok(Arc::new(SqliteProjection {
            path: path(&self.opening, name, version),
            bookkeeping,
            opening: Arc::clone(&self.opening),
            leases: self.leases.clone(),
            writer: Lender::new(1),
            readers: Lender::new(readers),
        }))
    }

    async fn drop_projection(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let path = path(&self.opening, name, version);
        for suffix in ["-wal", "-shm", ""] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let file = Path::new(&file).display();
                    return Err(StoreError::Unavailable(format!("{file}: {error}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn path(opening: &Opening, name: &str, version: u32) -> PathBuf {
    let mut path = opening.file().to_owned().into_os_string();
    path.push(format!(".{name}@{version}"));
    path.into()
}

impl SqliteProjection {
    fn unavailable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Unavailable(explain(&self.path, error))
    }

    fn check(&self, lease: &Lease) -> Result<(), StoreError> {
        match self.leases.is_held(lease) {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { name: lease.name.clone() }),
        }
    }

    async fn write(&self) -> Result<Lent<SqliteConnection>, StoreError> {
        let permit = match self.writer.permit().await.idle() {
            Ok(idle) => return Ok(idle),
            Err(permit) => permit,
        };
        let options = self.opening.connect_options(&self.path).create_if_missing(true);
        let connecting = options.pragma("journal_mode", "wal").connect().await;
        let mut connection = connecting.map_err(|error| self.unavailable(&error))?;
        // What was just recovered may never have reached the disk: it is synced before it is built on.
        let synced = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        match synced {
            Err(error) if fault::primary_code(&error) != Some(fault::FULL) => {
                Err(self.unavailable(&error))
            }
            _ => Ok(permit.lend(connection)),
        }
    }

    async fn reader(&self) -> Result<Lent<SqliteConnection>, StoreError> {
        let permit = match self.readers.permit().await.idle() {
            Ok(idle) => return Ok(idle),
            Err(permit) => permit,
        };
        let options = self.opening.connect_options(&self.path).pragma("query_only", "1");
        let connection = options.connect().await;
        Ok(permit.lend(connection.map_err(|error| self.unavailable(&error))?))
    }

    async fn begin_with(
        &self,
        begin: &'static str,
        mut connection: Lent<SqliteConnection>,
    ) -> Result<SqliteExecutor, StoreError> {
        let begun = sqlx::query(begin).execute(&mut *connection).await;
        begun.map_err(|error| self.unavailable(&error))?;
        Ok(SqliteExecutor::new(connection, &self.path))
    }

    async fn begin_write(&self) -> Result<SqliteTransaction, StoreError> {
        let executor = self.begin_with("BEGIN IMMEDIATE", self.write().await?).await?;
        Ok(SqliteTransaction::new(executor, self.leases.clone(), &self.path))
    }
}

#[async_trait]
impl ProjectionDatabase for SqliteProjection {
    async fn begin_making(&self) -> Result<Option<Box<dyn SqlTransaction>>, StoreError> {
        let mut transaction = self.begin_write().await?;
        match transaction.make(&self.bookkeeping).await? {
            true => Ok(Some(Box::new(transaction))),
            false => transaction.go_on().await.map(|()| None),
        }
    }

    async fn resume(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let mut connection = self.write().await?;
        self.check(lease)?;
        let read = checkpoints::checkpoint(&mut connection, partition).await;
        let checkpoint = read.map_err(|error| self.unavailable(&error))?;
        connection.give_back();
        Ok(checkpoint)
    }

    async fn begin(
        &self,
        _: &PartitionId,
        lease: &Lease,
    ) -> Result<Box<dyn SqlTransaction>, StoreError> {
        let transaction = self.begin_write().await?;
        self.check(lease)?;
        Ok(Box::new(transaction))
    }

    async fn read(&self) -> Result<Box<dyn SqlSnapshot>, StoreError> {
        let executor = self.begin_with("BEGIN", self.reader().await?).await?;
        Ok(Box::new(SqliteSnapshot::new(executor, &self.path)))
    }
}

#[async_trait]
impl CheckpointStore for SqliteProjection {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let mut reader = self.reader().await?;
        let read = checkpoints::checkpoint(&mut reader, partition).await;
        let checkpoint = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(checkpoint)
    }

    async fn load_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
    ) -> Result<Vec<ParkedKey>, StoreError> {
        let mut reader = self.reader().await?;
        let read = checkpoints::parked(&mut reader, model, of).await;
        let parked = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(parked)
    }

    async fn list_parked(
        &self,
        model: &str,
        of: Option<&[String]>,
        at_most: usize,
    ) -> Result<ParkedPage, StoreError> {
        let mut reader = self.reader().await?;
        let read = checkpoints::parked_page(&mut reader, model, of, at_most).await;
        let parked = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(parked)
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        let mut reader = self.reader().await?;
        let read = checkpoints::skipped(&mut reader, model).await;
        let skipped = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(skipped)
    }

    async fn load_requests(
        &self,
        model: &str,
    ) -> Result<Vec<(String, GlobalPosition, ParkedRequest)>, StoreError> {
        let mut reader = self.reader().await?;
        let read = checkpoints::requests(&mut reader, model).await;
        let requests = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(requests)
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let (model, key) = (model.to_owned(), key.to_owned());
        let mut writer = self.write().await?;
        let asked = Request { model, key, position, request };
        let left = checkpoints::request(&mut writer, &asked).await;
        let left = left.map_err(|error| self.unavailable(&error))?;
        writer.give_back();
        Ok(left)
    }
}
