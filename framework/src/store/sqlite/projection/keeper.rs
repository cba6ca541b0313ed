//! A connection that is never lent, so that the files beside a projection stay.
//!
//! SQLite removes the write-ahead log and its index when the last connection to a database is
//! closed, and a lent connection is closed whenever its borrower gives up. Files that vanish so
//! look like files that somebody has removed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteConnection;

/// The connection, from the first write to the end.
#[derive(Default)]
pub(super) struct Keeper(Mutex<Option<SqliteConnection>>);

impl Keeper {
    pub(super) fn is_there(&self) -> bool {
        self.connection().is_some()
    }

    /// Keeps a connection that has read, and so has opened the files.
    pub(super) fn keep(&self, connection: SqliteConnection) {
        *self.connection() = Some(connection);
    }

    /// Returns the connection, to be closed.
    pub(super) fn take(&self) -> Option<SqliteConnection> {
        self.connection().take()
    }

    /// Nothing under the lock can panic, so a poisoned one is whole.
    fn connection(&self) -> MutexGuard<'_, Option<SqliteConnection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
