//! The limit: the same rows into the same schema through sqlx alone, at the same durability.
//!
//! Two ways to write a batch, one statement of many rows and many statements of one row; the
//! faster one is the limit. Nothing is checked, decided, encoded or answered here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use uuid::Uuid;

use crate::accounts::ACCOUNTS;
use crate::measure::{Random, Round, cpu_time};
use crate::options::Options;
use crate::{Outcome, table};

const SCHEMA: &str = include_str!("../../framework/migrations/sqlite/0001_log.sql");
const BATCHES: [usize; 4] = [1, 10, 100, 1000];

type Statement = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Events/s by events in a transaction.
#[derive(Default)]
pub struct Limits(Vec<(usize, f64)>);

impl Limits {
    /// The share of the limit at the batch size nearest to `batch`, by its order of magnitude.
    pub fn ratio(&self, rate: f64, batch: f64) -> Option<(f64, usize)> {
        let distance = |size: usize| (batch.ln() - (size as f64).ln()).abs();
        let nearest = self.0.iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
        nearest.map(|(size, limit)| (rate / limit, *size))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    ManyRows,
    OneRow,
}

pub async fn run(options: &Options) -> Outcome<Limits> {
    table::heading("The limit: raw sqlx inserts of the same rows, events/s");
    let mut limits = Limits::default();
    for batch in BATCHES {
        let mut limit: f64 = 0.0;
        for (form, name) in [(Form::ManyRows, "multi-row VALUES"), (Form::OneRow, "one row each")] {
            if batch == 1 && form == Form::ManyRows {
                continue;
            }
            let round = Insert::new(options, form, batch).await?.run(options.round).await?;
            let name = format!("{name}, batches of {batch}");
            table::line(&name, &round, Some(batch as f64), None, "");
            limit = limit.max(round.rate());
        }
        limits.0.push((batch, limit));
    }
    Ok(limits)
}

struct Insert {
    connection: SqliteConnection,
    sql: Arc<str>,
    form: Form,
    batch: usize,
    position: i64,
    versions: Vec<i64>,
    random: Random,
}

impl Insert {
    async fn new(options: &Options, form: Form, batch: usize) -> Outcome<Self> {
        // As `SqliteStore` opens it.
        let mut connection = SqliteConnectOptions::new()
            .filename(options.database(&format!("raw-{batch}-{}", form as u8)))
            .create_if_missing(true)
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "8192")
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        let rows = if form == Form::ManyRows { batch } else { 1 };
        let values = vec!["(?,?,?,?,?,?,?,?,?,?)"; rows].join(",");
        let sql = format!(
            "INSERT INTO events (position, stream_type, stream_id, version, event_id, event_type, \
             schema_version, payload, metadata, recorded_at) VALUES {values}"
        );
        let (versions, random) = (vec![0; ACCOUNTS as usize], Random::new(7));
        Ok(Self { connection, sql: sql.into(), form, batch, position: 0, versions, random })
    }

    async fn run(mut self, round: Duration) -> Outcome<Round> {
        let begin = Instant::now() + round / 5;
        let (mut latencies, mut cpu) = (Vec::new(), Duration::ZERO);
        loop {
            let sent = Instant::now();
            if sent < begin {
                cpu = cpu_time("self")?;
            }
            self.transaction().await?;
            let now = Instant::now();
            if sent >= begin {
                latencies.push(now - sent);
            }
            if now >= begin + round {
                break;
            }
        }
        let cpu = cpu_time("self")?.saturating_sub(cpu);
        self.connection.close().await?;
        let mut round = Round::of(latencies, begin.elapsed(), cpu);
        round.commands *= self.batch as u64;
        Ok(round)
    }

    async fn transaction(&mut self) -> Outcome {
        if self.batch == 1 {
            // One statement is a transaction of its own: the fastest way to write one row.
            let statement = self.next(1);
            statement.execute(&mut self.connection).await?;
            return Ok(());
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let (statements, rows) = match self.form {
            Form::ManyRows => (1, self.batch),
            Form::OneRow => (self.batch, 1),
        };
        for _ in 0..statements {
            let statement = self.next(rows);
            statement.execute(&mut self.connection).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    /// The next rows: deposits into random accounts, as long as Actum writes them.
    fn next(&mut self, rows: usize) -> Statement {
        let mut statement = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql)));
        for _ in 0..rows {
            let account = self.random.next() % ACCOUNTS;
            let version = &mut self.versions[account as usize];
            self.position += 1;
            *version += 1;
            statement = statement
                .bind(self.position)
                .bind("account")
                .bind(crate::accounts::id(account))
                .bind(*version)
                .bind(Uuid::now_v7().as_bytes().to_vec())
                .bind("Credited")
                .bind(1_i64)
                .bind("{\"amount\":1}")
                .bind("{\"correlation_id\":\"0193a1b2-7c3d-7e4f-8a5b-6c7d8e9fa0b1\"}")
                .bind(1_700_000_000_000_000_i64);
        }
        statement
    }
}
