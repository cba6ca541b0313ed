//! Putting a backup in the place of a log.
//!
//! The order makes a crash at any instant harmless: the backup is copied beside the log and raised
//! to a new epoch, then the old side files and projections go, and at last the copy is given the
//! log's name. Until then a start is refused, because the copy is there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::backup::{Backup, failed, remove, remove_with_side_files, seal, sync_folder};
use super::open::{identify, refuse};
use super::options::SqliteOptions;
use super::path::{RESTORING, SIDE_FILES, WAL, beside, resolve};
use super::{SqliteStore, lock, wal};
use crate::error::StartError;
use crate::store::contract::check_projection_name;

/// Time for a store that is just closing the file.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(2);

impl SqliteStore {
    /// Replaces the log at `place`, or creates it, by the log in a backup. Nobody may have the log
    /// open. The epoch becomes greater than that of both, so whoever remembers a place in the old
    /// log recognises that history has changed.
    ///
    /// Read models and snapshots come with the log. The files of projections, such as
    /// `bank.db.statement@1`, are deleted, and are built again at the next start. Every other file
    /// beside the log stays. The old log is gone after that: copy it before if you may need it.
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
            let _ = remove_with_side_files(&prepared); // nothing was replaced yet
            return Err(refused);
        }
    };
    for projection in projections_beside(path).await.map_err(repeat)? {
        remove_with_side_files(&projection).map_err(repeat)?;
        tracing::info!(file = %projection.display(), "a projection of the old log was deleted");
    }
    for suffix in SIDE_FILES {
        remove(&beside(path, suffix)).map_err(repeat)?;
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
    let mut connection = look_into(path).await.map_err(|error| failed(path, &error))?;
    let found = identify(&mut connection).await;
    let _ = connection.close().await; // it was only read
    let (_, identity) =
        found.map_err(|error| refuse(path, format!("this is no backup of a log: {error}")))?;
    Ok(identity.epoch)
}

/// Opens a file that nobody has open, without its write-ahead log. Nothing appears beside it.
async fn look_into(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).immutable(true).read_only(true);
    options.disable_statement_logging().connect().await
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    // Of a restore that was interrupted: SQLite would roll its journal back into this copy.
    remove_with_side_files(to)?;
    let mut options = File::options();
    let mut copy = options.write(true).create_new(true).mode(lock::MODE).open(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()?;
    sync_folder(to)
}

/// The files of projections of this log. A file is one only by its name and its content, because
/// the name alone may be that of a copy that the user has made.
async fn projections_beside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(vec![]) };
    let name = name.to_string_lossy();
    let mut named = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let found = entry?.file_name().to_string_lossy().into_owned();
        let rest = found.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.'));
        named.extend(rest.and_then(projection).map(|of| folder.join(format!("{name}.{of}"))));
    }
    let mut projections = Vec::new();
    for file in named {
        match is_projection(&file).await? {
            true => projections.push(file),
            false => tracing::warn!(
                file = %file.display(),
                "left as it is: it is named like a projection of the old log and holds none"
            ),
        }
    }
    Ok(projections)
}

/// Returns `statement@1` if this names a projection's database, or a file beside it such
/// as `statement@1-wal`.
fn projection(name: &str) -> Option<&str> {
    let database = SIDE_FILES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let (model, version) = database.split_once('@')?;
    let is_number = version.parse::<u32>().is_ok_and(|number| number.to_string() == version);
    (is_number && check_projection_name(model).is_ok()).then_some(database)
}

/// Checks the content of a file that is named like a projection. One that was just made may have
/// all of its tables in its write-ahead log.
async fn is_projection(file: &Path) -> io::Result<bool> {
    const LOOK: &str = "SELECT count(*) FILTER (WHERE name IN ('wal_origin', 'checkpoints')),
                        count(*) FILTER (WHERE name = 'actum_migrations'), count(*)
                        FROM sqlite_schema WHERE type = 'table'";
    let is_bare = match file.exists() {
        false => true,
        true => {
            let Ok(mut connection) = look_into(file).await else { return Ok(false) };
            let found = sqlx::query_as(LOOK).fetch_one(&mut connection).await;
            let _ = connection.close().await; // it was only read
            match found {
                Ok((2, 0, _)) => return Ok(true),
                Ok((_, _, 0)) => true,
                Ok::<(i64, i64, i64), _>(_) | Err(_) => return Ok(false), // a log, or damaged
            }
        }
    };
    Ok(is_bare && wal::is_empty_or_ours(&beside(file, WAL))?)
}
