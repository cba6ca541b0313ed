//! Every store through the same suite: one line each.

use actum::{MemoryStore, SqliteStore};

use crate::directory::Directory;

actum::conformance!(memory, || async { (MemoryStore::new(), ()) });

actum::conformance!(sqlite, || async {
    let directory = Directory::new();
    (SqliteStore::open(&directory.file("log.db")).await.unwrap(), directory)
});
