//! Opening a log file, in an order in which a refusal changes nothing.
//!
//! First `lock` takes the file, then a connection looks into the database, and only then it is
//! migrated and switched to WAL. Every connection reads its settings back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};
use uuid::Uuid;

use super::lock::{self, HeldFile};
use super::writer::SqliteWriter;
use super::{SqliteOptions, SqliteStore, fault};
use crate::error::StartError;
use crate::event_store::LogIdentity;
use crate::store::committer::Committer;
use crate::stream::GlobalPosition;

const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "log", include_str!("../../../../migrations/sqlite/0001_log.sql"))];

/// Older releases have a bug that can corrupt a WAL when it is reset.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// What is needed to open one more connection to the file; holds the lock on it.
pub(super) struct Opening {
    pub(super) options: SqliteOptions,
    file: HeldFile,
}

impl Opening {
    pub(super) fn path(&self) -> &Path {
        &self.options.path
    }

    fn connect_options(&self) -> SqliteConnectOptions {
        let options = &self.options;
        let mut connect = SqliteConnectOptions::new()
            .filename(&self.file.path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(options.busy_timeout)
            .statement_cache_capacity(256)
            .pragma("synchronous", "FULL")
            // Random streams touch many index pages: keep 64 MiB of them at hand, and let 32 MiB
            // gather in the WAL, so that a page is copied back once for many changes.
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "8192")
            .disable_statement_logging();
        for (name, value) in &options.pragmas {
            connect = connect.pragma(name.clone(), value.clone());
        }
        connect
    }

    /// A connection whose settings are safe.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, StartError> {
        let connecting = self.connect_options().connect().await;
        let mut connection = connecting.map_err(|e| self.cannot_open(&e))?;
        self.check(&mut connection).await?;
        Ok(connection)
    }

    fn cannot_open(&self, error: &sqlx::Error) -> StartError {
        refuse(self.path(), fault::explain(self.path(), error))
    }

    /// Reads the settings back and refuses unsafe ones.
    async fn check(&self, connection: &mut SqliteConnection) -> Result<(), StartError> {
        let mut settings = vec![("journal_mode", "wal", "wal"), ("foreign_keys", "1", "1 (on)")];
        if self.options.check_durability {
            settings.push(("synchronous", "2", "2 (FULL)"));
        }
        for (setting, value, needed) in settings {
            let pragma = format!("SELECT CAST({setting} AS TEXT) FROM pragma_{setting}");
            let found: String = sqlx::query_scalar(AssertSqlSafe(pragma))
                .fetch_one(&mut *connection)
                .await
                .map_err(|e| self.cannot_open(&e))?;
            if found != value {
                let place = self.path().display().to_string();
                return Err(StartError::Unsafe { place, setting, found, needed });
            }
        }
        Ok(())
    }
}

pub(super) fn refuse(path: &Path, reason: impl Into<String>) -> StartError {
    StartError::Open { place: path.display().to_string(), reason: reason.into() }
}

/// Opens the store, or refuses and changes nothing.
pub(super) async fn open(options: SqliteOptions) -> Result<SqliteStore, StartError> {
    let file = lock::hold(&options.path, options.wait_for_lock).await?;
    let opening = Arc::new(Opening { options, file });
    prepare(&opening).await?;
    let mut connection = opening.connect().await?;
    let (head, identity) = identify(&mut connection).await.map_err(|e| opening.cannot_open(&e))?;
    let writer = SqliteWriter::new(Arc::clone(&opening), connection);
    let committer = Committer::start(head, move || writer)?;
    let readers = open_readers(&opening).await?;
    let place = opening.path().display().to_string().into();
    Ok(SqliteStore { committer, readers, identity, place })
}

async fn open_readers(opening: &Arc<Opening>) -> Result<sqlx::SqlitePool, StartError> {
    let checking = Arc::clone(opening);
    SqlitePoolOptions::new()
        .max_connections(opening.options.readers)
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
        .connect_with(opening.connect_options().pragma("query_only", "1"))
        .await
        .map_err(|e| opening.cannot_open(&e))
}

/// Looks into the database, then migrates it.
async fn prepare(opening: &Opening) -> Result<(), StartError> {
    let failed = |error: sqlx::Error| match fault::primary_code(&error) {
        Some(fault::NOT_A_DATABASE) => {
            refuse(opening.path(), "this file is no SQLite database, or it is encrypted")
        }
        _ => opening.cannot_open(&error),
    };
    let mut connection = opening.connect_options().connect().await.map_err(failed)?;
    check_version(opening, &mut connection).await?;
    refuse_newer_schema(opening, &mut connection).await?;
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut connection).await.map_err(failed)?;
    crate::crash::point("migrate");
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        let (name, sql) = ((*name).into(), (*sql).into_sql_str());
        Migration::new(*version, name, MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // A table of our own: the application may keep migrations of its own in the same file.
    migrator.dangerous_set_table_name("actum_migrations");
    let migrated = migrator.run_direct(None, &mut connection, false).await;
    migrated.map_err(|e| refuse(opening.path(), format!("the schema cannot be migrated: {e}")))?;
    crate::crash::point("migrate");
    connection.close().await.map_err(|e| opening.cannot_open(&e))
}

async fn check_version(
    opening: &Opening,
    connection: &mut SqliteConnection,
) -> Result<(), StartError> {
    let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await;
    let version: String = version.map_err(|e| match fault::primary_code(&e) {
        Some(fault::NOT_A_DATABASE) => refuse(opening.path(), "this file is no SQLite database"),
        _ => opening.cannot_open(&e),
    })?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) < OLDEST_SQLITE {
        let place = opening.path().display().to_string();
        let (setting, needed) = ("sqlite_version", "3.51.3 or later");
        return Err(StartError::Unsafe { place, setting, found: version, needed });
    }
    Ok(())
}

async fn refuse_newer_schema(
    opening: &Opening,
    connection: &mut SqliteConnection,
) -> Result<(), StartError> {
    let failed = |error: sqlx::Error| match fault::primary_code(&error) {
        Some(fault::NOT_A_DATABASE) => refuse(opening.path(), "this file is no SQLite database"),
        _ => opening.cannot_open(&error),
    };
    let migrated: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'actum_migrations')",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if !migrated {
        return Ok(());
    }
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM actum_migrations")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
    match found > known {
        false => Ok(()),
        true => Err(refuse(
            opening.path(),
            format!(
                "its schema is version {found}, this program knows up to {known}: start the newer release"
            ),
        )),
    }
}

async fn identify(
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
