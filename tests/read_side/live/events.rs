//! Following one aggregate.

use std::time::Duration;

use actum::store::{EventStore, MemoryStore, PostgresStore, SqliteStore, Store};
use actum::testing::{Fault, FaultyStore};
use actum::{Application, ReadError, Settings, StoreError, StreamVersion};

use super::{application, in_time, next, start};
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::directory::Directory;
use crate::support::events::foreign;
use crate::support::postgres::database;
use crate::support::watched::watched_store;

/// Number of commands that are followed, of two events each.
const COMMANDS: u64 = 400;

fn follow(app: &Application, id: &str, after: u64) -> actum::LiveEvents<Counter> {
    app.follow::<Counter>(id, StreamVersion(after)).unwrap()
}

/// Followers that begin before, beside and after a writer; another aggregate is written as well.
async fn all_follow_a_writer(writing: &Application, reading: &Application) {
    let mut followers = vec![follow(reading, "1", 0)];
    let writer = tokio::spawn({
        let app = writing.clone();
        async move {
            for n in 0..COMMANDS {
                app.execute::<Counter>("1", Ask::AddTwice(n as i64)).await.unwrap();
                app.execute::<Counter>("2", Ask::Add(1)).await.unwrap();
            }
        }
    });
    for begun in 1..8 {
        let (version, _) = next(&mut followers[0]).await;
        assert_eq!(version, begun);
        followers.push(follow(reading, "1", begun));
    }
    in_time(writer).await.unwrap();
    followers.push(follow(reading, "1", 7));
    for (begun, mut follower) in followers.into_iter().enumerate() {
        let first = if begun == 0 { 8 } else { begun.min(7) as u64 + 1 };
        for version in first..=2 * COMMANDS {
            let added = Counted::Added((version as i64 - 1) / 2);
            assert_eq!(next(&mut follower).await, (version, added));
        }
    }
}

async fn one_application(store: impl Store) {
    let app = application(store).await;
    all_follow_a_writer(&app, &app).await;
    in_time(app.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_every_event_once_and_in_order_in_memory() {
    one_application(MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_every_event_once_and_in_order_on_sqlite() {
    let directory = Directory::new();
    one_application(SqliteStore::open(&directory.file("log.db")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_follower_gets_every_event_that_another_process_writes_on_postgres() {
    let database = database().await;
    let open = || async { PostgresStore::open(&database.url()).await.unwrap() };
    let (writing, reading) = (application(open().await).await, application(open().await).await);
    all_follow_a_writer(&writing, &reading).await;
    in_time(async { tokio::join!(writing.shutdown(), reading.shutdown()) }).await;
}

/// Each round races one append against a follower that has just read to the end, one that begins
/// there, and the subscription's own beginning and end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_is_lost_between_reading_the_end_and_waiting() {
    let app = application(MemoryStore::new()).await;
    let mut long = follow(&app, "1", 0);
    for round in 0..3_000 {
        let writing = tokio::spawn({
            let app = app.clone();
            async move { app.execute::<Counter>("1", Ask::Add(1)).await.unwrap() }
        });
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        let id = ["1", "2"][round % 2];
        let mut fresh = follow(&app, id, if id == "1" { round as u64 } else { 0 });
        if id == "2" {
            let writing = app.execute::<Counter>("2", Ask::Add(1));
            let (came, _) = tokio::join!(next(&mut fresh), writing);
            assert_eq!(came.0, 1);
        } else {
            assert_eq!(next(&mut fresh).await.0, round as u64 + 1);
        }
        // Every few rounds there is no follower for a moment.
        if round % 5 == 0 {
            drop((long, fresh));
            long = follow(&app, "1", round as u64);
        }
        assert_eq!(next(&mut long).await.0, round as u64 + 1);
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn followers_are_notified_when_the_application_stops() {
    let app = application(MemoryStore::new()).await;
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    let (mut waits, mut lags) = (follow(&app, "1", 1), follow(&app, "1", 0));
    let mut document = app.watch::<super::Sum>("2").unwrap();
    let mut changes = app.watch_all::<super::Sum>().unwrap();
    while changes.position().0 < 1 {
        in_time(changes.next()).await.unwrap();
    }
    let stop = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        app.shutdown().await;
    };
    let ended =
        in_time(async { tokio::join!(waits.next(), document.next(), changes.next(), stop) });
    let (waits, document, changes, ()) = ended.await;
    assert!(waits.unwrap().is_none() && document.unwrap().is_none() && changes.unwrap().is_none());
    assert!(lags.next().await.unwrap().is_none());
    let refused = app.follow::<Counter>("1", StreamVersion(0)).map(|_| ());
    assert!(matches!(refused, Err(ReadError::Stopping)), "{refused:?}");
}

#[tokio::test]
async fn an_application_that_is_dropped_ends_its_streams() {
    let app = application(MemoryStore::new()).await;
    let mut events = follow(&app, "1", 0);
    let held = tokio::spawn(async move { events.next().await });
    tokio::task::yield_now().await;
    drop(app);
    assert!(in_time(held).await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn one_live_stream_too_many_is_refused_until_another_is_gone() {
    let app = start(MemoryStore::new(), Settings { live_streams: 3, ..Settings::default() }).await;
    let events = follow(&app, "1", 0);
    let document = app.watch::<super::Sum>("1").unwrap();
    let _changes = app.watch_all::<super::Sum>().unwrap();
    let refusals = || {
        [
            app.follow::<Counter>("1", StreamVersion(0)).err(),
            app.watch::<super::Sum>("1").err(),
            app.watch_all::<super::Sum>().err(),
        ]
    };
    for refused in refusals() {
        assert!(matches!(refused, Some(ReadError::NoLiveStream)), "{refused:?}");
    }
    drop(events);
    assert!(refusals().iter().all(Option::is_none));
    drop(document);
}

/// Events that the client has not asked for stay in the log and use no memory.
#[tokio::test]
async fn a_follower_that_is_slow_holds_a_few_events_and_stops_nobody() {
    let store = watched_store();
    let app = application(store.clone()).await;
    let (mut slow, mut quick) = (follow(&app, "1", 0), follow(&app, "1", 0));
    let many = || foreign("1", "Added", (0..10_000).map(|n| n.to_string()));
    store.memory.append(vec![many()]).await;
    assert_eq!(next(&mut slow).await.0, 1);
    let read = store.events_read();
    assert!(read < 100, "{read} events are held for a follower that took one");
    for version in 1..=10_000 {
        assert_eq!(next(&mut quick).await.0, version);
    }
    assert_eq!(store.events_read(), 10_000);
    for version in 2..=10_000 {
        assert_eq!(next(&mut slow).await.0, version);
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_asked_again_until_it_does() {
    let store = FaultyStore::new(MemoryStore::new());
    let app = application(store.clone()).await;
    let mut events = follow(&app, "1", 0);
    for version in 1..=5 {
        store.append(vec![foreign("1", "Added", ["1"])]).await;
        for fault in [Fault::ReadError, Fault::ReadError, Fault::ShortRead] {
            store.fail_next(fault);
        }
        assert_eq!(next(&mut events).await.0, version);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_is_an_error_again_and_again() {
    let store = MemoryStore::new();
    let app = application(store.clone()).await;
    let mut events = follow(&app, "1", 0);
    store.append(vec![foreign("1", "Added", ["1"])]).await;
    store.append(vec![foreign("1", "Renamed", ["1"])]).await;
    store.append(vec![foreign("1", "Added", ["2"])]).await;
    assert_eq!(next(&mut events).await, (1, Counted::Added(1)));
    for _ in 0..3 {
        let error = in_time(events.next()).await.map(|_| ()).unwrap_err();
        let ReadError::Unavailable(StoreError::Corrupt { place, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(place, "counter-1 version 2");
    }
}
