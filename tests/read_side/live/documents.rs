//! Watching documents: one, and all of a read model.

use actum::store::{EventStore, MemoryStore, PostgresStore, SqliteStore};
use actum::testing::FaultyStore;
use actum::{Application, GlobalPosition, ReadError, StoreError};

use super::{Sum, application, in_time};
use crate::support::counter::{Ask, Counter};
use crate::support::directory::Directory;
use crate::support::events::foreign;
use crate::support::postgres::database;

/// Number of changes of the document while it is watched.
const CHANGES: u64 = 500;

/// Watches a document that `writing` changes, slowly: it never goes back, and the last state
/// arrives.
async fn watches(watching: Application, pause: u32) -> u64 {
    let mut document = watching.watch::<Sum>("1").unwrap();
    let (mut last, mut position, mut states) = (0, GlobalPosition::ZERO, 0);
    while last < CHANGES {
        let now = in_time(document.next()).await.unwrap().expect("the stream ended");
        assert!(now.position > position, "{} came after {position}", now.position);
        assert!(now.events >= last, "state {} came after {last}", now.events);
        assert_eq!(now.sum, now.events as i64);
        (last, position, states) = (now.events, now.position, states + 1);
        for _ in 0..pause {
            tokio::task::yield_now().await;
        }
    }
    states
}

/// Both are watched while each writes.
async fn all_see_the_last_state(applications: [Application; 2]) {
    let watchers: Vec<_> = applications
        .iter()
        .flat_map(|app| [0, 5, 1_000].map(|pause| tokio::spawn(watches(app.clone(), pause))))
        .collect();
    for n in 0..CHANGES {
        let writer = &applications[n as usize % 2];
        writer.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
        writer.execute::<Counter>("2", Ask::Add(1)).await.unwrap();
    }
    for watcher in watchers {
        let states = in_time(watcher).await.unwrap();
        assert!((1..=CHANGES).contains(&states));
    }
    for app in applications {
        in_time(app.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_the_last_state_and_never_goes_back_on_sqlite() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("log.db")).await.unwrap();
    let app = application(store).await;
    all_see_the_last_state([app.clone(), app]).await;
}

/// One of the two applications owns the read model, and the other stands by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_and_standby_show_the_last_state_and_never_go_back_in_memory() {
    let store = FaultyStore::new(MemoryStore::new());
    all_see_the_last_state([application(store.clone()).await, application(store).await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn owner_and_standby_show_the_last_state_and_never_go_back_on_postgres() {
    let database = database().await;
    let open = || async { application(PostgresStore::open(&database.url()).await.unwrap()).await };
    all_see_the_last_state([open().await, open().await]).await;
}

#[tokio::test]
async fn a_document_that_does_not_exist_yet_is_waited_for() {
    let app = application(MemoryStore::new()).await;
    let mut document = app.watch::<Sum>("1").unwrap();
    let write = async {
        app.execute::<Counter>("2", Ask::Add(7)).await.unwrap();
        app.execute::<Counter>("1", Ask::Add(5)).await.unwrap().position
    };
    let (came, written) = in_time(async { tokio::join!(document.next(), write) }).await;
    let came = came.unwrap().unwrap();
    assert_eq!((came.sum, came.position), (5, written));
}

#[tokio::test]
async fn a_document_that_cannot_be_read_ends_with_the_reason() {
    let store = MemoryStore::new();
    let app = application(store.clone()).await;
    app.execute::<Counter>("1", Ask::Add(5)).await.unwrap();
    let mut document = app.watch::<Sum>("1").unwrap();
    assert_eq!(in_time(document.next()).await.unwrap().unwrap().sum, 5);
    store.append(vec![foreign("1", "Poisoned", ["null"])]).await;
    let error = in_time(document.next()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, ReadError::Parked { .. }), "{error:?}");
}

#[tokio::test]
async fn every_change_of_a_read_model_comes_in_the_order_of_the_log() {
    let app = application(MemoryStore::new()).await;
    app.execute::<Counter>("0", Ask::Add(1)).await.unwrap();
    app.read::<Sum>("0").after(GlobalPosition(1)).await.unwrap();
    let mut changes = app.watch_all::<Sum>().unwrap();
    let from = changes.position().0;
    assert!(from <= 1, "changes after {from} come; 1 was the last");
    for n in 1..=100 {
        app.execute::<Counter>(&(n % 7).to_string(), Ask::Add(1)).await.unwrap();
    }
    for position in from + 1..=101 {
        let change = in_time(changes.next()).await.unwrap().unwrap();
        let key = ((position - 1) % 7).to_string();
        assert_eq!((change.position.0, change.key), (position, key));
        app.read::<Sum>(&((position - 1) % 7).to_string()).after(change.position).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_learns_from_which_position_changes_are_lost() {
    const MANY: u64 = 20_000;
    let store = MemoryStore::new();
    let app = application(store.clone()).await;
    let mut changes = app.watch_all::<Sum>().unwrap();
    let mut quick = app.watch_all::<Sum>().unwrap();
    store.append(vec![foreign("1", "Added", ["1"])]).await;
    assert_eq!(in_time(changes.next()).await.unwrap().unwrap().position, GlobalPosition(1));
    let writing = async {
        for n in 0..MANY / 1_000 {
            let thousand = (0..1_000).map(|_| "1".to_owned());
            store.append(vec![foreign("1", "Added", thousand)]).await;
            while quick.position().0 < 1 + (n + 1) * 1_000 {
                quick.next().await.unwrap();
            }
        }
    };
    in_time(writing).await;
    let error = in_time(changes.next()).await.unwrap_err();
    let ReadError::Lost { model, after } = error else { panic!("{error:?}") };
    assert_eq!((model, after), ("sum", GlobalPosition(1)));
    // The list continues with the documents that are still there, without a gap.
    let first = in_time(changes.next()).await.unwrap().unwrap().position.0;
    assert!(first > 2 && MANY + 1 - first < 10_000, "{first}");
    for position in first + 1..=MANY + 1 {
        assert_eq!(in_time(changes.next()).await.unwrap().unwrap().position.0, position);
    }
}

#[tokio::test]
async fn an_event_whose_document_cannot_be_told_is_an_error_to_whoever_watches_all() {
    let store = MemoryStore::new();
    let app = application(store.clone()).await;
    let mut changes = app.watch_all::<Sum>().unwrap();
    let mut document = app.watch::<Sum>("1").unwrap();
    store.append(vec![foreign("2", "Renamed", ["1"])]).await;
    let error = in_time(changes.next()).await.unwrap_err();
    let ReadError::Unavailable(StoreError::Corrupt { place, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(place.contains("Renamed") && place.contains("position 1"), "{place}");
    let error = in_time(document.next()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, ReadError::Halted { .. }), "{error:?}");
}
