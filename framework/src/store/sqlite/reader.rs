//! A connection that reads, on loan from the pool.
//!
//! The pool takes it back with a task, and a task needs a runtime. A read that is under way when an
//! application stops is dropped with the thread it ran on, outside of any: so the loan brings its own.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use tokio::runtime::Handle;

use super::{SqliteStore, fault};
use crate::error::StoreError;

/// On loan until it is dropped, wherever that is.
pub(super) struct Reader {
    /// `Some` until it is dropped.
    connection: Option<PoolConnection<Sqlite>>,
    /// Runtime to which it was lent. A task of a runtime that is gone is dropped, and the
    /// connection closed.
    runtime: Handle,
}

impl Reader {
    /// Lent to a task of this runtime.
    pub(super) fn new(connection: PoolConnection<Sqlite>) -> Self {
        Self { connection: Some(connection), runtime: Handle::current() }
    }
}

impl Deref for Reader {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        // It is `Some` until it is dropped.
        self.connection.as_ref().expect("a connection")
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        // It is `Some` until it is dropped.
        self.connection.as_mut().expect("a connection")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _context = self.runtime.enter();
        drop(self.connection.take());
    }
}

impl SqliteStore {
    pub(super) async fn reader(&self) -> Result<Reader, StoreError> {
        // A new connection would read the file that is at the path now, with the index of the one that
        // was there.
        let opens_another = self.readers.num_idle() == 0
            && self.readers.size() < self.readers.options().get_max_connections();
        if opens_another {
            self.opening.held.check().map_err(StoreError::Unavailable)?;
        }
        let connection = self.readers.acquire().await;
        connection.map(Reader::new).map_err(|e| self.unavailable(&e))
    }

    pub(super) fn unavailable(&self, error: &sqlx::Error) -> StoreError {
        if fault::is_damaged(error) {
            self.opening.held.stop_writing(fault::explain(self.opening.path(), error));
        }
        fault::unavailable(&self.place, error)
    }

    pub(super) fn corrupt(&self, place: impl Into<String>, reason: impl ToString) -> StoreError {
        StoreError::Corrupt { place: place.into(), reason: reason.to_string() }
    }
}
