//! Command keys that expire after the configured time, and the effect of a retry after that.

use std::time::Duration;

use actum::store::{
    Append, Clock, Confirmation, EventStore, SqliteOptions, SqliteStore, Store, SystemClock,
};
use actum::testing::ManualClock;
use actum::{Application, CommandKey, ExpectedVersion, Settings, StreamId, StreamVersion};
use time::OffsetDateTime;

use crate::support::counter::{Ask, Counter};
use crate::support::directory::Directory;
use crate::support::events::keyed;

const HOUR: Duration = Duration::from_secs(3600);

async fn start(store: impl Store, keep_commands: Option<Duration>) -> Application {
    let settings = Settings { keep_commands, ..Settings::default() };
    Application::builder(store).aggregate::<Counter>().settings(settings).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_forgotten_acts_again_and_one_that_is_kept_does_not() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("log.db")).await.unwrap();
    let add = async |app: &Application, key| {
        app.execute_with::<Counter>("1", Ask::Add(1), keyed(key)).await.unwrap()
    };
    let kept_for_ever = start(store.clone(), None).await;
    assert!(!add(&kept_for_ever, "a").await.replayed);
    let kept = start(store.clone(), Some(HOUR)).await;
    assert!(add(&kept, "a").await.replayed);
    let clock = ManualClock::new();
    // Two hours ahead of the store's, by which the key was recorded.
    clock.set(SystemClock.now() + Duration::from_secs(7200));
    let settings = Settings { keep_commands: Some(HOUR), ..Settings::default() };
    let builder = Application::builder(store).aggregate::<Counter>().settings(settings);
    let forgetful = builder.clock(clock).start().await.unwrap();
    while add(&forgetful, "a").await.replayed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let history = forgetful.history::<Counter>("1", actum::StreamVersion(0), 10).await.unwrap();
    assert_eq!(history.len(), 2, "the event of a forgotten key stays");
}

/// Keys that stored no event, named by a word and a number.
async fn keep(store: &SqliteStore, word: &str, count: usize) {
    let append = |number| Append {
        stream: StreamId::new("counter", "1").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![],
        command: Some(CommandKey::new(format!("{word}-{number}"), b"").unwrap()),
        claims: vec![],
        chained: false,
    };
    store.append((0..count).map(append).collect()).await;
}

async fn count(store: &SqliteStore, word: &str, of: usize) -> usize {
    let stream = StreamId::new("counter", "1").unwrap();
    let mut known = 0;
    for number in 0..of {
        let key = CommandKey::new(format!("{word}-{number}"), b"").unwrap();
        let told = store.confirm(&stream, StreamVersion::ZERO, Some(key.clone())).await.unwrap();
        known += usize::from(told != Confirmation::Current);
    }
    known
}

/// Recorded half a day ahead, they are younger than keys that came after them. They are more than
/// one pruning looks at, and are no longer in the future.
#[tokio::test]
async fn keys_of_a_clock_that_was_ahead_keep_no_others() {
    let (directory, clock) = (Directory::new(), ManualClock::new());
    let options = SqliteOptions::new(&directory.file("log.db")).clock(clock.clone());
    let store = options.open().await.unwrap();
    let start = OffsetDateTime::UNIX_EPOCH;
    clock.set(start + 12 * HOUR);
    keep(&store, "ahead", 600).await;
    clock.set(start);
    keep(&store, "old", 700).await;
    clock.set(start + 20 * HOUR);
    keep(&store, "young", 300).await;
    clock.set(start + 25 * HOUR);
    while store.prune_commands(start + HOUR, 500).await.unwrap() {}
    assert_eq!(count(&store, "old", 700).await, 0);
    assert_eq!((count(&store, "ahead", 600).await, count(&store, "young", 300).await), (600, 300));
    // Once they are old themselves, they go as well.
    clock.set(start + 37 * HOUR);
    while store.prune_commands(start + 13 * HOUR, 500).await.unwrap() {}
    assert_eq!((count(&store, "ahead", 600).await, count(&store, "young", 300).await), (0, 300));
}
