//! Command keys that are forgotten by themselves, as the settings say; what a retry means then.

use std::time::Duration;

use actum::{Application, CommandKey, CommandOptions, Settings, SqliteStore, Store};

use crate::counter::{Ask, Counter};
use crate::directory::Directory;

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
    let kept = start(store.clone(), Some(Duration::from_secs(3600))).await;
    assert!(add(&kept, "a").await.replayed);
    let forgetful = start(store, Some(Duration::from_millis(1))).await;
    while add(&forgetful, "a").await.replayed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let history = forgetful.history::<Counter>("1", actum::StreamVersion(0), 10).await.unwrap();
    assert_eq!(history.len(), 2, "the event of a forgotten key stays");
}
