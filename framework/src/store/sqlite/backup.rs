//! A consistent copy of a log, while the log is in use.
//!
//! `VACUUM INTO` copies one moment of the database under load. The copy is synced, checked and only
//! then given its name, so a file of that name is a whole backup. Projections are not in it: they
//! are built again from the log. `restore` puts a backup in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::inode::{Inode, Registered};
use super::open::{identify, refuse};
use super::path::{SIDE_FILES, beside, resolve};
use super::{SqliteStore, fault, lock, origin};
use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::LogIdentity;

/// A log at one moment: the content of a backup, or of a restored log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Which log it is.
    pub identity: LogIdentity,
    /// Last position of the log.
    pub head: GlobalPosition,
}

impl SqliteStore {
    /// Writes a consistent copy of the log into a new file, while commands and reads go on. The copy
    /// is one moment of the log, and it is on disk when this returns. Projections are not copied.
    ///
    /// As long as the copy takes, the write-ahead log grows.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the file exists already (a backup is never overwritten), or the
    /// copy failed; then no file of this name is left.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<Backup, StoreError> {
        let unavailable = |error: StartError| StoreError::Unavailable(error.to_string());
        let from = self.opening.connect().await.map_err(unavailable)?;
        copy(from, to.as_ref()).await.map_err(unavailable)
    }

    /// As [`SqliteStore::backup`], of the log at `bank.db` or `sqlite:bank.db`, whether another
    /// process has it open or none.
    ///
    /// # Errors
    /// [`StartError::Open`] names the file and the reason, as [`SqliteStore::open`] does.
    pub async fn backup_of(place: &str, to: impl AsRef<Path>) -> Result<Backup, StartError> {
        let given = super::options::SqliteOptions::new(place).path;
        let path = resolve(&given)?;
        let Some(inode) = Inode::at(&path) else {
            return Err(refuse(&given, "there is no such file"));
        };
        // Registered, because a descriptor of a file that this process has open must not be closed.
        let Some(_registered) = Registered::take(inode) else {
            return Err(refuse(&given, "this process has it open: use SqliteStore::backup"));
        };
        lock::look_at(&given, &path)?;
        let options =
            SqliteConnectOptions::new().filename(&path).busy_timeout(super::close::CLOSE_WITHIN);
        let from = options.disable_statement_logging().connect().await;
        copy(from.map_err(|error| failed(&path, &error))?, to.as_ref()).await
    }
}

pub(super) fn failed(path: &Path, error: &sqlx::Error) -> StartError {
    refuse(path, fault::explain(path, error))
}

fn cannot(path: &Path) -> impl Fn(io::Error) -> StartError {
    move |error| refuse(path, format!("the backup cannot be written: {error}"))
}

/// Copies the database into a file that has its name only once it is whole.
async fn copy(mut from: SqliteConnection, to: &Path) -> Result<Backup, StartError> {
    let to = resolve(to)?;
    if to.exists() {
        return Err(refuse(&to, "the file exists already, and a backup is never overwritten"));
    }
    let partial = Partial::create(beside(&to, ".partial"))?;
    let path = partial.path.display().to_string();
    let copied = sqlx::query("VACUUM INTO ?").bind(path).execute(&mut from).await;
    copied.map_err(|error| failed(&to, &error))?;
    let _ = from.close().await; // it has read all that it should
    let backup = seal(&partial.path, None).await?;
    partial.publish(&to)?;
    Ok(backup)
}

/// Checks a copy and gives it a mark of its own, so that no write-ahead log belongs to it; sets the
/// epoch if one is given. The file is complete and synced after that.
pub(super) async fn seal(path: &Path, epoch: Option<u64>) -> Result<Backup, StartError> {
    let failed = |error: sqlx::Error| failed(path, &error);
    let options = SqliteConnectOptions::new().filename(path).pragma("synchronous", "EXTRA");
    let connecting = options.pragma("journal_mode", "DELETE").disable_statement_logging();
    let mut connection = connecting.connect().await.map_err(failed)?;
    if let Some(damage) = damage(&mut connection, epoch.is_some()).await.map_err(failed)? {
        return Err(refuse(path, format!("the copy is damaged: {damage}. Use another backup.")));
    }
    if let Some(epoch) = epoch {
        let raise = sqlx::query("UPDATE log SET epoch = ?").bind(epoch as i64);
        raise.execute(&mut connection).await.map_err(failed)?;
    }
    origin::mark_copy(&mut connection).await.map_err(failed)?;
    let (head, identity) = identify(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(cannot(path))?;
    Ok(Backup { identity, head })
}

/// Describes the first damage of a database. `is_old` says that the file may have lain for long on a
/// disk or gone through a network: then indexes are compared with their tables, and each event and
/// document is parsed. A copy that was just made of a database in use needs less, because SQLite
/// reads and writes each of its rows.
async fn damage(
    connection: &mut SqliteConnection,
    is_old: bool,
) -> Result<Option<String>, sqlx::Error> {
    let check = if is_old { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let check: String = sqlx::query_scalar(check).fetch_one(&mut *connection).await?;
    if check != "ok" {
        return Ok(Some(check));
    }
    if !is_old {
        return Ok(None);
    }
    // The checks above follow the structure of the pages and do not look into texts.
    sqlx::query_scalar(
        "SELECT 'the event at position ' || position || ' is no JSON' FROM events
         WHERE NOT (json_valid(payload) AND json_valid(metadata))
         UNION ALL SELECT 'the document ' || key || ' of ' || model || ' is no JSON' FROM documents
         WHERE NOT json_valid(body) LIMIT 1",
    )
    .fetch_optional(connection)
    .await
}

/// A file that is removed unless it is published.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(path: PathBuf) -> Result<Self, StartError> {
        let mut options = File::options();
        let created = options.write(true).create_new(true).mode(lock::MODE).open(&path);
        match created {
            Ok(_) => Ok(Self { path }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(refuse(
                &path,
                "another backup writes this file, or one was interrupted: remove it then",
            )),
            Err(error) => Err(cannot(&path)(error)),
        }
    }

    /// Gives the file its name, which nobody may have taken meanwhile.
    fn publish(self, to: &Path) -> Result<(), StartError> {
        match std::fs::hard_link(&self.path, to) {
            Ok(()) => std::fs::remove_file(&self.path).map_err(cannot(&self.path))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(cannot(to)(error));
            }
            Err(_) => self.rename(to).map_err(cannot(to))?,
        }
        sync_folder(to).map_err(cannot(to))
    }

    /// Gives the file its name where there are no hard links, as on exFAT and many network drives.
    /// An empty file takes the name first, because renaming would replace any other file. A crash
    /// in between leaves the empty file, which a restore refuses.
    fn rename(&self, to: &Path) -> io::Result<()> {
        File::options().write(true).create_new(true).mode(lock::MODE).open(to)?;
        std::fs::rename(&self.path, to).inspect_err(|_| {
            let _ = std::fs::remove_file(to); // the error of the renaming says what is wrong
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After it was published there is nothing left to remove.
        let _ = remove_with_side_files(&self.path);
    }
}

/// Removes a database that nobody has open, if it is there, and SQLite's files beside it.
pub(super) fn remove_with_side_files(path: &Path) -> io::Result<()> {
    for suffix in SIDE_FILES {
        remove(&beside(path, suffix))?;
    }
    remove(path)
}

pub(super) fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes durable which files a folder holds.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
