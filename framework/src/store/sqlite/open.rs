//! Opening a log file, in an order in which a refusal changes nothing.
//!
//! First `lock` takes the file and `wal` checks its side files, then a connection looks into the
//! database, and only then it is migrated and marked. Every connection reads its settings back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::watch;
use uuid::Uuid;

use super::lock::HeldFile;
use super::options::SqliteOptions;
use super::trouble::Trouble;
use super::writer::SqliteWriter;
use super::{SqliteStore, checkpoints, doubt, fault, lock, origin, schema};
use crate::error::StartError;
use crate::event::GlobalPosition;
use crate::store::contract::LogIdentity;
use crate::store::kit::group_commit::Committer;
use crate::store::kit::handles::Handle;
use crate::store::kit::leases::Leases;
use crate::store::sql::found::FoundSettings;

/// Older releases have a bug that can corrupt a WAL when it is reset.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Name of the collation that carries a [`HeldFile`].
const HOLD: &str = "actum_hold";

/// Everything that one more connection to the file needs; holds the lock on it.
pub(super) struct Opening {
    pub(super) options: SqliteOptions,
    pub(super) held: Arc<HeldFile>,
    pub(super) settings: FoundSettings,
    pub(super) trouble: Trouble,
    /// Length of the write-ahead log after the last commit.
    pub(super) wal_bytes: AtomicU64,
}

impl Opening {
    pub(super) fn path(&self) -> &Path {
        &self.options.path
    }

    /// Absolute path of the log's file, without symbolic links.
    pub(super) fn file(&self) -> &Path {
        &self.held.path
    }

    /// Options of every connection, to the log or to a file beside it.
    pub(super) fn connect_options(&self, held: &Arc<HeldFile>) -> SqliteConnectOptions {
        let options = &self.options;
        let kept = Arc::clone(held);
        let mut connect = SqliteConnectOptions::new()
            .filename(&held.path)
            // SQLite drops a collation after it has closed the connection's files. So the lock on
            // the file outlives each connection, also one that is dropped without being closed; a
            // lock that went first would take SQLite's own locks with it.
            .collation(HOLD, move |left, right| {
                let _ = &kept;
                left.cmp(right)
            })
            .foreign_keys(true)
            .busy_timeout(options.busy_timeout)
            .statement_cache_capacity(512)
            .pragma("synchronous", "FULL")
            // Random streams touch many index pages: all that a batch writes stay at hand, and 32 MiB
            // gather in the WAL, so that a page is copied back once for many changes. No more, since
            // each commit looks at every page at hand (as SQLite 3.51 is written).
            .pragma("cache_size", "-8192")
            .pragma("wal_autocheckpoint", "8192")
            // A WAL that another program's read made longer shrinks to this once it has ended.
            .pragma("journal_size_limit", "67108864")
            // What undoes one statement stays in memory, a few pages, instead of a file for each.
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging();
        for (name, value) in &options.pragmas {
            connect = connect.pragma(name.clone(), value.clone());
        }
        connect
    }

    /// A connection whose settings are safe.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, StartError> {
        let connecting = self.connect_options(&self.held).connect().await;
        let mut connection = connecting.map_err(|e| self.cannot_open(&e))?;
        self.check(&mut connection).await?;
        Ok(connection)
    }

    pub(super) fn cannot_open(&self, error: &sqlx::Error) -> StartError {
        match fault::primary_code(error) {
            Some(fault::NOT_A_DATABASE) => {
                refuse(self.path(), "this file is no SQLite database, or it is encrypted")
            }
            _ => refuse(self.path(), fault::explain(self.path(), error)),
        }
    }

    /// Reads the settings back and refuses unsafe ones.
    async fn check(&self, connection: &mut SqliteConnection) -> Result<(), StartError> {
        let mode = self.setting(connection, "journal_mode", "journal_mode").await?;
        match &*mode {
            "wal" => self.check_connection(connection).await,
            _ => Err(self.refuse_setting("journal_mode", mode, "wal")),
        }
    }

    /// The part of it that belongs to the connection and not to the file.
    async fn check_connection(&self, connection: &mut SqliteConnection) -> Result<(), StartError> {
        if self.options.check_durability {
            let synchronous = self.setting(connection, "synchronous", "synchronous").await?;
            if synchronous != "2" {
                return Err(self.refuse_setting("synchronous", synchronous, "2 (FULL)"));
            }
        }
        let foreign_keys = self.setting(connection, "foreign_keys", "foreign_keys").await?;
        if foreign_keys != "1" {
            return Err(self.refuse_setting("foreign_keys", foreign_keys, "1 (on)"));
        }
        let busy_timeout = self.setting(connection, "busy_timeout", "timeout").await?;
        if busy_timeout != self.options.busy_timeout.as_millis().to_string() {
            let needed = "what SqliteOptions::busy_timeout says";
            return Err(self.refuse_setting("busy_timeout", busy_timeout, needed));
        }
        Ok(())
    }

    async fn setting(
        &self,
        connection: &mut SqliteConnection,
        setting: &'static str,
        column: &str,
    ) -> Result<String, StartError> {
        // The settings and columns are those this file names.
        let pragma = AssertSqlSafe(format!("SELECT CAST({column} AS TEXT) FROM pragma_{setting}"));
        let found: Result<String, _> = sqlx::query_scalar(pragma).fetch_one(connection).await;
        let found = found.map_err(|e| self.cannot_open(&e))?;
        self.settings.note(setting, &found);
        Ok(found)
    }

    fn refuse_setting(
        &self,
        setting: &'static str,
        found: String,
        needed: &'static str,
    ) -> StartError {
        StartError::Unsafe { place: self.path().display().to_string(), setting, found, needed }
    }
}

pub(super) fn refuse(path: &Path, reason: impl Into<String>) -> StartError {
    StartError::Open { place: path.display().to_string(), reason: reason.into() }
}

/// Opens the store, or refuses and changes nothing.
pub(super) async fn open(options: SqliteOptions) -> Result<SqliteStore, StartError> {
    // Before the file is touched, so that a refusal leaves nothing behind.
    refuse_other_journals(&options)?;
    let held = Arc::new(lock::hold(&options.path, options.wait_for_lock).await?);
    let (settings, trouble) = (FoundSettings::default(), Trouble::default());
    let wal_bytes = AtomicU64::new(0);
    let opening = Arc::new(Opening { options, held, settings, trouble, wal_bytes });
    if let Err(refused) = prepare(&opening).await {
        opening.held.undo_creation();
        return Err(refused);
    }
    let mut connection = opening.connect().await?;
    let (head, identity) = identify(&mut connection).await.map_err(|e| opening.cannot_open(&e))?;
    // Leases are in memory only. Tokens go on from the last one that was stored, so that a write of
    // an earlier process is refused.
    let token = checkpoints::last_token(&mut connection).await;
    let leases = Leases::after(token.map_err(|e| opening.cannot_open(&e))?);
    // Only now do the side files exist, because this connection has read.
    opening.held.note_side_files();
    let writer = SqliteWriter::new(Arc::clone(&opening), connection, leases.clone());
    let (raised, head) = watch::channel(head);
    let queue_bytes = opening.options.queue_bytes;
    let committer = Committer::start(Arc::new(raised), queue_bytes, move || writer)?;
    let readers = open_readers(&opening).await?;
    let place = opening.path().display().to_string().into();
    let (projections, handles, handle) = (Arc::default(), Arc::default(), Handle::default());
    Ok(SqliteStore {
        committer,
        head,
        readers,
        leases,
        identity,
        place,
        opening,
        projections,
        handles,
        handle,
    })
}

/// The journal mode is the file's, and setting it changes the file: so it is judged by its name.
fn refuse_other_journals(options: &SqliteOptions) -> Result<(), StartError> {
    let is_other = |(name, value): &&(String, String)| {
        name.eq_ignore_ascii_case("journal_mode") && !value.eq_ignore_ascii_case("wal")
    };
    let Some((_, found)) = options.pragmas.iter().find(is_other) else { return Ok(()) };
    let (place, found) = (options.path.display().to_string(), found.clone());
    Err(StartError::Unsafe { place, setting: "journal_mode", found, needed: "wal" })
}

async fn open_readers(opening: &Arc<Opening>) -> Result<sqlx::SqlitePool, StartError> {
    let checking = Arc::clone(opening);
    SqlitePoolOptions::new()
        .max_connections(opening.options.readers)
        // A connection that is closed and opened again would have to be checked again, and there
        // are few.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            let opening = Arc::clone(&checking);
            Box::pin(async move {
                let checked = opening.check(connection).await;
                checked.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
            })
        })
        .connect_with(opening.connect_options(&opening.held).pragma("query_only", "1"))
        .await
        .map_err(|e| opening.cannot_open(&e))
}

/// Looks into the database, then migrates and marks it.
async fn prepare(opening: &Opening) -> Result<(), StartError> {
    let connecting = opening.connect_options(&opening.held).connect().await;
    let mut connection = connecting.map_err(|e| opening.cannot_open(&e))?;
    check_version(opening, &mut connection).await?;
    opening.check_connection(&mut connection).await?;
    schema::refuse_others(opening, &mut connection).await?;
    let failed = |error| opening.cannot_open(&error);
    let is_wal = opening.setting(&mut connection, "journal_mode", "journal_mode").await? == "wal";
    // The mark comes before a migration, so that what the migration writes can be told from another
    // file's log after a crash.
    if is_wal && schema::is_marked(&mut connection).await.map_err(failed)? {
        bind(opening, &mut connection).await?;
        schema::migrate(opening, &mut connection).await?;
    } else if is_wal {
        // The database of another program becomes a log.
        schema::migrate(opening, &mut connection).await?;
        bind(opening, &mut connection).await?;
    } else {
        // A crash in here leaves a journal, which undoes what was begun. A write-ahead log must not
        // exist before the file carries a mark.
        schema::migrate(opening, &mut connection).await?;
        origin::mark(&mut connection, &opening.held).await.map_err(failed)?;
        sqlx::query("PRAGMA journal_mode = WAL").execute(&mut connection).await.map_err(failed)?;
        bind(opening, &mut connection).await?;
    }
    connection.close().await.map_err(failed)
}

/// Marks the file as opened, and makes durable what was just recovered from the WAL: that may never
/// have reached the disk, because the process before may have been killed after a failed sync, and
/// a page cache that holds the only copy writes it no more. So the checkpoint comes before any of
/// it is served; if the checkpoint cannot be finished, the log is written once more.
async fn bind(opening: &Opening, connection: &mut SqliteConnection) -> Result<(), StartError> {
    match origin::bind(connection, &opening.held).await {
        Ok(false) => Ok(()),
        Ok(true) => {
            tracing::warn!(
                path = %opening.path().display(),
                "another program reads the database, so the write-ahead log cannot be emptied yet"
            );
            Ok(())
        }
        Err(error) if fault::primary_code(&error) == Some(fault::FULL) => {
            // SQLite may have rolled back by itself.
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            let durable = doubt::make_durable(connection, &opening.held.path).await;
            durable.map_err(|error| opening.cannot_open(&error))?;
            // A log that can be read is better than none.
            let reason = fault::explain(opening.path(), &error);
            tracing::warn!(%reason, "the write-ahead log cannot be emptied yet");
            Ok(())
        }
        Err(error) => Err(opening.cannot_open(&error)),
    }
}

async fn check_version(
    opening: &Opening,
    connection: &mut SqliteConnection,
) -> Result<(), StartError> {
    let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await;
    let version: String = version.map_err(|e| opening.cannot_open(&e))?;
    opening.settings.note("sqlite_version", &version);
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) < OLDEST_SQLITE {
        return Err(opening.refuse_setting("sqlite_version", version, "3.51.3 or later"));
    }
    Ok(())
}

pub(super) async fn identify(
    connection: &mut SqliteConnection,
) -> Result<(GlobalPosition, LogIdentity), sqlx::Error> {
    let (head, log_id, epoch): (i64, Vec<u8>, i64) = sqlx::query_as(
        "SELECT (SELECT coalesce(max(position), 0) FROM events), log_id, epoch FROM log",
    )
    .fetch_one(connection)
    .await?;
    let log_id = Uuid::from_slice(&log_id).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok((GlobalPosition(head as u64), LogIdentity { log_id, epoch: epoch as u64 }))
}
