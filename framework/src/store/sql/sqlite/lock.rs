//! Holding a database file for this process alone, and the first look at it.
//!
//! The order matters. POSIX drops all of a process's locks on a file when any descriptor of it is
//! closed; so the file itself is opened only under the lock beside it, when no other store of this
//! process can have it open. Otherwise a refused second opening would take the first one's locks,
//! and the next shell to visit the database would remove the live log as it leaves.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::open::refuse;
use crate::error::StartError;

/// A database file that no other process opens as a store, for as long as this lives.
pub(super) struct HeldFile {
    /// Absolute and without links: the same for every name of the file, and wherever the process
    /// goes.
    pub(super) path: PathBuf,
    _lock: File,
}

/// Takes the file, or refuses what can be told from outside: a folder, no database, not writable,
/// in use. `given` is how the user named it, for messages.
pub(super) async fn hold(given: &Path, wait: Duration) -> Result<HeldFile, StartError> {
    let path = resolve(given)?;
    let mut beside = path.clone().into_os_string();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let is_new = !beside.exists();
    let lock = lock(given, &beside, wait).await?;
    if let Err(refused) = look_at(given, &path) {
        if is_new {
            // Best effort: an empty file beside a file that is not ours does no harm.
            let _ = std::fs::remove_file(&beside);
        }
        return Err(refused);
    }
    Ok(HeldFile { path, _lock: lock })
}

/// The one path that all names of the file lead to.
fn resolve(given: &Path) -> Result<PathBuf, StartError> {
    if let Some((scheme, _)) = given.to_string_lossy().split_once("://") {
        // What follows may hold a password: it is not repeated.
        let reason = format!("this store opens SQLite files, such as sqlite:bank.db, not {scheme}");
        return Err(StartError::Open { place: format!("{scheme}://…"), reason });
    }
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
    match resolved.exists() && !resolved.is_file() {
        true => Err(refuse(given, "this is no file that could hold a database")),
        false => Ok(resolved),
    }
}

/// Locks a file beside the database. SQLite's own locks are taken for each transaction only; they
/// would let two processes take turns.
async fn lock(given: &Path, beside: &Path, wait: Duration) -> Result<File, StartError> {
    let file = File::options().create(true).truncate(false).write(true).open(beside);
    let file = file.map_err(|e| {
        refuse(
            given,
            format!("not writable: the lock file {} cannot be opened: {e}", beside.display()),
        )
    })?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < wait => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(refuse(
                    given,
                    "the database is open in another process: one file has one writing process; stop the other one first",
                ));
            }
            Err(TryLockError::Error(e)) => {
                return Err(refuse(given, format!("{} cannot be locked: {e}", beside.display())));
            }
        }
    }
}

/// Opens and closes the database's file: only under the lock.
fn look_at(given: &Path, path: &Path) -> Result<(), StartError> {
    if !path.exists() {
        return Ok(());
    }
    let writable = File::options().read(true).write(true).open(path);
    let mut file = writable.map_err(|e| refuse(given, format!("the file is not writable: {e}")))?;
    let mut header = Vec::new();
    let reading = file.by_ref().take(16).read_to_end(&mut header);
    reading.map_err(|e| refuse(given, format!("the file cannot be read: {e}")))?;
    match header.is_empty() || header == *b"SQLite format 3\0" {
        true => Ok(()),
        false => Err(refuse(given, "this file is no SQLite database; it was left as it is")),
    }
}
