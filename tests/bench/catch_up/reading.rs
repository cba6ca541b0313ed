//! The upper limit for a follower: the whole log is read and decoded, the next page is read while
//! the last one is decoded, and the events are dropped.

use std::future::Future;
use std::sync::Arc;

use actum::GlobalPosition;
use actum::store::{Filter, PageLimit};
use example_bank::account::AccountEvent;
use serde::Deserialize;
use sqlx::Row;
use tokio::task::JoinHandle;

use super::{Run, Stopwatch};
use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::database::{BenchDatabase, Store};

const PAGE: usize = 4096;

/// The part of a page that is decoded: event type and payload.
struct Page {
    rows: Vec<(String, String)>,
    last: i64,
}

/// Decodes a deposit, as a program without a framework would.
fn decode(event_type: &str, payload: &str) -> Outcome<AccountEvent> {
    #[derive(Deserialize)]
    struct Deposit {
        amount: i64,
    }
    match event_type {
        "Credited" => {
            let Deposit { amount } = serde_json::from_str(payload)?;
            Ok(AccountEvent::Credited { amount })
        }
        other => Ok(serde_json::from_str(&format!("{{\"{other}\":{payload}}}"))?),
    }
}

/// Reads the log in plain SQL.
pub(super) async fn with_sqlx(database: &BenchDatabase, events: u64) -> Outcome<Run> {
    const SQLITE: &str = "SELECT position, stream_type, stream_id, version, event_id, event_type,
        schema_version, payload, metadata, recorded_at
        FROM events WHERE position > ?1 ORDER BY position LIMIT ?2";
    const POSTGRES: &str = "SELECT position, stream_type, stream_id, version, event_id, event_type,
        schema_version, payload::text AS payload, metadata::text AS metadata, recorded_at
        FROM events WHERE position > $1 ORDER BY position LIMIT $2";
    macro_rules! page {
        ($sql:expr, $connection:expr) => {{
            let connection = Arc::new(tokio::sync::Mutex::new($connection));
            move |after: i64| {
                let connection = Arc::clone(&connection);
                async move {
                    let mut connection = connection.lock().await;
                    let query = sqlx::query($sql).bind(after).bind(PAGE as i64);
                    let rows = query.fetch_all(&mut *connection).await?;
                    let mut page = Page { rows: Vec::with_capacity(rows.len()), last: after };
                    for row in rows {
                        page.last = row.try_get(0)?;
                        page.rows.push((row.try_get(5)?, row.try_get(7)?));
                    }
                    Outcome::Ok(page)
                }
            }
        }};
    }
    match database.store {
        Store::Sqlite => pages(events, page!(SQLITE, database.sqlite().await?)).await,
        Store::Postgres => pages(events, page!(POSTGRES, database.postgres().await?)).await,
    }
}

async fn pages<P>(events: u64, page: impl Fn(i64) -> P) -> Outcome<Run>
where
    P: Future<Output = Outcome<Page>> + Send + 'static,
{
    let stopwatch = Stopwatch::start()?;
    let mut decoded = 0;
    let mut next: JoinHandle<Outcome<Page>> = tokio::spawn(page(0));
    while decoded < events {
        let Page { rows, last } = next.await??;
        next = tokio::spawn(page(last));
        for (event_type, payload) in &rows {
            std::hint::black_box(decode(event_type, payload)?);
            decoded += 1;
        }
    }
    next.await??;
    stopwatch.stop()
}

/// Reads the log in the pages that subscriptions use.
pub(super) async fn through_the_store(database: &BenchDatabase, events: u64) -> Outcome<Run> {
    let app = accounts::bank(database, ReadModels::None).await?;
    let page = |after| {
        let app = app.clone();
        tokio::spawn(async move {
            let filter = Filter { aggregate_types: vec!["account".into()] };
            app.store().read_all(after, &filter, PageLimit::events(PAGE)).await
        })
    };
    let stopwatch = Stopwatch::start()?;
    let mut decoded = 0;
    let mut next = page(GlobalPosition::ZERO);
    while decoded < events {
        let read = next.await??;
        next = page(read.scanned_to);
        for event in &read.events {
            std::hint::black_box(decode(&event.event_type, &event.payload)?);
            decoded += 1;
        }
    }
    next.await??;
    let run = stopwatch.stop()?;
    app.shutdown().await;
    Ok(run)
}
