//! A wait of a projection is not cancelled by its neighbours: not by the assignment, not by queries
//! that ask for a position, not by queries that take long.

use std::time::Duration;

use actum::testing::FaultyStore;
use actum::{
    Append, Application, ApplicationBuilder, ExpectedVersion, GlobalPosition, NewEvent, ReadError,
    Settings, Store, StreamId,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Mixes, add, builder, mixed, read_mixes};
use crate::support::counter::Counter;
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
        // Each waits a moment only and leaves, and the next one asks again.
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
    let poison = Append {
        stream: StreamId::new("counter", "never-fixed").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![NewEvent {
            event_id: Uuid::now_v7(),
            event_type: "Poisoned".into(),
            schema_version: 1,
            payload: "null".into(),
            metadata: "{}".into(),
        }],
        command: None,
        claims: vec![],
        chained: false,
    };
    app.store().append(vec![poison]).await;
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

on_both_places!(
    a_page_that_takes_longer_than_its_neighbours_is_taken_in_all_the_same,
    slow_queries_hold_up_neither_the_owner_nor_the_status,
);
