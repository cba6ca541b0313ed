//! The one connection that writes: a batch in one `BEGIN IMMEDIATE` … `COMMIT`.
//!
//! It remembers the ends of the streams it wrote last, which is sound because nobody else may
//! write while the file is locked. Should somebody do so all the same, the primary key refuses the
//! batch and everything is looked up again. Whatever fails, the memory is thrown away.

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lru::LruCache;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::fault::{explain, is_unknown};
use super::open::Opening;
use super::origin::Mark;
use super::path::{WAL, beside};
use super::side_write::{SideWrite, write_beside};
use super::wal_size::WalSize;
use super::{claims, commands, doubt, fault, origin, rows, tips};
use crate::error::StoreError;
use crate::event::{GlobalPosition, StreamId, Tip};
use crate::store::contract::Append;
use crate::store::kit::group_commit::{Batch, WriteFailure, Writer, Written};
use crate::store::kit::leases::Leases;
use crate::store::kit::version_check::{Current, Plan, plan};

/// Number of stream ends that are remembered (about 100 bytes each).
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// For how many batches command keys are looked up first, once a known one came: where one client
/// tries again, more do. Else the keys' own index tells, by refusing the batch, which begins anew.
const WARY: u32 = 64;

/// Time for which the check after a commit serves for the next one too. A file that is replaced
/// within that time is found by the check after that commit, which is then answered `Unknown`.
const CHECK_LASTS: Duration = Duration::from_millis(1);

pub(super) struct SqliteWriter {
    pub(super) opening: Arc<Opening>,
    connection: Option<SqliteConnection>,
    /// A connection that failed. It stays open until [`Writer::reopen`] has checked the side files,
    /// because SQLite removes these when the last connection is closed.
    lost: Option<SqliteConnection>,
    leases: Leases,
    pub(super) head: Option<GlobalPosition>,
    pub(super) tips: LruCache<StreamId, Tip>,
    /// Keys are looked up first for so many batches more.
    pub(super) wary: u32,
    /// The mark that this connection wrote last, if that is certain.
    pub(super) mark: Option<Mark>,
    wal: WalSize,
    /// When the file was last found in its place, after a commit.
    checked_at: Option<Instant>,
}

/// An error, and how far the transaction was.
pub(super) struct Failed {
    pub(super) error: sqlx::Error,
    pub(super) at: Step,
}

#[derive(PartialEq)]
pub(super) enum Step {
    Begun,
    /// The events stand.
    Events,
    /// COMMIT has been sent.
    Commit,
}

impl Step {
    fn failed(self) -> impl FnOnce(sqlx::Error) -> Failed {
        |error| Failed { error, at: self }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self { error, at: Step::Begun }
    }
}

impl SqliteWriter {
    pub(super) fn new(opening: Arc<Opening>, connection: SqliteConnection, leases: Leases) -> Self {
        let wal = WalSize::new(beside(opening.file(), WAL));
        Self {
            opening,
            connection: Some(connection),
            lost: None,
            leases,
            head: None,
            tips: LruCache::new(REMEMBERED),
            wary: 0,
            mark: None,
            wal,
            checked_at: None,
        }
    }

    fn forget(&mut self) {
        self.head = None;
        self.tips.clear();
        self.mark = None;
    }

    /// The batch in one transaction. With `care` its events and commands are looked for in the log
    /// first, and a side write that the database refuses fails alone.
    async fn transaction(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &Batch<SideWrite>,
        care: bool,
    ) -> Result<Written, Failed> {
        if !care && let Some(written) = self.write_at_once(connection, batch).await? {
            return Ok(written);
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let look_up = care || self.wary > 0;
        let current = self.current(connection, &batch.appends, look_up, care).await?;
        let mut planned = plan(&batch.appends, current);
        if !care && planned.has_refusals() {
            // It may be one that was stored before, sent again.
            let current = self.current(connection, &batch.appends, true, true).await?;
            planned = plan(&batch.appends, current);
        }
        let now = self.opening.options.clock.now();
        rows::insert_events(connection, &planned.rows, now).await?;
        let kept = rows::insert_commands(connection, &planned.commands, now).await;
        kept.map_err(Step::Events.failed())?;
        claims::write(connection, &planned).await?;
        let mut side_writes = Vec::with_capacity(batch.side_writes.len());
        for side_write in &batch.side_writes {
            side_writes.push(match care {
                true => self.write_alone(connection, side_write, now).await?,
                false => write_beside(connection, &self.leases, side_write, now).await?,
            });
        }
        crate::failpoints::point("append.before_commit");
        let is_empty = planned.rows.is_empty() && planned.commands.is_empty();
        if is_empty && batch.side_writes.is_empty() {
            // Nothing was written, so nothing is synced; claims come with rows.
            let committed = sqlx::query("COMMIT").execute(&mut *connection).await;
            committed.map_err(Step::Commit.failed())?;
        } else {
            let row = origin::next(connection, &self.opening.held, self.mark).await?;
            let committed = origin::commit(connection, row).await;
            committed.map_err(Step::Commit.failed())?;
            self.mark = Some(row.own);
        }
        crate::failpoints::point("append.after_commit");
        Ok(self.committed(planned, side_writes))
    }

    /// Remembers the ends of the streams that a committed transaction wrote.
    pub(super) fn committed(
        &mut self,
        planned: Plan<'_>,
        side_writes: Vec<Result<bool, StoreError>>,
    ) -> Written {
        self.head = Some(planned.after.head);
        for row in &planned.rows {
            self.tips.put(row.stream.clone(), Tip { version: row.version, position: row.position });
        }
        Written { appends: planned.outcomes, side_writes, head: planned.after.head }
    }

    /// A side write under a savepoint: what the database refuses of it (a trigger of the user's,
    /// say) is undone and answered; the transaction goes on.
    async fn write_alone(
        &self,
        connection: &mut SqliteConnection,
        side_write: &SideWrite,
        now: OffsetDateTime,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        sqlx::query("SAVEPOINT side").execute(&mut *connection).await?;
        let written = match write_beside(connection, &self.leases, side_write, now).await {
            Err(error) if fault::primary_code(&error) == Some(fault::CONSTRAINT) => {
                sqlx::query("ROLLBACK TO side").execute(&mut *connection).await?;
                Err(StoreError::Unavailable(explain(self.opening.path(), &error)))
            }
            written => written?,
        };
        sqlx::query("RELEASE side").execute(&mut *connection).await?;
        Ok(written)
    }

    /// Reads the state of everything that the appends touch; of their commands and event ids only
    /// if told so.
    async fn current(
        &mut self,
        connection: &mut SqliteConnection,
        appends: &[Append],
        find_commands: bool,
        find_ids: bool,
    ) -> Result<Current, sqlx::Error> {
        let mut current = Current::default();
        let mut missing = Vec::new();
        for Append { stream, .. } in appends {
            match self.tips.get(stream) {
                Some(tip) => drop(current.tips.insert(stream.clone(), *tip)),
                None => missing.push(stream),
            }
        }
        if !missing.is_empty() {
            tips::find(connection, &missing, &mut current.tips).await?;
        }
        current.head = match self.head {
            Some(head) => head,
            None => tips::find_head(connection).await?,
        };
        current.claims = claims::find(connection, appends).await?;
        if find_commands {
            current.commands = commands::find(connection, appends).await?;
            self.wary =
                if current.commands.is_empty() { self.wary.saturating_sub(1) } else { WARY };
        }
        if find_ids {
            current.stored = tips::find_events(connection, appends).await?;
        }
        Ok(current)
    }
}

#[async_trait(?Send)]
impl Writer for SqliteWriter {
    type Side = SideWrite;

    async fn write(
        &mut self,
        batch: &Batch<SideWrite>,
        again: bool,
    ) -> Result<Written, WriteFailure> {
        let is_fresh = self.checked_at.is_some_and(|at| at.elapsed() < CHECK_LASTS);
        let checked = if is_fresh { Ok(()) } else { self.opening.held.check() };
        let written = match checked {
            Ok(()) => self.write_checked(batch, again).await,
            Err(reason) => Err(WriteFailure::NotCommitted(reason)),
        };
        // What was just committed may be in a file that nobody finds any more.
        let written = written.and_then(|written| match self.opening.held.check() {
            Ok(()) => Ok(written),
            Err(reason) => Err(WriteFailure::Unknown(reason)),
        });
        self.checked_at = written.is_ok().then(Instant::now);
        match &written {
            Ok(_) => self.opening.trouble.clear(),
            Err(failure) => {
                self.forget();
                self.opening.trouble.report(failure.reason());
            }
        }
        self.wal.measure(&self.opening);
        written
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        self.forget();
        self.opening.held.check().map_err(StoreError::Unavailable)?;
        if let Some(lost) = self.connection.take().or_else(|| self.lost.take()) {
            let _ = lost.close().await; // a close that fails too has nothing to add
            // If it was the last one, SQLite has removed the side files.
            self.opening.held.note_side_files();
        }
        let opened = self.opening.connect().await;
        let connection = opened.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.opening.held.note_side_files();
        self.connection = Some(connection);
        Ok(())
    }

    fn is_troubled(&self) -> bool {
        self.opening.trouble.now().is_some()
    }

    async fn probe(&mut self) {
        if let Err(reason) = self.opening.held.check() {
            return self.opening.trouble.report(&reason);
        }
        let was_lost = self.connection.is_none();
        if was_lost && let Err(error) = self.reopen().await {
            return self.opening.trouble.report(&error.to_string());
        }
        let Some(mut connection) = self.connection.take() else { return };
        let mut probed = origin::mark(&mut connection, &self.opening.held).await;
        if was_lost && probed.is_ok() {
            // What the lost one left only in the page cache would break the log before later ones.
            probed = doubt::make_durable(&mut connection, self.opening.file()).await;
        }
        match probed {
            Ok(()) => {
                self.opening.trouble.clear();
                self.connection = Some(connection);
            }
            Err(error) => {
                let failure = self.failed(connection, Failed { error, at: Step::Begun }).await;
                self.opening.trouble.report(failure.reason());
            }
        }
        self.forget();
    }

    async fn close(&mut self) -> Result<(), String> {
        let left = self.connection.take().or_else(|| self.lost.take());
        let Some(mut connection) = left else { return Ok(()) };
        if let Some(reason) = self.opening.held.broken() {
            // Closing it would copy the log into a file that is no longer its own.
            std::mem::forget(connection);
            return Err(reason.clone());
        }
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        let emptied = checkpoint.execute(&mut connection).await;
        let closed = connection.close().await;
        emptied.and(closed).map_err(|error| explain(self.opening.path(), &error))
    }
}

impl SqliteWriter {
    /// Writes the batch to a file that is where it should be.
    async fn write_checked(
        &mut self,
        batch: &Batch<SideWrite>,
        again: bool,
    ) -> Result<Written, WriteFailure> {
        let Some(mut connection) = self.connection.take() else {
            return Err(WriteFailure::Unknown("the connection is closed".into()));
        };
        let mut result = self.transaction(&mut connection, batch, again).await;
        if let Err(failed) = &result
            && fault::primary_code(&failed.error) == Some(fault::CONSTRAINT)
            && failed.at != Step::Commit
        {
            // A command's key or an event's id stands already, or somebody wrote beside us: look
            // everything up. Not if the events could be stored: then their streams are as remembered.
            if failed.at == Step::Begun {
                self.forget();
            }
            result = match sqlx::query("ROLLBACK").execute(&mut connection).await {
                Ok(_) => self.transaction(&mut connection, batch, true).await,
                Err(error) => Err(Step::Commit.failed()(error)),
            };
        }
        if again && result.is_ok() {
            let durable = doubt::make_durable(&mut connection, self.opening.file()).await;
            let durable = durable.map_err(Step::Commit.failed());
            result = result.and_then(|written| durable.map(|()| written));
        }
        match result {
            Ok(written) => {
                self.connection = Some(connection);
                Ok(written)
            }
            Err(failed) => Err(self.failed(connection, failed).await),
        }
    }

    /// Finds out what became of a transaction that failed, and keeps the connection if it can
    /// serve again.
    async fn failed(
        &mut self,
        mut connection: SqliteConnection,
        Failed { error, at }: Failed,
    ) -> WriteFailure {
        let reason = explain(self.opening.path(), &error);
        if fault::is_damaged(&error) {
            self.opening.held.stop_writing(reason.clone());
        }
        if is_unknown(&error, at == Step::Commit) {
            let full = fault::primary_code(&error) == Some(fault::FULL);
            if full && doubt::make_absent(&mut connection, &self.opening.held).await.is_ok() {
                self.connection = Some(connection);
                return WriteFailure::NotCommitted(reason);
            }
            self.lost = Some(connection);
            return WriteFailure::Unknown(reason);
        }
        // SQLite may have rolled back by itself (when the disk is full it does); then there is no
        // transaction left, and saying so is an error without meaning.
        match sqlx::query("ROLLBACK").execute(&mut connection).await {
            Err(error) if is_unknown(&error, false) => {
                self.lost = Some(connection);
                WriteFailure::Unknown(explain(self.opening.path(), &error))
            }
            _ => {
                self.connection = Some(connection);
                WriteFailure::NotCommitted(reason)
            }
        }
    }
}
