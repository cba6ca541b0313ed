//! Projections on SQLite: each version in a file of its own beside the log.
//!
//! `bank.db` has `bank.db.statement@1`, with the projection's tables and its own bookkeeping, so rows
//! and checkpoint are one commit that the log's writer knows nothing of: neither a slow projection
//! nor a disk that is full for it holds up a command. One connection writes, some run queries, two read
//! the bookkeeping.

mod executor;
mod keeper;
mod transaction;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

use self::executor::SqliteExecutor;
use self::keeper::Keeper;
use self::transaction::{SqliteSnapshot, SqliteTransaction};
use super::close::CLOSE_WITHIN;
use super::fault::explain;
use super::lock::HeldFile;
use super::open::Opening;
use super::parked_keys::Request;
use super::path::{JOURNAL, WAL, WAL_INDEX, beside};
use super::{SqliteStore, checkpoints, doubt, fault, lock, origin, parked_keys, schema};
use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, Lease, ParkedPage, ParkedQuery, ParkedRequest, PartitionId,
    ProjectionDatabase, ProjectionStore, SkippedEvent, SqlSnapshot, SqlTransaction,
    check_projection_name,
};
use crate::store::kit::leases::Leases;
use crate::store::sql::lent::{Lender, Lent};

/// Statements that made the log's tables of checkpoints and parked keys. A projection's file gets
/// the same.
const BOOKKEEPING: &str = "SELECT group_concat(sql, ';' ORDER BY rowid) FROM sqlite_schema
    WHERE tbl_name IN ('wal_origin', 'checkpoints', 'parked', 'parked_events', 'skipped')
    AND sql IS NOT NULL";

const BOOKKEEPERS: u32 = 2;

/// The open projections of a store, which it closes.
pub(super) type Projections = Arc<Mutex<Vec<Weak<SqliteProjection>>>>;

/// The file of one version.
pub(super) struct SqliteProjection {
    opening: Arc<Opening>,
    pub(super) path: PathBuf,
    held: Arc<HeldFile>,
    is_closed: AtomicBool,
    /// The statements that make its bookkeeping.
    bookkeeping: String,
    leases: Leases,
    writer: Lender<SqliteConnection>,
    keeper: Keeper,
    readers: Lender<SqliteConnection>,
    /// For the owner and the status: no query of the user, however slow, holds these up.
    bookkeepers: Lender<SqliteConnection>,
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
        let path = path(&self.opening, name, version);
        // Two openings of one file would be two writers, each with a view of its own of what is
        // saved.
        let open = self.projections().iter().filter_map(Weak::upgrade).find(|p| p.path == path);
        if let Some(open) = open.filter(|open| open.check_file().is_ok()) {
            return Ok(open); // by another application on a clone of this store
        }
        let held = lock::hold(&path, self.opening.options.wait_for_lock).await?;
        let projection = Arc::new(SqliteProjection {
            path,
            held: Arc::new(held),
            is_closed: AtomicBool::new(false),
            bookkeeping,
            opening: Arc::clone(&self.opening),
            leases: self.leases.clone(),
            writer: Lender::new(1),
            keeper: Keeper::default(),
            readers: Lender::new(readers),
            bookkeepers: Lender::new(BOOKKEEPERS as usize),
        });
        let mut open = self.projections();
        // A list of weak references would otherwise grow with each restart of an application in the
        // process.
        open.retain(|projection| projection.strong_count() > 0);
        open.push(Arc::downgrade(&projection));
        Ok(projection)
    }

    async fn drop_projection(&self, name: &str, version: u32) -> Result<(), StoreError> {
        if check_projection_name(name).is_err() {
            return Ok(()); // a read model may have a name that no projection can have
        }
        let path = path(&self.opening, name, version);
        // The log first: without its database it would be refused, and the database without it not.
        for suffix in [WAL, WAL_INDEX, JOURNAL, ""] {
            let file = beside(&path, suffix);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let file = file.display();
                    return Err(StoreError::Unavailable(format!("{file}: {error}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl SqliteStore {
    /// Nothing under the lock can panic, so a poisoned one is whole.
    pub(super) fn projections(&self) -> MutexGuard<'_, Vec<Weak<SqliteProjection>>> {
        self.projections.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Refuses a file that was closed, or to which the path does not lead any more.
    fn check_file(&self) -> Result<(), StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            let reason = format!("{} is closed: the application stops", self.path.display());
            return Err(StoreError::Unavailable(reason));
        }
        self.held.check().map_err(StoreError::Unavailable)
    }

    async fn write(&self) -> Result<Lent<SqliteConnection>, StoreError> {
        let permit = self.writer.permit().await;
        self.check_file()?;
        let permit = match permit.idle() {
            Ok(idle) => return Ok(idle),
            Err(permit) => permit,
        };
        let connected = self.connect().await.map_err(|error| self.unavailable(&error))?;
        Ok(permit.lend(connected))
    }

    /// A connection that writes. What a connection before it has left in the write-ahead log is
    /// durable then: before anything is built on it.
    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = self.opening.connect_options(&self.held);
        let mut connection = options.clone().pragma("journal_mode", "wal").connect().await?;
        // The file was bound by an earlier connection, so only what that one may have left has to
        // be made durable.
        if self.keeper.is_there() {
            doubt::make_durable_after_loss(&mut connection, &self.held.path).await?;
            return Ok(connection);
        }
        match self.bind(&mut connection).await {
            Err(error) if fault::primary_code(&error) == Some(fault::FULL) => {
                let _ = sqlx::query("ROLLBACK").execute(&mut connection).await; // SQLite may have
                doubt::make_durable(&mut connection, &self.held.path).await?;
            }
            bound => bound?,
        }
        let mut keeper = options.connect().await?;
        schema::is_marked(&mut keeper).await?; // it opens the files as it reads
        self.held.note_side_files();
        self.keeper.keep(keeper);
        Ok(connection)
    }

    /// Marks the file as opened.
    async fn bind(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if schema::is_marked(connection).await? {
            origin::bind(connection, &self.held).await?;
        }
        Ok(())
    }

    async fn bookkeeper(&self) -> Result<Lent<SqliteConnection>, StoreError> {
        self.reading(&self.bookkeepers).await
    }

    async fn reader(&self) -> Result<Lent<SqliteConnection>, StoreError> {
        self.reading(&self.readers).await
    }

    async fn reading(
        &self,
        lender: &Lender<SqliteConnection>,
    ) -> Result<Lent<SqliteConnection>, StoreError> {
        let permit = lender.permit().await;
        if self.is_closed.load(Ordering::Acquire) {
            self.check_file()?;
        }
        let permit = match permit.idle() {
            Ok(idle) => return Ok(idle),
            Err(permit) => permit,
        };
        self.check_file()?; // a new connection would read what is at the path now
        let only_reads = self.opening.connect_options(&self.held).pragma("query_only", "1");
        let connection = only_reads.connect().await;
        Ok(permit.lend(connection.map_err(|error| self.unavailable(&error))?))
    }

    /// Closes its connections, the writing one last, and lends none after that.
    ///
    /// # Errors
    /// The reason why the file is not complete without the files beside it.
    pub(super) async fn close(&self) -> Result<(), String> {
        self.is_closed.store(true, Ordering::Release);
        let still_lent = || format!("{}: a query or batch is under way", self.path.display());
        // Queries first, and the writer last: the last connection to close copies the write-ahead
        // log into the file.
        let taking =
            timeout(CLOSE_WITHIN, self.readers.take_all(self.opening.options.readers)).await;
        let (queries, _no_queries) = taking.map_err(|_| still_lent())?;
        let taking = timeout(CLOSE_WITHIN, self.bookkeepers.take_all(BOOKKEEPERS)).await;
        let (bookkeepers, _no_bookkeeping) = taking.map_err(|_| still_lent())?;
        for connection in queries.into_iter().chain(bookkeepers) {
            let _ = connection.close().await; // the writer reports what is wrong with the file
        }
        let taking = timeout(CLOSE_WITHIN, self.writer.take_all(1)).await;
        let (idle, _no_more) = taking.map_err(|_| still_lent())?;
        let last: Vec<_> = self.keeper.take().into_iter().chain(idle).collect();
        if let Some(reason) = self.held.broken() {
            // Closing them would copy the log into a file that is no longer its own.
            std::mem::forget(last);
            return Err(reason.clone());
        }
        for mut connection in last {
            let empty = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
            let emptied = empty.execute(&mut connection).await;
            let closed = emptied.and(connection.close().await);
            closed.map_err(|error| explain(&self.path, &error))?;
        }
        Ok(())
    }

    /// Leaves a request in a transaction of its own.
    async fn leave(
        &self,
        writer: &mut SqliteConnection,
        request: &Request,
    ) -> Result<bool, sqlx::Error> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *writer).await?;
        let left = parked_keys::request(writer, request).await?;
        // Every transaction writes its mark, or the write-ahead log could not be told from another
        // one at the next start.
        let row = origin::next(writer, &self.held, None).await?;
        origin::commit(writer, row).await?;
        Ok(left)
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
        let (leases, held) = (self.leases.clone(), Arc::clone(&self.held));
        Ok(SqliteTransaction::new(executor, leases, held, &self.path))
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
        // Checked with the write connection in hand. Before that, another owner could have begun a
        // transaction in between.
        if let Err(lost) = self.check(lease) {
            connection.give_back();
            return Err(lost);
        }
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
        if let Err(lost) = self.check(lease) {
            transaction.undo().await?;
            return Err(lost);
        }
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
        let mut reader = self.bookkeeper().await?;
        let read = checkpoints::checkpoint(&mut reader, partition).await;
        let checkpoint = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(checkpoint)
    }

    async fn load_parked(
        &self,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        let mut reader = self.bookkeeper().await?;
        let read = parked_keys::load(&mut reader, model, query).await;
        let parked = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(parked)
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        let mut reader = self.bookkeeper().await?;
        let read = parked_keys::skipped(&mut reader, model).await;
        let skipped = read.map_err(|error| self.unavailable(&error))?;
        reader.give_back();
        Ok(skipped)
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        let mut writer = self.write().await?;
        let asked = Request { model: model.to_owned(), key: key.to_owned(), position, request };
        let left = self.leave(&mut writer, &asked).await.map_err(|e| self.unavailable(&e))?;
        writer.give_back();
        Ok(left)
    }
}
