//! The one connection that writes: a batch in one `BEGIN IMMEDIATE` … `COMMIT`.
//!
//! It remembers the ends of the streams it wrote last, which is sound because nobody else may
//! write while the file is locked. Should somebody do so all the same, the primary key refuses the
//! batch and everything is looked up again. Whatever fails, the memory is thrown away.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use lru::LruCache;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::checkpoints;
use super::claims;
use super::commands;
use super::fault::{self, explain, is_unknown};
use super::open::Opening;
use super::side_write::SideWrite;
use super::{program, rows, versions};
use crate::error::StoreError;
use crate::event_store::Append;
use crate::store::committer::{Batch, WriteFailure, Writer, Written};
use crate::store::leases::Leases;
use crate::store::plan::{Current, plan};
use crate::store::sql::numbers::tip;
use crate::stream::{GlobalPosition, StreamId, StreamVersion, Tip};

/// How many stream ends are remembered (about 100 bytes each).
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// For how many batches command keys are looked up first, once a known one came: where one client
/// tries again, more do. Else the keys' own index tells, by refusing the batch, which begins anew.
const WARY: u32 = 64;

pub(super) struct SqliteWriter {
    opening: Arc<Opening>,
    connection: Option<SqliteConnection>,
    leases: Leases,
    head: Option<GlobalPosition>,
    tips: LruCache<StreamId, Tip>,
    /// Keys are looked up first for so many batches more.
    wary: u32,
}

/// An error, and how far the transaction was.
struct Failed {
    error: sqlx::Error,
    at: Step,
}

#[derive(PartialEq)]
enum Step {
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
        let tips = LruCache::new(REMEMBERED);
        Self { opening, connection: Some(connection), leases, head: None, tips, wary: 0 }
    }

    fn forget(&mut self) {
        self.head = None;
        self.tips.clear();
    }

    /// The batch in one transaction. With `care` its events and commands are looked for in the log
    /// first, and a side write that the database refuses fails alone.
    async fn transaction(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &Batch<SideWrite>,
        care: bool,
    ) -> Result<Written, Failed> {
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
                true => self.write_alone(connection, side_write).await?,
                false => write_beside(connection, &self.leases, side_write).await?,
            });
        }
        crate::crash::point("append.before_commit");
        let committed = sqlx::query("COMMIT").execute(&mut *connection).await;
        committed.map_err(Step::Commit.failed())?;
        crate::crash::point("append.after_commit");
        self.head = Some(planned.after.head);
        for row in &planned.rows {
            self.tips.put(row.stream.clone(), Tip { version: row.version, position: row.position });
        }
        Ok(Written { appends: planned.outcomes, side_writes, head: planned.after.head })
    }

    /// A side write under a savepoint: what the database refuses of it (a trigger of the user's,
    /// say) is undone and answered; the transaction goes on.
    async fn write_alone(
        &self,
        connection: &mut SqliteConnection,
        side_write: &SideWrite,
    ) -> Result<Result<bool, StoreError>, sqlx::Error> {
        sqlx::query("SAVEPOINT side").execute(&mut *connection).await?;
        let written = match write_beside(connection, &self.leases, side_write).await {
            Err(error) if fault::primary_code(&error) == Some(fault::CONSTRAINT) => {
                sqlx::query("ROLLBACK TO side").execute(&mut *connection).await?;
                Err(StoreError::Unavailable(explain(self.opening.path(), &error)))
            }
            written => written?,
        };
        sqlx::query("RELEASE side").execute(&mut *connection).await?;
        Ok(written)
    }

    /// What the log says of all that the appends touch; of their commands and of their events' ids
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
            find_tips(connection, &missing, &mut current.tips).await?;
        }
        current.head = match self.head {
            Some(head) => head,
            None => find_head(connection).await?,
        };
        current.claims = claims::find(connection, appends).await?;
        if find_commands {
            current.commands = commands::find(connection, appends).await?;
            self.wary =
                if current.commands.is_empty() { self.wary.saturating_sub(1) } else { WARY };
        }
        if find_ids {
            current.stored = find_events(connection, appends).await?;
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
            let durable = make_durable(&mut connection).await;
            result = result.and_then(|written| durable.map(|()| written));
        }
        let Failed { error, at } = match result {
            Ok(written) => {
                self.connection = Some(connection);
                return Ok(written);
            }
            Err(failed) => failed,
        };
        self.forget();
        let reason = explain(self.opening.path(), &error);
        if is_unknown(&error, at == Step::Commit) {
            let full = fault::primary_code(&error) == Some(fault::FULL);
            if full && make_absent(&mut connection).await.is_ok() {
                self.connection = Some(connection);
                return Err(WriteFailure::NotCommitted(reason));
            }
            return Err(WriteFailure::Unknown(reason));
        }
        // SQLite may have rolled back by itself (when the disk is full it does); then there is no
        // transaction left, and saying so is an error without meaning.
        match sqlx::query("ROLLBACK").execute(&mut connection).await {
            Err(error) if is_unknown(&error, false) => {
                Err(WriteFailure::Unknown(explain(self.opening.path(), &error)))
            }
            _ => {
                self.connection = Some(connection);
                Err(WriteFailure::NotCommitted(reason))
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        self.forget();
        // Dropping it closes it on its own thread; a close that fails too has nothing to add.
        drop(self.connection.take());
        let opened = self.opening.connect().await;
        let connection = opened.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the log did not close in order; it will be recovered at the next start");
        }
    }
}

async fn find_head(connection: &mut SqliteConnection) -> Result<GlobalPosition, sqlx::Error> {
    let head: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM events")
        .fetch_one(connection)
        .await?;
    Ok(GlobalPosition(head as u64))
}

/// All ends in one row: `index version position` of each stream that has events.
async fn find_tips(
    connection: &mut SqliteConnection,
    streams: &[&StreamId],
    tips: &mut HashMap<StreamId, Tip>,
) -> Result<(), sqlx::Error> {
    // Types and ids hold nothing that JSON would escape.
    let names = streams.iter().map(|s| format!("[\"{}\",\"{}\"]", s.aggregate_type(), s.id()));
    let asked = format!("[{}]", names.collect::<Vec<_>>().join(","));
    let found: Option<String> = sqlx::query_scalar(
        "SELECT group_concat(concat(asked.key, ' ', e.version, ' ', e.position), ';')
         FROM json_each(?) AS asked JOIN events AS e
         ON e.stream_type = asked.value ->> 0 AND e.stream_id = asked.value ->> 1
         AND e.version = (SELECT max(version) FROM events AS last
                          WHERE last.stream_type = e.stream_type AND last.stream_id = e.stream_id)",
    )
    .bind(asked)
    .fetch_one(connection)
    .await?;
    for tip in found.iter().flat_map(|found| found.split(';')) {
        let mut numbers = tip.split(' ').map(|number| number.parse::<u64>().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        let stream = streams[next() as usize];
        let tip = Tip { version: StreamVersion(next()), position: GlobalPosition(next()) };
        tips.insert(stream.clone(), tip);
    }
    Ok(())
}

async fn find_events(
    connection: &mut SqliteConnection,
    appends: &[Append],
) -> Result<HashMap<Uuid, (StreamId, Tip)>, sqlx::Error> {
    let ids = appends.iter().flat_map(|append| &append.events);
    let ids = ids.map(|event| format!("\"{}\"", event.event_id.simple()));
    let asked = format!("[{}]", ids.collect::<Vec<_>>().join(","));
    let found: Vec<(Vec<u8>, String, String, i64, i64)> = sqlx::query_as(
        "SELECT event_id, stream_type, stream_id, version, position FROM events
         WHERE event_id IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(asked)
    .fetch_all(connection)
    .await?;
    let decode = |(id, stream_type, stream_id, version, position): (Vec<u8>, _, _, i64, i64)| {
        let stream_type: String = stream_type;
        let stream_id: String = stream_id;
        let stream = StreamId::new(&stream_type, &stream_id);
        let stream = stream.map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let id = Uuid::from_slice(&id).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        Ok((id, (stream, tip(version, position))))
    };
    found.into_iter().map(decode).collect()
}

/// What an attempt before this one left (events, a command's outcome, a checkpoint) may stand only
/// in the page cache, with nobody left to write it: a checkpoint writes it to the database file and
/// syncs that. It waits for whoever reads an older state; so it is for batches in doubt alone.
async fn make_durable(connection: &mut SqliteConnection) -> Result<(), Failed> {
    let checkpoint = sqlx::query_as("PRAGMA wal_checkpoint(FULL)").fetch_one(connection).await;
    let (busy, _, _): (i64, i64, i64) = checkpoint.map_err(Step::Commit.failed())?;
    match busy {
        0 => Ok(()),
        _ => {
            let error = sqlx::Error::Protocol("a reader kept the log from being synced".into());
            Err(Step::Commit.failed()(error))
        }
    }
}

/// After a COMMIT for which the disk had no room, frames of it may stand in the WAL, whole enough
/// to come back at the next recovery. Another commit, of one page, overwrites the first of them
/// and so breaks the chain of checksums for all: what is absent then stays absent.
async fn make_absent(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // SQLite has rolled back by itself, or this does.
    let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    sqlx::query("UPDATE log SET epoch = epoch").execute(connection).await?;
    Ok(())
}

/// A side write that is refused changes nothing; one that fails fails the transaction.
async fn write_beside(
    connection: &mut SqliteConnection,
    leases: &Leases,
    side_write: &SideWrite,
) -> Result<Result<bool, StoreError>, sqlx::Error> {
    match side_write {
        SideWrite::Snapshot(snapshot) => {
            rows::upsert_snapshot(connection, snapshot).await?;
            crate::crash::point("snapshot.before_commit");
            Ok(Ok(true))
        }
        SideWrite::Documents(batch) => {
            let advanced = checkpoints::advance(connection, leases, &batch.advance).await?;
            if let Ok(true) = advanced {
                rows::upsert_documents(connection, batch).await?;
            }
            Ok(advanced)
        }
        SideWrite::Request(request) => checkpoints::request(connection, request).await.map(Ok),
        SideWrite::Program(name) => program::keep(connection, name).await.map(Ok),
        SideWrite::Prune(prune) => commands::prune(connection, prune).await.map(Ok),
        SideWrite::Version(change) => versions::change(connection, leases, change).await.map(Ok),
    }
}
