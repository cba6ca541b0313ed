//! The schema of a log: its name, whose it is, how new it is, and bringing it up to date.
//!
//! [`refuse_others`] only reads; [`migrate`] changes, and only if something is to be changed: a
//! role that may not create tables can run the application once another has migrated. Several
//! applications share one database by choosing a schema each. Everything that belongs to a log
//! bears the schema's name: tables, writer lock, migration lock, notification channel, projections'
//! schemas.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr};
use tokio::time::sleep;

use super::open::Opening;
use crate::error::StartError;
use crate::store::sql::migrations;

const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "log", include_str!("../../../migrations/postgres/0001_log.sql")),
    (2, "read_side", include_str!("../../../migrations/postgres/0002_read_side.sql")),
    (3, "pause_and_replay", include_str!("../../../migrations/postgres/0003_pause_and_replay.sql")),
];

/// The schema that the text of the migrations names.
const DEFAULT: &str = "actum";

/// The writer lock as the text of the migrations names it: the one of the schema `actum`.
const WRITER_LOCK: &str = "pg_advisory_xact_lock(1633907821, 1)";

/// First number of the lock under which a schema is migrated; the second is the schema's.
const MIGRATION_LOCK: i32 = 1_633_907_822;

/// Longest name of a schema: the names of projections' schemas begin with it.
const MAX_NAME_BYTES: usize = 40;

/// Longest identifier that PostgreSQL keeps whole.
const MAX_IDENTIFIER_BYTES: usize = 63;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Name of the schema that a log is in: safe to stand in SQL without quotes.
#[derive(Debug, Clone)]
pub(super) struct Schema(Cow<'static, str>);

impl Default for Schema {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl Schema {
    /// # Errors
    /// Why this cannot be the name of a log's schema.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let is_valid = name.len() <= MAX_NAME_BYTES
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(is_word);
        if !is_valid {
            return Err(format!(
                "{name:?} cannot be the schema of a log: its name is 1 to {MAX_NAME_BYTES} lower-case letters, digits and _, a letter first"
            ));
        }
        // A setting of the migration begins with the schema's name, and `plpgsql` is taken there.
        if name.starts_with("pg_") || matches!(name, "information_schema" | "plpgsql") {
            return Err(format!("the schema {name} is PostgreSQL's own; choose another name"));
        }
        Ok(Self(name.to_owned().into()))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Name of the notification channel.
    pub(super) fn channel(&self) -> &str {
        &self.0
    }

    /// Schema of one version of a projection.
    ///
    /// # Errors
    /// PostgreSQL would cut the name off.
    pub(super) fn of_projection(&self, name: &str, version: u32) -> Result<String, String> {
        let schema = format!("{self}_{name}_{version}");
        match schema.len() <= MAX_IDENTIFIER_BYTES {
            true => Ok(schema),
            false => Err(format!(
                "the schema {schema} of a projection would have {} bytes, at most {MAX_IDENTIFIER_BYTES} are possible; choose a shorter schema for the log, or a shorter name for the projection",
                schema.len()
            )),
        }
    }

    /// Number that tells the locks of this schema from those of others. Two schemas that share one
    /// by chance wait for each other, and are right all the same.
    fn number(&self) -> i32 {
        // The number in the text of the migrations, so that the default schema needs no rewriting.
        if self.0 == DEFAULT {
            return 1;
        }
        let hash = self
            .0
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash as i32
    }

    /// The text of a migration for this schema.
    fn migration(&self, sql: &'static str) -> Cow<'static, str> {
        if self.0 == DEFAULT {
            return sql.into();
        }
        let lock = format!("pg_advisory_xact_lock(1633907821, {})", self.number());
        let sql = sql.replace(WRITER_LOCK, &lock);
        sql.replace(&format!("{DEFAULT}."), &format!("{self}.")).into()
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses a schema that a newer program made, and one of this name that is another program's.
pub(super) async fn refuse_others(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<(), StartError> {
    match version(opening, &mut *connection).await? {
        // A newer schema may have columns whose meaning this program would break by ignoring them.
        Some(found) if found > newest() => Err(opening.refuse(format!(
            "its schema is version {found}, this program knows up to {}: start the newer release",
            newest()
        ))),
        Some(_) => Ok(()),
        None => refuse_foreign_tables(opening, connection).await,
    }
}

/// Another process may have begun to migrate just now. Both halves look at one snapshot, which
/// `to_regclass` would not do: it remembers, until it hears otherwise.
async fn refuse_foreign_tables(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<(), StartError> {
    let schema = &opening.schema;
    let (is_reserved, taken): (bool, Option<String>) = sqlx::query_as(
        "WITH ours AS (SELECT relname FROM pg_class JOIN pg_namespace AS n
                       ON n.oid = relnamespace WHERE nspname = $1)
         SELECT EXISTS (SELECT FROM pg_get_keywords() WHERE word = $1 AND catcode IN ('R', 'T')),
                (SELECT relname::text FROM ours
                 WHERE NOT EXISTS (SELECT FROM ours WHERE relname = 'migrations') LIMIT 1)",
    )
    .bind(schema.name())
    .fetch_one(connection)
    .await
    .map_err(|error| opening.cannot_open(&error))?;
    match taken {
        _ if is_reserved => {
            Err(opening.refuse(format!("{schema} is a word of SQL; choose another schema")))
        }
        None => Ok(()),
        Some(name) => Err(opening.refuse(format!(
            "the schema {schema} belongs to another program: it has {name:?}; name another database or schema"
        ))),
    }
}

/// Brings the schema up to date, each step in a transaction of its own: a crash between or in them
/// is finished at the next start. Of several processes that start at once one does it, the others
/// wait.
pub(super) async fn migrate(
    opening: &Opening,
    connection: &mut PgConnection,
) -> Result<(), StartError> {
    // Without a lock and without DDL, so a role that may not create tables gets no further than
    // this.
    if version(opening, &mut *connection).await? == Some(newest()) {
        return Ok(());
    }
    crate::failpoints::point("migrate");
    let schema = &opening.schema;
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        let sql = match schema.migration(sql) {
            Cow::Borrowed(sql) => sql.into_sql_str(),
            // The schema's name holds only letters, digits and _.
            Cow::Owned(sql) => AssertSqlSafe(sql).into_sql_str(),
        };
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(format!("{schema}.migrations"));
    migrator.create_schema(schema.name().to_owned());
    // The migrator's own lock is one for all programs in the database that use the same library.
    migrator.set_locking(false);
    // The migrator looks again under the lock, so a process that has waited finds nothing to do.
    lock(opening, connection).await?;
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    // The connection is closed after this, and the lock is released with it at the latest.
    let unlocked = sqlx::query("SELECT pg_advisory_unlock($1, $2)")
        .bind(MIGRATION_LOCK)
        .bind(schema.number())
        .execute(connection)
        .await;
    // Unlocked first, so that a failed migration does not keep the next process waiting.
    migrated.map_err(|error| opening.refuse(migrations::explain(&error)))?;
    unlocked.map_err(|error| opening.cannot_open(&error))?;
    crate::failpoints::point("migrate");
    Ok(())
}

/// Takes the lock of the schema's migration. Waits by asking again, so that a lock that is never
/// released is reported as what it is, and not as a statement that took too long.
async fn lock(opening: &Opening, connection: &mut PgConnection) -> Result<(), StartError> {
    let (schema, within) = (&opening.schema, opening.options.answer_within);
    let began = Instant::now();
    loop {
        let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
            .bind(MIGRATION_LOCK)
            .bind(schema.number())
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| opening.cannot_open(&error))?;
        if is_ours {
            return Ok(());
        }
        if began.elapsed() >= within {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    // Two-part keys have objsubid 2; the halves are unsigned in pg_locks and signed in the
    // functions.
    let holder: Option<(i32, String)> = sqlx::query_as(
        "SELECT pid, coalesce(application_name, '') FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND granted AND objsubid = 2
         AND classid = $1::bigint::oid AND objid = ($2::bigint & 4294967295)::oid
         AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .bind(i64::from(MIGRATION_LOCK))
    .bind(i64::from(schema.number()))
    .fetch_optional(connection)
    .await
    .map_err(|error| opening.cannot_open(&error))?;
    let by = match holder {
        Some((pid, name)) => format!("the session {pid} ({name:?})"),
        None => "another session".to_owned(),
    };
    Err(opening.refuse(format!(
        "{by} has held the lock of the migration of the schema {schema} for {within:?}; wait until it has migrated, or end that session"
    )))
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
    let migrated: bool = sqlx::query_scalar("SELECT to_regclass($1 || '.migrations') IS NOT NULL")
        .bind(opening.schema.name())
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !migrated {
        return Ok(None);
    }
    let version = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM migrations");
    version.fetch_one(connection).await.map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_a_name_that_needs_no_quotes() {
        for name in ["bank", "b2", "a_b", "actum"] {
            assert_eq!(Schema::new(name).unwrap().name(), name);
        }
        let long = "a".repeat(41);
        for name in [
            "",
            "Bank",
            "2b",
            "_b",
            "a-b",
            "a b",
            "a;b",
            "pg_x",
            "plpgsql",
            "information_schema",
            &long,
        ] {
            assert!(Schema::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_migration_for_another_schema_names_the_default_one_nowhere() {
        let schema = Schema::new("bank").unwrap();
        for (_, name, sql) in MIGRATIONS {
            let code: String = schema
                .migration(sql)
                .lines()
                .map(|line| format!("{}\n", line.split("--").next().unwrap_or_default()))
                .collect();
            assert!(!code.contains("actum."), "{name}");
            assert!(!code.contains("1633907821, 1)"), "{name}");
        }
        assert_eq!(Schema::default().migration(MIGRATIONS[0].2), MIGRATIONS[0].2);
    }

    #[test]
    fn a_projection_whose_schema_would_be_cut_off_is_refused() {
        let schema = Schema::new(&"s".repeat(30)).unwrap();
        assert!(schema.of_projection("statement", 1).is_ok());
        let refused = schema.of_projection(&"p".repeat(40), 1).unwrap_err();
        assert!(refused.contains("shorter"), "{refused}");
    }
}
