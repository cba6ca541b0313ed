//! A parked event whose key is another one in the next release stays parked: in projections as in read
//! models, nothing is dropped in silence.

use std::collections::BTreeMap;
use std::sync::Mutex;

use actum::{
    Application, BoxError, EventEnvelope, EventSources, Fold, GlobalPosition, Projection,
    ReadModel, Sources, SqlConnection,
};
use serde::{Deserialize, Serialize};

use super::{add, builder};
use crate::support::counter::{Counted, Counter};
use crate::support::place::{Place, on_both_places};
use crate::support::waiting::until;

/// The release of the program that runs, by the id of the counter.
static RELEASES: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());

fn release(id: &str) -> &'static str {
    RELEASES.lock().unwrap().get(id).copied().unwrap_or("first")
}

fn key(event: &EventEnvelope<Counted>) -> Option<String> {
    let id = event.stream.id();
    // The first two events keep their key: the start compares the keys of two of each type.
    let is_late = matches!(event.event, Counted::Added(n) if n >= 13);
    match release(id) {
        "moved" if is_late => Some(format!("{id}-elsewhere")),
        "gone" if is_late => None,
        _ => Some(format!("{id}-here")),
    }
}

fn is_refused(event: &EventEnvelope<Counted>) -> bool {
    event.event == Counted::Added(13) && release(event.stream.id()) != "mended"
}

/// One row for each number.
struct NumberRows;

#[async_trait::async_trait]
impl Projection for NumberRows {
    const NAME: &'static str = "moved_rows";
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::by::<Counter>(key)
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE numbers (n BIGINT NOT NULL)", &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        for event in events {
            if is_refused(event) {
                return Err("not that one".into());
            }
            let Counted::Added(n) = event.event else { continue };
            db.execute("INSERT INTO numbers VALUES ($1)", &[n.into()]).await?;
        }
        Ok(())
    }
}

/// The numbers.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Numbers(Vec<i64>);

impl ReadModel for Numbers {
    const NAME: &'static str = "moved_numbers";

    fn sources() -> Sources<Self> {
        Sources::by::<Counter>(key)
    }
}

impl Fold<Counter> for Numbers {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        assert!(!is_refused(event), "not that one");
        if let Counted::Added(n) = event.event {
            self.0.push(n);
        }
    }
}

async fn start(place: &Place, id: &str, release: &'static str) -> Application {
    RELEASES.lock().unwrap().insert(id.to_owned(), release);
    let builder = builder(place).await.read_model::<Numbers>().projection::<NumberRows>();
    builder.start().await.unwrap()
}

/// Attempts, number of waiting events, and reason of each parked key in both models.
async fn parked(app: &Application) -> Vec<(u32, u64, String)> {
    let status = app.operations().status().await;
    let all = status.subscriptions.iter().flat_map(|subscription| &subscription.parked);
    all.map(|key| (key.attempts, key.queued, key.reason.clone())).collect()
}

async fn rows(app: &Application, position: GlobalPosition) -> Vec<i64> {
    let read = app.query::<NumberRows>().after(position).run(async |db, _| {
        let rows = db.rows("SELECT n FROM numbers ORDER BY n", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0).unwrap()).collect())
    });
    read.await.unwrap()
}

async fn a_parked_event_whose_key_has_moved_or_gone_stays_parked(place: Place) {
    let id = place.name();
    let app = start(&place, id, "first").await;
    for n in [1, 2, 13, 14] {
        add(&app, id, n).await;
    }
    let head = app.store().head().await.unwrap();
    until(async || parked(&app).await.iter().map(|(_, queued, _)| *queued).eq([1, 1])).await;
    assert_eq!(rows(&app, head).await, [1, 2]);
    app.shutdown().await;
    drop(app);
    for (release, told) in [("moved", "elsewhere\" now"), ("gone", "has no key any more")] {
        let app = start(&place, id, release).await;
        until(async || {
            let parked = parked(&app).await;
            parked.len() == 2 && parked.iter().all(|(_, _, reason)| reason.contains(told))
        })
        .await;
        let parked = parked(&app).await;
        assert!(parked.iter().all(|(_, queued, _)| *queued == 1), "{release}: {parked:?}");
        assert!(parked.iter().all(|(_, _, reason)| reason.contains("VERSION")), "{parked:?}");
        assert_eq!(rows(&app, head).await, [1, 2], "{release}");
        app.shutdown().await;
        drop(app);
    }
    let app = start(&place, id, "mended").await;
    until(async || parked(&app).await.is_empty()).await;
    let head = add(&app, id, 15).await;
    assert_eq!(rows(&app, head).await, [1, 2, 13, 14, 15]);
    let document = app.read::<Numbers>(&format!("{id}-here")).after(head).await.unwrap();
    assert_eq!(document.0, [1, 2, 13, 14, 15]);
    app.shutdown().await;
}

on_both_places!(a_parked_event_whose_key_has_moved_or_gone_stays_parked);
