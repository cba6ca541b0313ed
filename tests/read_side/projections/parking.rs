//! One bad event stops one key of a projection, and nothing else.

use actum::{
    Application, BoxError, EventEnvelope, EventSources, GlobalPosition, Projection, SqlConnection,
};

use super::{FIXED, Mixes, add, builder, mixed, read_mixes};
use crate::support::counter::{Counted, Counter};
use crate::support::events::foreign;
use crate::support::place::{Place, on_both_places};
use crate::support::waiting::until;

/// Appends an event past the aggregate, which would be poisoned by it.
async fn poison(app: &Application, id: &str, (name, payload): (&str, &str)) -> GlobalPosition {
    app.store().append(vec![foreign(id, name, [payload])]).await;
    app.store().head().await.unwrap()
}

async fn add_raw(app: &Application, id: &str, n: i64) -> GlobalPosition {
    poison(app, id, ("Added", &n.to_string())).await
}

async fn a_poisoned_event_parks_its_key_and_after_a_fix_all_of_it_is_taken_in(place: Place) {
    let id = &*format!("mended-{}", place.name());
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    add_raw(&app, id, 1).await;
    let poisoned = poison(&app, id, ("Poisoned", "null")).await;
    for n in 0..40 {
        add(&app, "other", n).await;
        add_raw(&app, id, n).await;
    }
    let head = app.store().head().await.unwrap();
    let (mixes, reflects) = read_mixes(&app, head).await;
    assert_eq!((mixes["other"].1, mixes[id], reflects), (40, (1, 1), head));
    app.shutdown().await;
    drop(app);
    // Another process with the code that was fixed: what waits is tried at once, in order.
    FIXED.lock().unwrap().insert(id.to_owned());
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    until(async || read_mixes(&app, head).await.0[id].1 == 42).await;
    let expected = (0..40).fold(mixed(1, 0), mixed);
    assert_eq!(read_mixes(&app, head).await.0[id], (expected, 42));
    assert!(poisoned < head);
    let later = add_raw(&app, id, 7).await;
    assert_eq!(read_mixes(&app, later).await.0[id], (mixed(expected, 7), 43));
    app.shutdown().await;
}

async fn an_unknown_event_and_many_bad_ones_park_only_their_keys(place: Place) {
    let app = builder(&place).await.start().await.unwrap();
    for n in 0..400 {
        add_raw(&app, &format!("c{}", n % 40), n).await;
        if n % 100 == 50 {
            poison(&app, &format!("c{}", n % 40), ("Poisoned", "null")).await;
            poison(&app, &format!("c{}", (n + 1) % 40), ("Unheard", "{}")).await;
        }
    }
    let head = app.store().head().await.unwrap();
    app.shutdown().await;
    drop(app);
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let (mixes, reflects) = read_mixes(&app, head).await;
    assert_eq!(reflects, head);
    for counter in 0..40 {
        let all: Vec<i64> = (0..400).filter(|n| n % 40 == counter).collect();
        // Up to the first bad one of this counter.
        let bad = (0..400).filter(|n| n % 100 == 50);
        let bad = bad.filter(|n| n % 40 == counter || (n + 1) % 40 == counter).min();
        let seen = all.iter().filter(|n| bad.is_none_or(|bad| **n <= bad));
        let (mix, events) = seen.fold((0, 0), |(mix, count), n| (mixed(mix, *n), count + 1));
        assert_eq!(mixes[&format!("c{counter}")], (mix, events), "c{counter}");
    }
    app.shutdown().await;
}

/// Takes each number once, whatever counter it was added to.
pub struct Once;

#[async_trait::async_trait]
impl Projection for Once {
    const NAME: &'static str = "once";
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE numbers (n BIGINT PRIMARY KEY, id TEXT NOT NULL)", &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        for event in events {
            let Counted::Added(n) = event.event else { continue };
            let values = [n.into(), event.stream.id().into()];
            let inserted = db.execute("INSERT INTO numbers VALUES ($1, $2)", &values).await;
            // A projection that ignores an error of the database is found out all the same.
            if n != 13 {
                inserted?;
            }
        }
        Ok(())
    }
}

async fn numbers(app: &Application, position: GlobalPosition) -> Vec<(i64, String)> {
    let read = app.query::<Once>().after(position).run(async |db, _| {
        let rows = db.rows("SELECT n, id FROM numbers ORDER BY n", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).collect())
    });
    read.await.unwrap()
}

async fn an_event_that_the_database_refuses_parks_its_key_with_the_message(place: Place) {
    let app = builder(&place).await.projection::<Once>().start().await.unwrap();
    for n in 1..=5 {
        add(&app, "a", n).await;
    }
    add(&app, "b", 3).await;
    add(&app, "b", 6).await;
    let position = add(&app, "c", 7).await;
    let found: Vec<_> = numbers(&app, position).await;
    let ids: String = found.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!((found.len(), &*ids), (6, "aaaaac"));
    let parked = parked(&app, "once").await;
    assert_eq!(parked.len(), 1);
    let (key, reason) = &parked[0];
    assert_eq!(key, "b");
    assert!(reason.to_lowercase().contains("unique"), "{reason}");
    app.shutdown().await;
}

/// Keys and reasons, as the bookkeeping beside the rows has them.
async fn parked(app: &Application, name: &str) -> Vec<(String, String)> {
    let model = format!("{name}@1");
    let read = app.query::<Once>().run(async |db, _| {
        // The schema is named where there is one; a file is one by itself.
        let beside = match db.native::<sqlx::PgConnection>().is_some() {
            true => "actum.parked",
            false => "parked",
        };
        let sql = format!("SELECT key, reason FROM {beside} WHERE model = $1");
        let rows = db.rows(&sql, &[model.into()]).await?;
        Ok(rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).collect())
    });
    read.await.unwrap()
}

/// Records for each event the connection that projected it.
pub struct Sessions;

#[async_trait::async_trait]
impl Projection for Sessions {
    const NAME: &'static str = "sessions";
    type Event = EventEnvelope<Counted>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Counter>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        db.execute("CREATE TABLE taken (session DOUBLE PRECISION)", &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        // It lasts as long as the connection.
        db.execute("CREATE TEMP TABLE IF NOT EXISTS session AS SELECT random() AS id", &[]).await?;
        for event in events {
            if event.event == Counted::Poisoned {
                return Err("not for me".into());
            }
            db.execute("INSERT INTO taken SELECT id FROM session", &[]).await?;
        }
        Ok(())
    }
}

async fn a_bad_event_costs_no_connection(place: Place) {
    let app = builder(&place).await.projection::<Sessions>().start().await.unwrap();
    let taken = async |position| {
        let read = app.query::<Sessions>().after(position).run(async |db, _| {
            let count = "SELECT count(*), count(DISTINCT session) FROM taken";
            let rows = db.rows(count, &[]).await?;
            Ok((rows[0].get(0)?, rows[0].get(1)?))
        });
        read.await.unwrap()
    };
    let position = add(&app, "good", 1).await;
    assert_eq!(taken(position).await, (1_i64, 1_i64));
    for round in 0..3 {
        poison(&app, &format!("bad-{round}"), ("Poisoned", "null")).await;
        let position = add(&app, "good", 1).await;
        assert_eq!(taken(position).await, (round + 2, 1));
    }
    app.shutdown().await;
}

on_both_places!(
    a_bad_event_costs_no_connection,
    a_poisoned_event_parks_its_key_and_after_a_fix_all_of_it_is_taken_in,
    an_unknown_event_and_many_bad_ones_park_only_their_keys,
    an_event_that_the_database_refuses_parks_its_key_with_the_message,
);
