//! Command keys that are forgotten by themselves, as the settings say; what a retry means then.

use std::time::Duration;

use actum::testing::ManualClock;
use actum::{
    Application, Clock, CommandKey, CommandOptions, Settings, SqliteStore, Store, SystemClock,
};

use crate::counter::{Ask, Counter};
use crate::directory::Directory;

const HOUR: Duration = Duration::from_secs(3600);

fn keyed(key: &str) -> CommandOptions {
    CommandOptions::keyed(CommandKey::new(key, b"").unwrap())
}

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
