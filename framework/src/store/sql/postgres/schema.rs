//! The schema `actum` in the database: whose it is, how new it is, and bringing it up to date.
//!
//! [`refuse_others`] only reads; [`migrate`] changes, and only if something is to be changed: a
//! role that may not create tables can run the application once another has migrated.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;

use super::open::Opening;
use crate::error::StartError;
use crate::store::sql::migrations;

const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "log", include_str!("../../../../migrations/postgres/0001_log.sql")),
    (2, "read_side", include_str!("../../../../migrations/postgres/0002_read_side.sql")),
];

/// Refuses a schema that a newer program made, and one of this name that is another program's.
pub(super) async fn refuse_others(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<(), StartError> {
    match version(opening, &mut *connection).await? {
        Some(found) if found > newest() => Err(opening.refuse(format!(
            "its schema is version {found}, this program knows up to {}: start the newer release",
            newest()
        ))),
        Some(_) => Ok(()),
        None => {
            // Another process may have begun to migrate just now. Both halves look at one snapshot,
            // which `to_regclass` would not do: it remembers, until it hears otherwise.
            let taken: Option<String> = sqlx::query_scalar(
                "WITH ours AS (SELECT relname FROM pg_class JOIN pg_namespace AS n
                               ON n.oid = relnamespace WHERE nspname = 'actum')
                 SELECT relname::text FROM ours
                 WHERE NOT EXISTS (SELECT FROM ours WHERE relname = 'migrations') LIMIT 1",
            )
            .fetch_optional(connection)
            .await
            .map_err(|error| opening.cannot_open(&error))?;
            match taken {
                None => Ok(()),
                Some(name) => Err(opening.refuse(format!(
                    "the schema actum belongs to another program: it has {name:?}; name another database"
                ))),
            }
        }
    }
}

/// Brings the schema up to date, each step in a transaction of its own: a crash between or in them
/// is finished at the next start. Of several processes that start at once one does it, the others
/// wait.
pub(super) async fn migrate(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<(), StartError> {
    if version(opening, &mut *connection).await? == Some(newest()) {
        return Ok(());
    }
    crate::crash::point("migrate");
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        let (name, sql) = ((*name).into(), (*sql).into_sql_str());
        Migration::new(*version, name, MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name("actum.migrations");
    migrator.create_schema("actum");
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    migrated.map_err(|error| opening.refuse(migrations::explain(&error)))?;
    crate::crash::point("migrate");
    Ok(())
}

fn newest() -> i64 {
    MIGRATIONS[MIGRATIONS.len() - 1].0
}

/// The last migration that was applied; `None` if the schema was never migrated.
async fn version(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<Option<i64>, StartError> {
    let failed = |error| opening.cannot_open(&error);
    let migrated: bool = sqlx::query_scalar("SELECT to_regclass('actum.migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !migrated {
        return Ok(None);
    }
    let version = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM actum.migrations");
    version.fetch_one(connection).await.map(Some).map_err(failed)
}
