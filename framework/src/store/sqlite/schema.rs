//! The schema in the file: whose it is, how new it is, and bringing it up to date.
//!
//! [`refuse_others`] only reads; [`migrate`] changes. Between them everything else that could
//! refuse the file has had its turn.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::open::{Opening, refuse};
use crate::error::StartError;
use crate::store::sql::migrations;

const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "log", include_str!("../../../migrations/sqlite/0001_log.sql")),
    (2, "read_side", include_str!("../../../migrations/sqlite/0002_read_side.sql")),
    (3, "pause_and_replay", include_str!("../../../migrations/sqlite/0003_pause_and_replay.sql")),
];

/// `actm`: by this number `file` and the like tell a log from any other database.
const APPLICATION_ID: i64 = 0x6163_746d;

/// Refuses a schema that a newer program made, and the database of another program, where our
/// tables would stand among its own. A program's own file may hold both if no name is taken.
pub(super) async fn refuse_others(
    opening: &Opening,
    connection: &mut SqliteConnection,
) -> Result<(), StartError> {
    let failed = |error| opening.cannot_open(&error);
    let migrated: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'actum_migrations')",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if !migrated {
        let taken: Option<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_schema WHERE name COLLATE NOCASE IN
             ('log', 'wal_origin', 'events', 'commands', 'claims', 'snapshots', 'documents', 'checkpoints', 'parked',
              'parked_events', 'skipped', 'versions', 'open_work') LIMIT 1",
        )
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
        return match taken {
            None => Ok(()),
            Some(name) => Err(refuse(
                opening.path(),
                format!(
                    "this is the database of another program: it has something named {name:?} that a log needs; name another file"
                ),
            )),
        };
    }
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM actum_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
    if found > known {
        return Err(refuse(
            opening.path(),
            format!(
                "its schema is version {found}, this program knows up to {known}: start the newer release"
            ),
        ));
    }
    refuse_other_steps(opening, connection).await
}

/// Refuses steps that a build made which was never released. Migrating would refuse them as well,
/// but only after the file has been marked.
async fn refuse_other_steps(
    opening: &Opening,
    connection: &mut SqliteConnection,
) -> Result<(), StartError> {
    let done: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM actum_migrations ORDER BY version")
            .fetch_all(connection)
            .await
            .map_err(|error| opening.cannot_open(&error))?;
    for (version, checksum) in done {
        let is_other = |step: &Migration| step.version == version && *step.checksum != *checksum;
        if steps().any(|step| is_other(&step)) {
            let reason = migrations::explain(&MigrateError::VersionMismatch(version));
            return Err(refuse(opening.path(), reason));
        }
    }
    Ok(())
}

fn steps() -> impl Iterator<Item = Migration> {
    MIGRATIONS.iter().map(|(version, name, sql)| {
        let (name, sql) = ((*name).into(), (*sql).into_sql_str());
        Migration::new(*version, name, MigrationType::Simple, sql, false)
    })
}

/// Checks whether the database has the row that binds a write-ahead log to it.
pub(super) async fn is_marked(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'wal_origin')")
        .fetch_one(connection)
        .await
}

/// Brings the schema up to date, each step in a transaction of its own: a crash between or in them
/// is finished at the next start.
pub(super) async fn migrate(
    opening: &Opening,
    connection: &mut SqliteConnection,
) -> Result<(), StartError> {
    crate::failpoints::point("migrate");
    let mut migrator = Migrator::with_migrations(steps().collect());
    // A table of our own: the application may keep migrations of its own in the same file.
    migrator.dangerous_set_table_name("actum_migrations");
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    migrated.map_err(|error| refuse(opening.path(), migrations::explain(&error)))?;
    crate::failpoints::point("migrate");
    let failed = |error| opening.cannot_open(&error);
    let id = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await;
    let id: i64 = id.map_err(failed)?;
    // An application that keeps its own tables in the file may have given it a number of its own.
    if id == 0 {
        // A pragma takes no bound value; this one is a constant.
        let mark = AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}"));
        sqlx::query(mark).execute(connection).await.map_err(failed)?;
    }
    Ok(())
}
