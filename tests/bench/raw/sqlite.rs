//! The raw insert into SQLite, in statements of one row or of the whole batch.

use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::{EVENT_TYPE, METADATA, PAYLOAD, Row};
use crate::Outcome;
use crate::database::BenchDatabase;

const SCHEMA: &str = include_str!("../../../migrations/sqlite/0001_log.sql");

pub(super) struct Insert {
    connection: SqliteConnection,
    sql: Arc<str>,
    per_statement: usize,
}

impl Insert {
    pub(super) async fn new(database: &BenchDatabase, per_statement: usize) -> Outcome<Self> {
        // As `SqliteStore` opens it.
        let mut connection = SqliteConnectOptions::new()
            .filename(&database.url)
            .create_if_missing(true)
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "8192")
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        let values = vec!["(?,?,?,?,?,?,?,?,?,?)"; per_statement].join(",");
        let sql = format!(
            "INSERT INTO events (position, stream_type, stream_id, version, event_id, event_type, \
             schema_version, payload, metadata, recorded_at) VALUES {values}"
        );
        Ok(Self { connection, sql: sql.into(), per_statement })
    }

    pub(super) async fn transaction(&mut self, rows: Vec<Row>) -> Outcome {
        if rows.len() == 1 {
            // One statement is a transaction of its own: the fastest way to write one row.
            return self.statement(&rows).await;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        for rows in rows.chunks(self.per_statement) {
            self.statement(rows).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn statement(&mut self, rows: &[Row]) -> Outcome {
        let mut statement = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql)));
        for row in rows {
            statement = statement
                .bind(row.position)
                .bind("account")
                .bind(&row.stream_id)
                .bind(row.version)
                .bind(row.event_id.as_bytes().to_vec())
                .bind(EVENT_TYPE)
                .bind(1_i64)
                .bind(PAYLOAD)
                .bind(METADATA)
                .bind(1_700_000_000_000_000_i64);
        }
        statement.execute(&mut self.connection).await?;
        Ok(())
    }
}
