//! The upper limit for a follower that saves: the same rows upserted with sqlx alone, a batch in a
//! transaction, at the log's durability, into tables as wide as those of the bank.

use std::ops::Range;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::{Run, Stopwatch};
use crate::Outcome;
use crate::accounts::id;
use crate::database::{BenchDatabase, Store};

/// Number of events that a read model saves at once while it catches up.
const DOCUMENTS: u64 = 16_000;
/// Number of events that a subscription reads at once.
const BOOKINGS: u64 = 4_096;
/// Rows in a statement on SQLite.
const ROWS: u64 = 256;

const DOCUMENTS_TABLE: &str = "CREATE TABLE raw_documents
    (model TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (model, key))";
const BOOKINGS_TABLE: &str = "CREATE TABLE raw_bookings
    (account TEXT NOT NULL, booking BIGINT NOT NULL, position BIGINT NOT NULL, kind TEXT NOT NULL,
     amount BIGINT NOT NULL, balance BIGINT NOT NULL, booked_at BIGINT NOT NULL,
     PRIMARY KEY (account, booking))";

const BODY: &str = "{\"balance\":299,\"currency\":\"EUR\",\"status\":\"open\"}";
const BOOKED_AT: i64 = 1_700_000_000_000_000;

/// The kind of rows that are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// One row for each event, keyed by its account, and at most one of each account in a batch.
    Documents,
    /// One row for each event, keyed by account and number, and the account's document.
    Bookings,
}

impl Rows {
    pub(super) const ALL: [Self; 2] = [Self::Documents, Self::Bookings];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Documents => "limit: upsert a document for each",
            Self::Bookings => "limit: insert a booking for each",
        }
    }
}

/// One row for each event.
pub(super) async fn run(
    database: &BenchDatabase,
    rows: Rows,
    accounts: u64,
    events: u64,
) -> Outcome<Run> {
    let mut connection = Sink::open(database).await?;
    if database.store == Store::Postgres {
        connection.execute("CREATE SCHEMA actum").await?;
    }
    connection.execute(DOCUMENTS_TABLE).await?;
    connection.execute(BOOKINGS_TABLE).await?;
    let stopwatch = Stopwatch::start()?;
    let batch = if rows == Rows::Documents { DOCUMENTS.min(accounts) } else { BOOKINGS };
    for first in (0..events).step_by(batch as usize) {
        let batch = first..events.min(first + batch);
        connection.execute("BEGIN").await?;
        if rows == Rows::Bookings {
            connection.bookings(batch.clone(), accounts).await?;
        }
        let distinct = batch.start..batch.end.min(batch.start + accounts);
        connection.documents(distinct, accounts).await?;
        connection.execute("COMMIT").await?;
    }
    stopwatch.stop()
}

enum Sink {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Sink {
    async fn open(database: &BenchDatabase) -> Outcome<Self> {
        Ok(match database.store {
            Store::Sqlite => Self::Sqlite(
                SqliteConnectOptions::new()
                    .filename(&database.url)
                    .create_if_missing(true)
                    .pragma("journal_mode", "WAL")
                    .pragma("synchronous", "FULL")
                    .pragma("cache_size", "-65536")
                    .pragma("wal_autocheckpoint", "8192")
                    .pragma("temp_store", "MEMORY")
                    .disable_statement_logging()
                    .connect()
                    .await?,
            ),
            Store::Postgres => Self::Postgres(database.postgres().await?),
        })
    }

    async fn execute(&mut self, sql: &'static str) -> Outcome {
        match self {
            Self::Sqlite(connection) => {
                sqlx::query(sql).execute(connection).await?;
            }
            Self::Postgres(connection) => {
                sqlx::query(sql).execute(connection).await?;
            }
        }
        Ok(())
    }

    /// The documents of these events, no account twice.
    async fn documents(&mut self, events: Range<u64>, accounts: u64) -> Outcome {
        let upsert = "ON CONFLICT (model, key) DO UPDATE SET body = excluded.body";
        match self {
            Self::Sqlite(connection) => {
                for rows in chunks(events) {
                    let values = vec!["(?,?,?)"; rows.clone().count()].join(",");
                    let sql = format!("INSERT INTO raw_documents VALUES {values} {upsert}");
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for event in rows {
                        query = query.bind("balance@1").bind(id(event % accounts)).bind(BODY);
                    }
                    query.execute(&mut *connection).await?;
                }
            }
            Self::Postgres(connection) => {
                let sql = format!(
                    "INSERT INTO raw_documents SELECT 'balance@1', * FROM unnest($1, $2) {upsert}"
                );
                let keys: Vec<_> = events.map(|event| id(event % accounts)).collect();
                let bodies = vec![BODY; keys.len()];
                let query = sqlx::query(AssertSqlSafe(sql)).bind(keys).bind(bodies);
                query.execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn bookings(&mut self, events: Range<u64>, accounts: u64) -> Outcome {
        match self {
            Self::Sqlite(connection) => {
                for rows in chunks(events) {
                    let values = vec!["(?,?,?,?,?,?,?)"; rows.clone().count()].join(",");
                    let sql = format!("INSERT INTO raw_bookings VALUES {values}");
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for event in rows {
                        let booking = (event / accounts + 1) as i64;
                        query = query
                            .bind(id(event % accounts))
                            .bind(booking)
                            .bind(event as i64 + 1)
                            .bind("credited")
                            .bind(1_i64)
                            .bind(booking)
                            .bind(BOOKED_AT);
                    }
                    query.execute(&mut *connection).await?;
                }
            }
            Self::Postgres(connection) => {
                let count = events.clone().count();
                let bookings: Vec<_> =
                    events.clone().map(|event| (event / accounts + 1) as i64).collect();
                sqlx::query(
                    "INSERT INTO raw_bookings SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(events.clone().map(|event| id(event % accounts)).collect::<Vec<_>>())
                .bind(&bookings)
                .bind(events.map(|event| event as i64 + 1).collect::<Vec<_>>())
                .bind(vec!["credited"; count])
                .bind(vec![1_i64; count])
                .bind(&bookings)
                .bind(vec![BOOKED_AT; count])
                .execute(connection)
                .await?;
            }
        }
        Ok(())
    }
}

fn chunks(events: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = events.end;
    events.step_by(ROWS as usize).map(move |first| first..end.min(first + ROWS))
}
