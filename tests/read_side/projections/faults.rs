//! A projection that is slow, or whose connection is lost, delays nothing else and loses nothing.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use actum::{BoxError, EventEnvelope, EventSources, GlobalPosition, Projection, SqlConnection};

use super::{Mixes, add, builder, read_mixes};
use crate::support::counter::{Counted, Counter};
use crate::support::place::{Place, on_both_places};
use crate::support::waiting::until;

/// Counters at whose events [`GatedRows`] blocks its thread, until they are opened.
static SHUT: Mutex<Option<HashSet<String>>> = Mutex::new(None);

fn shut(id: &str) {
    SHUT.lock().unwrap().get_or_insert_default().insert(id.to_owned());
}

fn open(id: &str) {
    SHUT.lock().unwrap().get_or_insert_default().remove(id);
}

fn is_shut(id: &str) -> bool {
    SHUT.lock().unwrap().as_ref().is_some_and(|shut| shut.contains(id))
}

/// One row for each event, as soon as it is let through.
pub struct GatedRows;

#[async_trait::async_trait]
impl Projection for GatedRows {
    const NAME: &'static str = "gated";
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE steps (id TEXT, version BIGINT)", &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        for event in events {
            let values = [event.stream.id().into(), event.version.into()];
            db.execute("INSERT INTO steps VALUES ($1, $2)", &values).await?;
            while is_shut(event.stream.id()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

async fn steps(app: &actum::Application, position: GlobalPosition) -> usize {
    let read = app
        .query::<GatedRows>()
        .after(position)
        .run(async |db, _| Ok(db.rows("SELECT id FROM steps", &[]).await?.len()));
    read.await.unwrap()
}

async fn one_that_stands_still_holds_up_neither_commands_nor_another(place: Place) {
    let id = &*format!("slow-{}", place.name());
    let builder = builder(&place).await.projection::<Mixes>().projection::<GatedRows>();
    let app = builder.start().await.unwrap();
    shut(id);
    let mut position = GlobalPosition::ZERO;
    for n in 0..200 {
        position = add(&app, id, n).await;
    }
    assert_eq!(read_mixes(&app, position).await.0[id].1, 200);
    assert!(is_shut(id));
    // Its rows are not committed, so they are not visible, and queries run all the same.
    assert_eq!(steps(&app, GlobalPosition::ZERO).await, 0);
    open(id);
    assert_eq!(steps(&app, position).await, 200);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_connection_killed_in_the_middle_loses_and_doubles_nothing() {
    let place = Place::postgres().await;
    let app = builder(&place).await.projection::<GatedRows>().start().await.unwrap();
    let Place::Postgres(database) = &place else { panic!("not PostgreSQL") };
    let mut root = database.connect().await;
    let (mut kills, mut position) = (0, GlobalPosition::ZERO);
    for round in 0..5 {
        let id = format!("killed-{round}");
        shut(&id);
        for n in 0..20 {
            position = add(&app, &id, n).await;
        }
        until(async || {
            let killed: i64 = sqlx::query_scalar(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE state = 'idle in transaction' AND query LIKE 'INSERT INTO steps%'
                 AND datname = current_database()",
            )
            .fetch_one(&mut root)
            .await
            .unwrap();
            kills += killed;
            killed > 0
        })
        .await;
        open(&id);
        assert_eq!(steps(&app, position).await, 20 * (round + 1));
    }
    assert_eq!(kills, 5);
    assert!(app.readiness().ready, "{:?}", app.readiness());
    app.shutdown().await;
}

on_both_places!(one_that_stands_still_holds_up_neither_commands_nor_another);
