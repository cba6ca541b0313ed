//! An aggregate's state and history for reading, and decisions while a store has more than one handle.

use actum::store::{AppendOutcome, EventStore, MemoryStore, SqliteStore, Store};
use actum::{Application, CommandError, GlobalPosition, ReadError, Settings, StreamVersion};

use crate::support::counter::{Ask, BelowZero, Counter};
use crate::support::directory::Directory;
use crate::support::events::foreign;
use crate::support::watched::watched_store;

async fn start(store: impl Store) -> Application {
    Application::builder(store).aggregate::<Counter>().start().await.unwrap()
}

#[tokio::test]
async fn a_loaded_state_comes_with_its_version_and_position() {
    let app = start(MemoryStore::new()).await;
    app.execute::<Counter>("2", Ask::Add(1)).await.unwrap();
    let nothing = app.load::<Counter>("1").await.unwrap();
    assert_eq!((nothing.sum, nothing.version, nothing.position), Default::default());
    for round in 1..=3 {
        let committed = app.execute::<Counter>("1", Ask::AddTwice(5)).await.unwrap();
        let loaded = app.load::<Counter>("1").await.unwrap();
        assert_eq!(loaded.state.sum, round * 10);
        assert_eq!((loaded.version, loaded.position), (committed.version, committed.position));
    }
    let invalid = app.load::<Counter>("1/2").await;
    assert!(matches!(invalid, Err(ReadError::InvalidId(_))), "{invalid:?}");
    let app = Application::builder(MemoryStore::new()).start().await.unwrap();
    let unknown = app.load::<Counter>("1").await;
    assert!(matches!(unknown, Err(ReadError::NotRegistered("counter"))), "{unknown:?}");
}

/// For a command and for a reader: a long stream is never in memory whole.
#[tokio::test]
async fn a_stream_is_loaded_in_pages_that_are_bounded_by_bytes() {
    let store = watched_store();
    let metadata = format!("{{\"note\":\"{}\"}}", "x".repeat(10_000));
    let large = || {
        let mut append = foreign("1", "Added", [1]);
        append.events[0].metadata = metadata.as_str().into();
        append
    };
    store.memory.append((0..60).map(|_| large()).collect()).await;
    let settings = Settings { page_bytes: 55_000, ..Settings::default() };
    let app = Application::builder(store.clone()).aggregate::<Counter>().settings(settings);
    let app = app.start().await.unwrap();
    assert_eq!(app.execute::<Counter>("1", Ask::Add(1)).await.unwrap().version.0, 61);
    assert_eq!((store.events_read(), store.largest_read()), (60, 5));
    assert_eq!(app.load::<Counter>("1").await.unwrap().state.sum, 61);
    let largest = store.largest_read();
    assert!(largest <= 6, "{largest} events at once");
    app.shutdown().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_folded_is_an_error_of_its_load() {
    let store = MemoryStore::new();
    let mut poisoned = foreign("1", "Added", [1]);
    poisoned.events[0].event_type = "Poisoned".into();
    poisoned.events[0].payload = "null".into();
    store.append(vec![poisoned]).await;
    let loaded = start(store).await.load::<Counter>("1").await;
    let Err(ReadError::Unavailable(error)) = loaded else { panic!("{loaded:?}") };
    assert!(error.to_string().contains("position 1"), "{error}");
}

#[tokio::test]
async fn a_history_ends_at_the_version_it_is_read_up_to() {
    let app = start(MemoryStore::new()).await;
    for _ in 0..5 {
        app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    }
    let read = async |after, up_to, limit| {
        let (after, up_to) = (StreamVersion(after), StreamVersion(up_to));
        let events = app.history_up_to::<Counter>("1", after, up_to, limit).await.unwrap();
        events.iter().map(|event| event.version.0).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 3, 10).await, [1, 2, 3]);
    assert_eq!(read(1, 4, 2).await, [2, 3]);
    assert_eq!(read(0, u64::MAX, 100).await, [1, 2, 3, 4, 5]);
    assert!(read(3, 3, 10).await.is_empty() && read(4, 2, 10).await.is_empty());
    let invalid = app.history_up_to::<Counter>("", StreamVersion(5), StreamVersion(1), 1).await;
    assert!(matches!(invalid, Err(ReadError::InvalidId(_))), "{invalid:?}");
}

/// Withdraws on the state of 1, while another holder of the store has added 100.
async fn no_refusal_is_outdated(app: &Application, add: impl AsyncFnOnce()) {
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    let refused = app.execute::<Counter>("1", Ask::Add(-50)).await;
    assert!(matches!(refused, Err(CommandError::Refused(BelowZero(-49)))), "{refused:?}");
    add().await;
    let committed = app.execute::<Counter>("1", Ask::Add(-50)).await.unwrap();
    assert_eq!(committed.version, StreamVersion(3));
    // A command without events returns the current end of the log.
    let nothing = app.execute::<Counter>("1", Ask::Nothing).await.unwrap();
    assert_eq!((nothing.version, nothing.position), (StreamVersion(3), GlobalPosition(3)));
}

async fn no_refusal_is_outdated_by_a_clone<S: Store + Clone>(store: S) {
    let (app, other) = (start(store.clone()).await, start(store).await);
    let add = async || {
        other.execute::<Counter>("1", Ask::Add(100)).await.unwrap();
    };
    no_refusal_is_outdated(&app, add).await;
    // The other application does not see it either: its state is as old as its last command.
    app.execute::<Counter>("1", Ask::Add(-51)).await.unwrap();
    let refused = other.execute::<Counter>("1", Ask::Add(-1)).await;
    assert!(matches!(refused, Err(CommandError::Refused(BelowZero(-1)))), "{refused:?}");
    app.execute::<Counter>("1", Ask::Add(9)).await.unwrap();
    other.execute::<Counter>("1", Ask::Add(-9)).await.unwrap();
    other.shutdown().await;
    app.shutdown().await;
}

#[tokio::test]
async fn two_applications_on_one_handle_never_refuse_on_an_outdated_state() {
    no_refusal_is_outdated_by_a_clone(MemoryStore::new()).await;
    let directory = Directory::new();
    let sqlite = SqliteStore::open(&directory.file("log.db")).await.unwrap();
    no_refusal_is_outdated_by_a_clone(sqlite).await;
}

#[tokio::test]
async fn a_clone_that_is_gone_has_still_appended() {
    let store = MemoryStore::new();
    let gone = store.clone();
    let app = start(store).await;
    no_refusal_is_outdated(&app, async move || {
        let outcome = gone.append(vec![foreign("1", "Added", [100])]).await;
        assert!(matches!(outcome[..], [AppendOutcome::Committed(_)]), "{outcome:?}");
        drop(gone);
    })
    .await;
}

#[tokio::test]
async fn the_store_that_an_application_hands_out_appends_too() {
    let app = start(MemoryStore::new()).await;
    let add = async || {
        let outcome = app.store().append(vec![foreign("1", "Added", [100])]).await;
        assert!(matches!(outcome[..], [AppendOutcome::Committed(_)]), "{outcome:?}");
    };
    no_refusal_is_outdated(&app, add).await;
}
