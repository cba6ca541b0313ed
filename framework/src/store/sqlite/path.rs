//! From the text a user gives to the path of a database file, and the names of its side files.

use std::path::{Path, PathBuf};

use super::open::refuse;
use crate::error::StartError;

/// Suffix of the write-ahead log.
pub(super) const WAL: &str = "-wal";

/// Suffix of the index of the write-ahead log, which all processes share.
pub(super) const WAL_INDEX: &str = "-shm";

/// Suffix of the rollback journal, which a database in WAL mode does not have.
pub(super) const JOURNAL: &str = "-journal";

/// Suffixes of the files that SQLite keeps beside a database, in the order in which they may be
/// removed before it: a database without its write-ahead log is opened, a log without its database
/// is refused.
pub(super) const SIDE_FILES: [&str; 3] = [WAL, WAL_INDEX, JOURNAL];

/// Suffix of the file that a restore prepares and then gives the database's name.
pub(super) const RESTORING: &str = ".restoring";

/// The path of a file beside the database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// The one path that all symbolic links to the file lead to.
pub(super) fn resolve(given: &Path) -> Result<PathBuf, StartError> {
    refuse_url(given)?;
    let (Some(name), false) = (given.file_name(), given.is_dir()) else {
        return Err(refuse(given, "this is a folder; name a file, such as bank.db"));
    };
    let resolved = match std::fs::symlink_metadata(given) {
        Ok(_) => given.canonicalize(),
        Err(_) => {
            let parent = match given.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            if !parent.is_dir() {
                let reason = format!("the folder {} does not exist", parent.display());
                return Err(refuse(given, reason));
            }
            parent.canonicalize().map(|parent| parent.join(name))
        }
    };
    let resolved = resolved.map_err(|e| refuse(given, format!("the path leads nowhere: {e}")))?;
    if resolved.exists() && !resolved.is_file() {
        return Err(refuse(given, "this is no file that could hold a database"));
    }
    Ok(resolved)
}

/// Refuses texts that mean something other than a file: they would become files of that name.
fn refuse_url(given: &Path) -> Result<(), StartError> {
    let text = given.to_string_lossy();
    if let Some((scheme, _)) = text.split_once("://") {
        // The rest may hold a password, so the message does not repeat it.
        let reason = format!("this store opens SQLite files, such as sqlite:bank.db, not {scheme}");
        return Err(StartError::Open { place: format!("{scheme}://…"), reason });
    }
    if text.starts_with(':') || text.is_empty() {
        let reason = "a log in memory only would lose what it acknowledged: name a file, or use \
                      MemoryStore";
        return Err(refuse(given, reason));
    }
    if text.starts_with("file:") {
        let reason = "this store takes a path and no URI: write sqlite:bank.db";
        return Err(refuse(given, reason));
    }
    if let Some((_, parameters)) = text.split_once('?') {
        let reason = format!(
            "this store takes no parameters, and ?{parameters} would become part of the file's \
             name: set options with SqliteOptions"
        );
        return Err(refuse(given, reason));
    }
    Ok(())
}
