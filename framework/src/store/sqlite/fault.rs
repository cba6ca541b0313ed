//! Errors of SQLite, sorted by their meaning for a write: nothing stored, or outcome unknown.

use std::path::Path;

use crate::error::StoreError;

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NO_MEMORY: i32 = 7;
const READ_ONLY: i32 = 8;
const INTERRUPTED: i32 = 9;
const IO_ERROR: i32 = 10;
const CORRUPT: i32 = 11;
pub(super) const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;
pub(super) const TOO_BIG: i32 = 18;
pub(super) const CONSTRAINT: i32 = 19;
pub(super) const NOT_A_DATABASE: i32 = 26;

/// The primary result code of SQLite, if the error came from there.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|extended| extended & 0xff)
}

/// True if the outcome of the transaction is unknown. `committing`: the error came out of COMMIT.
///
/// An I/O error may leave frames in the page cache that come back after a restart (a failed fsync
/// does); a COMMIT that fails otherwise than BUSY may have written its frames; and an error that
/// is not the database's own (the connection's thread died) says nothing at all, unless it is a
/// row that could not be read, which happens only before.
pub(super) fn is_unknown(error: &sqlx::Error, committing: bool) -> bool {
    use sqlx::Error::{ColumnDecode, Decode, Encode};
    match primary_code(error) {
        None => committing || !matches!(error, ColumnDecode { .. } | Decode(_) | Encode(_)),
        Some(IO_ERROR) => true,
        Some(BUSY) => false,
        Some(_) => committing,
    }
}

/// Checks whether the error says that the file is no longer a database, or not a whole one: then
/// anything written to it could make the damage worse.
pub(super) fn is_damaged(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(CORRUPT | NOT_A_DATABASE))
}

/// True if the database failed and not the statement, so that a retry may succeed.
pub(super) fn is_trouble(error: &sqlx::Error) -> bool {
    const TROUBLE: [i32; 9] =
        [BUSY, LOCKED, NO_MEMORY, READ_ONLY, INTERRUPTED, IO_ERROR, CORRUPT, FULL, CANNOT_OPEN];
    match primary_code(error) {
        Some(code) => TROUBLE.contains(&code),
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
    }
}

/// Message that names the fault, the place and the next step.
pub(super) fn explain(path: &Path, error: &sqlx::Error) -> String {
    let advice = match primary_code(error) {
        Some(BUSY | LOCKED) => "another program holds the database; close it or wait",
        Some(FULL) => "the disk is full; free space and retry",
        Some(IO_ERROR) => "the disk reports an error; check it",
        Some(CORRUPT | NOT_A_DATABASE) => {
            "the file is damaged, so nothing is written to it any more; stop the process and \
             restore a backup"
        }
        Some(CANNOT_OPEN) => {
            "check the permissions of the file and its folder, and the process's limit of open \
             files (ulimit -n)"
        }
        _ => "see the database's message",
    };
    format!("{}: {error}; {advice}", path.display())
}

/// A read that failed.
pub(super) fn unavailable(path: &str, error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(explain(Path::new(path), error))
}
