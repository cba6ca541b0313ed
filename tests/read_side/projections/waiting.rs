//! Projecting a slow page is not cancelled by the assignment, by queries that wait for a position,
//! or by queries that take long.

use std::time::Duration;

use actum::store::Store;
use actum::testing::FaultyStore;
use actum::{Application, ApplicationBuilder, BoxError, GlobalPosition, ReadError, Settings};
use tokio::sync::Semaphore;

use super::{Mixes, add, builder, mixed, read_mixes};
use crate::support::counter::Counter;
use crate::support::events::foreign;
use crate::support::place::{Place, on_both_places, open_postgres, open_sqlite};
use crate::support::waiting::{poll, until};

/// Longer than the second from one decision of the assignment to the next.
const PAGE: Duration = Duration::from_millis(1_500);

async fn a_page_that_takes_longer_than_its_neighbours_is_taken_in_all_the_same(place: Place) {
    let app = builder(&place).await.start().await.unwrap();
    for n in 0..10 {
        add(&app, "slow", n).await;
    }
    app.shutdown().await;
    drop(app);
    let app = slow(&place).await;
    let (row, reflects) = poll(Duration::from_secs(60), async || {
        // Each query waits for a moment and leaves, and the next one is sent.
        let read = app.query::<Mixes>().after(GlobalPosition(10)).run(async |db, reflects| {
            let rows = db.rows("SELECT mix, events FROM mixes", &[]).await?;
            let row = rows.first().map(|row| Ok((row.get(0)?, row.get(1)?)));
            Ok((row.transpose().map_err(|error: actum::SqlError| error)?, reflects))
        });
        match read.await {
            Err(early @ (ReadError::NotYet { .. } | ReadError::Unavailable(_))) => Err(early),
            found => Ok(found.unwrap_or_else(|error| panic!("{error}"))),
        }
    })
    .await;
    assert_eq!((row, reflects.0), (Some(((0..10).fold(0, mixed), 10)), 10));
    app.shutdown().await;
}

/// The projection on a store whose pages of the log take their time.
async fn slow(place: &Place) -> Application {
    let settings = Settings { read_within: Duration::from_millis(100), ..Settings::default() };
    let builder = match place {
        Place::Memory(store) => delayed(store.clone()),
        Place::Sqlite(directory) => delayed(open_sqlite(directory).await),
        Place::Postgres(database) => delayed(open_postgres(database).await),
    };
    let builder = builder.aggregate::<Counter>().projection::<Mixes>();
    builder.settings(settings).start().await.unwrap()
}

fn delayed(store: impl Store) -> ApplicationBuilder {
    let store = FaultyStore::new(store);
    store.delay_pages(PAGE);
    Application::builder(store)
}

async fn slow_queries_hold_up_neither_the_owner_nor_the_status(place: Place) {
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    app.store().append(vec![foreign("never-fixed", "Poisoned", ["null"])]).await;
    let head = add(&app, "other", 1).await;
    read_mixes(&app, head).await;
    let (gate, begun) = (Semaphore::new(0), Semaphore::new(0));
    let slow = || async {
        let query = app.query::<Mixes>().run(async |db, _| {
            db.rows("SELECT id FROM mixes", &[]).await?;
            begun.add_permits(1);
            drop(gate.acquire().await?);
            Ok(())
        });
        query.await.unwrap();
    };
    let others = async {
        // As many as may run at once, and others wait for their places.
        drop(begun.acquire_many(4).await.unwrap());
        for n in 2..6 {
            let head = add(&app, "other", n).await;
            until(async || {
                let status = app.operations().status().await;
                assert_eq!(status.log.trouble, None);
                let [mixes] = &status.subscriptions[..] else { panic!("{status:?}") };
                assert_eq!(mixes.parked_keys, Some(1));
                mixes.partitions.iter().all(|partition| partition.position >= Some(head))
            })
            .await;
        }
        gate.add_permits(100);
    };
    tokio::join!(slow(), slow(), slow(), slow(), slow(), slow(), others);
    app.shutdown().await;
}

async fn a_query_of_a_paused_projection_says_why_it_does_not_get_there(place: Place) {
    let app = builder(&place).await.projection::<Mixes>().start().await.unwrap();
    let first = add(&app, "1", 1).await;
    read_mixes(&app, first).await;
    app.operations().pause("mixes", "an index is built").await.unwrap();
    until(async || {
        let status = app.operations().status().await;
        status.subscriptions[0].partitions.iter().all(|it| it.owner.is_none())
    })
    .await;
    let second = add(&app, "1", 1).await;
    let query = app.query::<Mixes>().after(second).within(PAGE / 10);
    let late = query.run(async |_, _| Ok::<_, BoxError>(())).await.unwrap_err();
    assert!(late.to_string().contains("an index is built"), "{late}");
    assert_eq!(read_mixes(&app, first).await.1, first);
    app.operations().resume("mixes").await.unwrap();
    assert_eq!(read_mixes(&app, second).await.0["1"].1, 2);
    app.shutdown().await;
}

on_both_places!(
    a_query_of_a_paused_projection_says_why_it_does_not_get_there,
    a_page_that_takes_longer_than_its_neighbours_is_taken_in_all_the_same,
    slow_queries_hold_up_neither_the_owner_nor_the_status,
);
