//! The limit: the same rows into the same schema through sqlx alone, at the same durability.
//!
//! Several ways to write a batch; the fastest one is the limit. Nothing is checked, decided,
//! encoded or answered here.

mod postgres;
mod sqlite;

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::accounts::{ACCOUNTS, id};
use crate::database::Store;
use crate::measure::{Round, cpu_time};
use crate::options::Options;
use crate::random::Random;
use crate::{Outcome, table};

const BATCHES: [usize; 4] = [1, 10, 100, 1000];

const EVENT_TYPE: &str = "Credited";
const PAYLOAD: &str = "{\"amount\":1}";
const METADATA: &str = "{\"correlation_id\":\"0193a1b2-7c3d-7e4f-8a5b-6c7d8e9fa0b1\"}";

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

/// A way to write a batch.
#[derive(Clone, Copy)]
enum Form {
    ManyRows,
    OneRow,
    Unnest,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::ManyRows => "multi-row VALUES",
            Self::OneRow => "one row each",
            Self::Unnest => "unnest",
        }
    }
}

pub async fn run(options: &Options, store: Store) -> Outcome<Limits> {
    table::heading(store, "the limit, raw sqlx inserts of the same rows, events/s");
    let mut limits = Limits::default();
    for batch in BATCHES {
        let forms: &[Form] = match (store, batch) {
            (Store::Sqlite, 1) => &[Form::OneRow],
            (Store::Sqlite, _) => &[Form::ManyRows, Form::OneRow],
            (Store::Postgres, _) => &[Form::Unnest],
        };
        let mut limit: f64 = 0.0;
        for form in forms {
            let round = round(options, store, *form, batch).await?;
            let name = format!("{}, batches of {batch}", form.name());
            table::line(&name, &round, Some(batch as f64), None, "");
            limit = limit.max(round.rate());
        }
        limits.0.push((batch, limit));
    }
    Ok(limits)
}

async fn round(options: &Options, store: Store, form: Form, batch: usize) -> Outcome<Round> {
    let database = store.fresh(options).await?;
    let mut rows = Deposits::new();
    match form {
        Form::ManyRows | Form::OneRow => {
            let per_statement = if matches!(form, Form::ManyRows) { batch } else { 1 };
            let mut insert = sqlite::Insert::new(&database, per_statement).await?;
            measure(options.round, batch, async || insert.transaction(rows.next(batch)).await).await
        }
        Form::Unnest => {
            let mut insert = postgres::Insert::new(&database).await?;
            measure(options.round, batch, async || insert.transaction(rows.next(batch)).await).await
        }
    }
}

async fn measure(
    round: Duration,
    batch: usize,
    mut transaction: impl AsyncFnMut() -> Outcome,
) -> Outcome<Round> {
    let begin = Instant::now() + round / 5;
    let (mut latencies, mut cpu) = (Vec::new(), Duration::ZERO);
    loop {
        let sent = Instant::now();
        if sent < begin {
            cpu = cpu_time("self")?;
        }
        transaction().await?;
        let now = Instant::now();
        if sent >= begin {
            latencies.push(now - sent);
        }
        if now >= begin + round {
            break;
        }
    }
    let cpu = cpu_time("self")?.saturating_sub(cpu);
    let mut round = Round::of(latencies, begin.elapsed(), cpu);
    round.commands *= batch as u64;
    Ok(round)
}

/// Columns that differ from row to row.
struct Row {
    position: i64,
    stream_id: String,
    version: i64,
    event_id: Uuid,
}

/// Deposits into random accounts, as long as Actum writes them.
struct Deposits {
    position: i64,
    versions: Vec<i64>,
    random: Random,
}

impl Deposits {
    fn new() -> Self {
        Self { position: 0, versions: vec![0; ACCOUNTS as usize], random: Random::new(7) }
    }

    fn next(&mut self, count: usize) -> Vec<Row> {
        let row = |_| {
            let account = self.random.below(ACCOUNTS);
            let version = &mut self.versions[account as usize];
            self.position += 1;
            *version += 1;
            Row {
                position: self.position,
                stream_id: id(account),
                version: *version,
                event_id: Uuid::now_v7(),
            }
        };
        (0..count).map(row).collect()
    }
}
