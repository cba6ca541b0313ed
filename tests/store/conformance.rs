//! Every store through the same suite: one line each.

use actum::store::{MemoryStore, PostgresStore, SqliteStore};

use crate::support::directory::Directory;

// What is written before the name stands on each test: without it, these would fail.
actum::conformance!(
    #[should_panic(expected = "no such store")]
    absent,
    no_store
);

async fn no_store() -> (MemoryStore, ()) {
    panic!("no such store")
}

actum::conformance!(memory, || async { (MemoryStore::new(), ()) });

actum::conformance!(sqlite, || async {
    let directory = Directory::new();
    (SqliteStore::open(&directory.file("log.db")).await.unwrap(), directory)
});

actum::conformance!(
    #[ignore = "needs PostgreSQL: run scripts/test"]
    postgres,
    || async {
        let database = crate::support::postgres::database().await;
        (PostgresStore::open(&database.url()).await.unwrap(), database)
    }
);
