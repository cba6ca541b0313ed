//! The upper limit for a follower: the whole log is read and decoded, the next page is read while
//! the last one is decoded, and the events are dropped.

use std::future::Future;
use std::sync::Arc;

use actum::{EventCodec, Filter, GlobalPosition, PageLimit};
use example_bank::account::AccountEvent;
use sqlx::Row;
use tokio::task::JoinHandle;

use super::{Run, Stopwatch};
use crate::Outcome;
use crate::accounts::{self, ReadModels};
use crate::database::{BenchDatabase, Store};

const PAGE: usize = 4096;

/// The decoded part of a page: event type, schema version and payload.
struct Page {
    rows: Vec<(String, u32, String)>,
    last: i64,
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
        ($sql:expr, $connection:expr, $version:ty) => {{
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
                        let schema_version: $version = row.try_get(6)?;
                        let version = schema_version as u32;
                        page.rows.push((row.try_get(5)?, version, row.try_get(7)?));
                    }
                    Outcome::Ok(page)
                }
            }
        }};
    }
    match database.store {
        Store::Sqlite => pages(events, page!(SQLITE, database.sqlite().await?, i64)).await,
        Store::Postgres => pages(events, page!(POSTGRES, database.postgres().await?, i32)).await,
    }
}

async fn pages<P>(events: u64, page: impl Fn(i64) -> P) -> Outcome<Run>
where
    P: Future<Output = Outcome<Page>> + Send + 'static,
{
    let codec = EventCodec::<AccountEvent>::new(Vec::new());
    let stopwatch = Stopwatch::start()?;
    let mut decoded = 0;
    let mut next: JoinHandle<Outcome<Page>> = tokio::spawn(page(0));
    while decoded < events {
        let Page { rows, last } = next.await??;
        next = tokio::spawn(page(last));
        for (event_type, schema_version, payload) in &rows {
            std::hint::black_box(codec.decode_parts(event_type, *schema_version, payload)?);
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
    let codec = EventCodec::<AccountEvent>::new(Vec::new());
    let stopwatch = Stopwatch::start()?;
    let mut decoded = 0;
    let mut next = page(GlobalPosition::ZERO);
    while decoded < events {
        let read = next.await??;
        next = page(read.scanned_to);
        for event in &read.events {
            std::hint::black_box(codec.decode(event)?);
            decoded += 1;
        }
    }
    next.await??;
    let run = stopwatch.stop()?;
    app.shutdown().await;
    Ok(run)
}
