//! Keys of documents that no database could keep: they halt their read model by name, on every
//! store alike, and asking for one finds nothing.

use actum::{
    Application, EventEnvelope, Fold, MAX_KEY_BYTES, MemoryStore, PostgresStore, ReadError,
    ReadModel, Sources, SqliteStore, Store,
};
use serde::{Deserialize, Serialize};

use crate::counter::{Ask, Counted, Counter};
use crate::directory::Directory;

/// The last number added, by a key as long as the number; a negative one has a NUL in it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Last(i64);

impl ReadModel for Last {
    const NAME: &'static str = "last";

    fn sources() -> Sources<Self> {
        Sources::by::<Counter>(|event| {
            let Counted::Added(n) = event.event else { return None };
            Some(if n < 0 { "a\0b".to_owned() } else { "k".repeat(n as usize) })
        })
    }
}

impl Fold<Counter> for Last {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        let Counted::Added(n) = event.event else { return };
        self.0 = n;
    }
}

async fn keys_that_cannot_be_kept_halt_by_name(store: impl Store, bad: i64) {
    let builder = Application::builder(store).aggregate::<Counter>().read_model::<Last>();
    let app = builder.start().await.unwrap();
    let longest = MAX_KEY_BYTES as i64;
    let kept = app.execute::<Counter>("1", Ask::Add(longest)).await.unwrap();
    let key = "k".repeat(MAX_KEY_BYTES);
    assert_eq!(app.read_after::<Last>(&key, kept.position).await.unwrap().0, longest);
    for absent in ["a\0b".to_owned(), format!("{key}k")] {
        let found = app.read_after::<Last>(&absent, kept.position).await;
        assert!(matches!(found, Err(ReadError::NotFound { .. })), "{found:?}");
    }
    let poison = app.execute::<Counter>("1", Ask::Add(bad)).await.unwrap();
    let found = app.read_after::<Last>(&key, poison.position).await;
    let Err(ReadError::Halted { position, reason, .. }) = found else { panic!("{found:?}") };
    assert_eq!(position, poison.position);
    assert!(reason.contains("no document can have the key"), "{reason}");
    app.shutdown().await;
}

const BAD: [i64; 2] = [-1, MAX_KEY_BYTES as i64 + 1];

#[tokio::test]
async fn in_memory_a_bad_key_halts_by_name() {
    for bad in BAD {
        keys_that_cannot_be_kept_halt_by_name(MemoryStore::new(), bad).await;
    }
}

#[tokio::test]
async fn in_sqlite_a_bad_key_halts_by_name() {
    for bad in BAD {
        let directory = Directory::new();
        let store = SqliteStore::open(&directory.file("log.db")).await.unwrap();
        keys_that_cannot_be_kept_halt_by_name(store, bad).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn in_postgres_a_bad_key_halts_by_name() {
    for bad in BAD {
        let database = crate::postgres::server::database().await;
        let store = PostgresStore::open(&database.url()).await.unwrap();
        keys_that_cannot_be_kept_halt_by_name(store, bad).await;
    }
}
