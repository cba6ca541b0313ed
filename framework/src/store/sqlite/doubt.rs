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

/// Does the same as [`make_durable`] for a connection that replaces a lost one of this opening.
/// Writes the log once more only if a checkpoint that waits for nobody cannot copy all of it.
pub(super) async fn make_durable_after_loss(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), sqlx::Error> {
    let checkpoint = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)");
    let done: Result<(i64, i64, i64), _> = checkpoint.fetch_one(&mut *connection).await;
    match done {
        Ok((0, frames, copied)) if frames == copied => Ok(()), // all is in the database, synced
        _ => make_durable(connection, path).await,
    }
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
