//! The rows of a projection equal the fold of the log, whatever it went through.

use std::collections::BTreeMap;
use std::time::Duration;

use actum::store::{MemoryStore, PostgresStore};
use actum::testing::ProjectionScenario;
use actum::{Application, BoxError, GlobalPosition, ReadError, Settings, StartError};
use time::OffsetDateTime;

use super::{Mixes, add, builder, drop_mixes, mixed, read_mixes};
use crate::support::counter::{Counted, Counter};
use crate::support::place::{Place, on_both_places};
use crate::support::postgres::database;

async fn dropped_at_any_moment_the_rows_equal_the_fold(place: Place) {
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut head = GlobalPosition::ZERO;
    for round in 0..6 {
        let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
        for step in 0..60 {
            let id = ((round * 3 + step * 7) % 20).to_string();
            head = add(&app, &id, step).await;
            let (mix, events) = expected.entry(id).or_default();
            (*mix, *events) = (mixed(*mix, step), *events + 1);
        }
        match round % 3 {
            0 => assert_eq!(read_mixes(&app, head).await, (expected.clone(), head)),
            1 => drop(app.shutdown().await),
            _ => {}
        }
        drop(app);
    }
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    assert_eq!(read_mixes(&app, head).await, (expected, head));
    assert!(app.readiness().ready, "{:?}", app.readiness());
    app.shutdown().await;
}

async fn a_log_that_was_there_before_is_caught_up_with(place: Place) {
    let app = builder(&place).await.start().await.unwrap();
    let mut head = GlobalPosition::ZERO;
    for n in 0..300 {
        head = add(&app, &(n % 7).to_string(), n).await;
    }
    app.shutdown().await;
    drop(app);
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let (mixes, reflects) = read_mixes(&app, GlobalPosition::ZERO).await;
    assert_eq!((mixes.len(), reflects), (7, head));
    assert_eq!(mixes.values().map(|(_, events)| events).sum::<i64>(), 300);
    app.shutdown().await;
}

async fn a_dropped_projection_is_built_again_from_the_first_event(place: Place) {
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let mut head = GlobalPosition::ZERO;
    for n in 0..50 {
        head = add(&app, &(n % 3).to_string(), n).await;
    }
    let before = read_mixes(&app, head).await;
    app.shutdown().await;
    drop(app);
    drop_mixes(&place).await;
    drop_mixes(&place).await; // there is nothing left to drop
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    assert_eq!(read_mixes(&app, head).await, before);
    app.shutdown().await;
}

async fn a_query_reads_its_own_write_and_cannot_write(place: Place) {
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    for n in 0..50 {
        let position = add(&app, "1", n).await;
        let (mixes, reflects) = read_mixes(&app, position).await;
        assert_eq!(mixes["1"].1, n + 1);
        assert!(reflects >= position);
    }
    let written = app.query::<Mixes>().run(async |db, _| {
        db.execute("DELETE FROM mixes", &[]).await?;
        Ok(())
    });
    let Err(ReadError::Failed { model: "mixes", .. }) = written.await else { panic!("written") };
    app.shutdown().await;
    drop(app);
    let settings = Settings { read_within: Duration::from_secs(2), ..Settings::default() };
    let builder = builder(&place).await.settings(settings).projection::<Mixes>();
    let app = builder.start().await.unwrap();
    let late = app
        .query::<Mixes>()
        .after(GlobalPosition(99))
        .run(async |_, _| Ok::<_, BoxError>(()))
        .await;
    let Err(ReadError::NotYet { wanted, .. }) = late else { panic!("{late:?}") };
    assert_eq!(wanted, GlobalPosition(99));
    app.shutdown().await;
}

async fn of_two_projections_each_has_tables_of_its_own(place: Place) {
    let app = builder(&place).await.projection::<Mixes>();
    let app = app.projection::<super::faults::GatedRows>().start().await.unwrap();
    let position = add(&app, "1", 1).await;
    assert_eq!(read_mixes(&app, position).await.0["1"], (1, 1));
    // Both call a table `steps`.
    let steps = app
        .query::<super::faults::GatedRows>()
        .after(position)
        .run(async |db, _| Ok(db.rows("SELECT id FROM steps", &[]).await?.len()));
    assert_eq!(steps.await.unwrap(), 1);
    app.shutdown().await;
}

/// More than `time` has dates for, and what a column may hold by default on PostgreSQL.
async fn a_value_that_no_rust_type_holds_is_an_error_of_the_query(place: Place) {
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let values: &[_] = match place {
        Place::Memory(_) | Place::Sqlite(_) => &["9223372036854775807", "-9223372036854775808"],
        Place::Postgres(_) => &[
            "timestamptz 'infinity'",
            "timestamptz '-infinity'",
            "timestamptz '294276-12-31'",
            "timestamp 'infinity'",
            "date 'infinity'",
            "date '-infinity'",
            "date '5874897-12-31'",
        ],
    };
    for value in values {
        let read = app.query::<Mixes>().run(async |db, _| {
            let rows = db.rows(&format!("SELECT {value}"), &[]).await?;
            Ok(rows[0].get::<OffsetDateTime>(0)?)
        });
        let Err(ReadError::Failed { reason, .. }) = read.await else { panic!("{value}") };
        assert!(reason.contains("timestamp") || reason.contains("CAST"), "{value}: {reason}");
    }
    app.shutdown().await;
}

on_both_places!(
    dropped_at_any_moment_the_rows_equal_the_fold,
    a_log_that_was_there_before_is_caught_up_with,
    a_dropped_projection_is_built_again_from_the_first_event,
    a_query_reads_its_own_write_and_cannot_write,
    of_two_projections_each_has_tables_of_its_own,
    a_value_that_no_rust_type_holds_is_an_error_of_the_query,
);

#[tokio::test]
async fn a_store_without_a_database_refuses_projections_by_name() {
    let builder = actum::Application::builder(MemoryStore::new()).aggregate::<Counter>();
    let refused = builder.projection::<Mixes>().start().await.map(drop);
    let Err(StartError::Open { place, reason }) = refused else { panic!("{refused:?}") };
    assert!(place.contains("mixes") && reason.contains("need a database"), "{place}: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_scenario_runs_on_postgres_and_leaves_nothing_behind() {
    let database = database().await;
    let store = PostgresStore::open(&database.url()).await.unwrap();
    let added = |id: &'static str, n: i64| (id, Counted::Added(n));
    for _ in 0..2 {
        let given = [added("1", 1), added("2", 1), added("1", 2), ("3", Counted::Poisoned)];
        ProjectionScenario::<Mixes>::given::<Counter>(given)
            .on(store.clone())
            .then_parked("3", "not for me")
            .then("SELECT id, mix FROM mixes ORDER BY id", [("1", 33), ("2", 1)])
            .then("SELECT taken FROM steps WHERE id = '2'", [(true,)]);
    }
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'actum_%'";
    let left: i64 =
        sqlx::query_scalar(left).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(left, 0);
    let app = Application::builder(store.clone()).aggregate::<Counter>().start().await.unwrap();
    add(&app, "1", 1).await;
    app.shutdown().await;
    let scenario = ProjectionScenario::<Mixes>::given::<Counter>([added("1", 1)]);
    let refused = std::thread::spawn(|| drop(scenario.on(store).then_no_rows("SELECT 1"))).join();
    let message = *refused.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("1 events; use an empty database for tests"), "{message}");
}
