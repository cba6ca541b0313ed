//! Settling a commit whose outcome SQLite left open: what stands is made durable, and what was
//! answered as not stored is kept from coming back.

use std::path::Path;

use sqlx::sqlite::SqliteConnection;

use super::lock::HeldFile;
use super::{origin, wal};

/// Makes durable what an attempt before this one left (events, a command's outcome, a checkpoint):
/// it may be only in the page cache, with nobody left to write it. So the log is written once more,
/// under the write lock. A checkpoint would do as well, but waits for each foreign reader.
pub(super) async fn make_durable(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let written = wal::write_again(path);
    sqlx::query("ROLLBACK").execute(connection).await?;
    written.map_err(sqlx::Error::Io)
}

/// Makes sure that nothing of a failed COMMIT comes back. When the disk was full, frames of it may
/// be in the log, whole enough for the next recovery. Another commit, of one page, overwrites the
/// first of them and so breaks the chain of checksums for the rest.
pub(super) async fn make_absent(
    connection: &mut SqliteConnection,
    held: &HeldFile,
) -> Result<(), sqlx::Error> {
    // SQLite has rolled back by itself, or this does.
    let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    origin::mark(connection, held).await
}
