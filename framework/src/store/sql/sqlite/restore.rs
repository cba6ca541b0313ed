//! Putting a backup in the place of a log.
//!
//! The order makes a crash at any instant harmless: the backup is copied beside the log and raised
//! to a new epoch, then the old side files and projections go, and at last the copy is given the
//! log's name. Until then a start is refused, because the copy is there.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::backup::{Backup, failed, seal, sync_folder};
use super::open::{identify, refuse};
use super::path::{JOURNAL, RESTORING, WAL, WAL_INDEX, beside, resolve};
use super::{SqliteOptions, SqliteStore, lock};
use crate::error::StartError;

/// Time for a store that is just closing the file.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(2);

impl SqliteStore {
    /// Replaces the log at `place`, or creates it, by the log in a backup. Nobody may have the log
    /// open. The epoch becomes greater than that of both, so whoever remembers a place in the old
    /// log recognises that history has changed.
    ///
    /// Read models and snapshots come with the log. Projections are deleted, and are built again at
    /// the next start. The old log is gone after that: copy it before if you may need it.
    ///
    /// # Errors
    /// [`StartError::Open`]: the backup is no whole log, or the place is in use. Nothing is changed
    /// then, unless the message says that the restore has to be repeated.
    pub async fn restore(backup: impl AsRef<Path>, place: &str) -> Result<Backup, StartError> {
        let backup = backup.as_ref();
        let given = SqliteOptions::new(place).path;
        let path = resolve(&given)?;
        let held = lock::hold_to_replace(&given, WAIT_FOR_LOCK).await?;
        let restored = replace(backup, &given, &path).await;
        if restored.is_err() {
            held.undo_creation();
        }
        restored
    }
}

/// Replaces a log that nobody has open.
async fn replace(backup: &Path, given: &Path, path: &Path) -> Result<Backup, StartError> {
    refuse_incomplete(backup)?;
    // A log that cannot be read any more has no epoch; what its own write-ahead log says of the
    // epoch is in the file as well.
    let epoch = epoch_of(backup).await?.max(epoch_of(path).await.unwrap_or(0)) + 1;
    let prepared = beside(path, RESTORING);
    let repeat = |error: io::Error| {
        refuse(given, format!("the restore stopped half-way: {error}; restore again"))
    };
    let sealed = match copy(backup, &prepared) {
        Ok(()) => seal(&prepared, Some(epoch)).await,
        Err(error) => Err(refuse(given, format!("the backup cannot be copied: {error}"))),
    };
    let restored = match sealed {
        Ok(restored) => restored,
        Err(refused) => {
            let _ = std::fs::remove_file(&prepared); // nothing was replaced yet
            return Err(refused);
        }
    };
    for file in files_beside(path).map_err(repeat)? {
        remove(&file).map_err(repeat)?;
    }
    std::fs::rename(&prepared, path).map_err(repeat)?;
    sync_folder(path).map_err(repeat)?;
    Ok(restored)
}

/// Refuses a backup with a write-ahead log: the file alone is not the whole of it.
fn refuse_incomplete(path: &Path) -> Result<(), StartError> {
    let log = beside(path, WAL);
    if std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        let reason = format!(
            "it is not a whole backup, because {} is beside it: make one with `backup`",
            log.display()
        );
        return Err(refuse(path, reason));
    }
    Ok(())
}

/// The epoch of a log in a file that nobody has open.
async fn epoch_of(path: &Path) -> Result<u64, StartError> {
    // Immutable: it is read as it is, and nothing appears beside it.
    let options = SqliteConnectOptions::new().filename(path).immutable(true).read_only(true);
    let connecting = options.disable_statement_logging().connect().await;
    let mut connection: SqliteConnection = connecting.map_err(|error| failed(path, &error))?;
    let found = identify(&mut connection).await;
    let _ = connection.close().await; // it was only read
    let (_, identity) =
        found.map_err(|error| refuse(path, format!("this is no backup of a log: {error}")))?;
    Ok(identity.epoch)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    remove(to)?; // of a restore that was interrupted
    let mut options = File::options();
    let mut copy = options.write(true).create_new(true).mode(lock::MODE).open(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()?;
    sync_folder(to)
}

/// The files that belong to the old log: SQLite's own, and the projections' with theirs.
fn files_beside(path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut files: Vec<_> = [WAL, WAL_INDEX, JOURNAL].map(|suffix| beside(path, suffix)).into();
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(files) };
    let name = name.to_string_lossy();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name().to_string_lossy().into_owned();
        let projection = found.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.'));
        // `statement@1`, `statement@1-wal` and the like; no other file has an `@` and a number.
        let version = projection.and_then(|rest| rest.split_once('@')).map(|(_, version)| version);
        if version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
