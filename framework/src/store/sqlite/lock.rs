//! Holding a database file for one store: an exclusive lock on the file itself, and checks around
//! each commit that the path still leads to it.
//!
//! The order matters. POSIX drops all of a process's locks on a file when any descriptor of it is
//! closed. So a file that another store of this process holds is recognised by `stat`, before a
//! descriptor is opened, and the descriptor that carries the lock is closed after SQLite's own:
//! each connection keeps the [`HeldFile`] alive until it has closed its files (see `Opening`).

use std::fs::{File, Metadata, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::inode::{Inode, Registered, is_a_mount_of_its_own};
use super::open::refuse;
use super::origin::{Header, MainFile, Mark, Origin};
use super::path::{WAL, WAL_INDEX, beside, resolve};
use super::wal;
use crate::error::StartError;

/// Permissions of a new database. SQLite gives its side files the same. Events are for the program
/// alone; an operator who needs a group to read them changes the mode once.
pub(super) const MODE: u32 = 0o600;

/// A database file that no other store opens for as long as this value lives.
pub(super) struct HeldFile {
    /// Absolute, and the path that every symbolic link to the file leads to.
    pub(super) path: PathBuf,
    /// Paths of the write-ahead log and of its index.
    side_paths: [PathBuf; 2],
    /// The file was empty when it was taken: no database yet.
    is_new: bool,
    /// The file was created for this opening.
    is_created: bool,
    /// The first mark that this opening writes into the file.
    pub(super) first_mark: Mark,
    inode: Inode,
    /// SQLite's side files once it has opened them.
    side_files: Mutex<[Option<Inode>; 2]>,
    /// The marks that the file may carry, once they are known.
    origin: Mutex<Option<Origin>>,
    /// Why nothing is written to the file any more.
    broken: OnceLock<String>,
    // Declared in this order because the lock must be gone before the file can be taken again.
    file: File,
    _registered: Registered,
}

/// Takes the file, or refuses and leaves everything as it was. `given` is the user's name for the
/// file, for messages; `wait` bounds the wait for a store that is just closing it.
pub(super) async fn hold(given: &Path, wait: Duration) -> Result<HeldFile, StartError> {
    wait_for(given, wait, true).await?.accepted(given)
}

/// Takes the file to replace it: whatever it holds, and whatever is beside it.
pub(super) async fn hold_to_replace(given: &Path, wait: Duration) -> Result<HeldFile, StartError> {
    wait_for(given, wait, false).await
}

/// Checks a file that another process may hold: its names, that it is a database, its side files.
/// Only for a file that no store of this process holds.
pub(super) fn look_at(given: &Path, path: &Path) -> Result<(), StartError> {
    let cannot = |error| refuse(given, format!("the file cannot be read: {error}"));
    refuse_other_names(given, path, &std::fs::symlink_metadata(path).map_err(cannot)?)?;
    let file = File::open(path).map_err(cannot)?;
    check_header(given, &file)?;
    wal::refuse_others(given, path, &MainFile::new(&file))
}

/// Takes the file, if it becomes free in time. A file that is missing is created; if `check_orphans`,
/// not beside side files of one that is gone.
async fn wait_for(
    given: &Path,
    wait: Duration,
    check_orphans: bool,
) -> Result<HeldFile, StartError> {
    let path = resolve(given)?;
    let began = Instant::now();
    loop {
        match take(given, &path, check_orphans)? {
            Ok(held) => return Ok(held),
            Err(reason) if began.elapsed() >= wait => return Err(refuse(given, reason)),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One attempt. The inner error is one that a moment may mend.
fn take(
    given: &Path,
    path: &Path,
    check_orphans: bool,
) -> Result<Result<HeldFile, String>, StartError> {
    let (found, is_created) = match std::fs::symlink_metadata(path) {
        Ok(found) => (found, false),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match create(given, path, check_orphans)? {
                Some(found) => (found, true),
                None => return Ok(Err("another process is just creating the database".into())),
            }
        }
        Err(error) => return Err(refuse(given, format!("the file cannot be looked up: {error}"))),
    };
    refuse_other_names(given, path, &found)?;
    let inode = Inode::of(&found);
    let Some(registered) = Registered::take(inode) else {
        let reason = "the database is open already in this process: use a clone of that store";
        return Ok(Err(reason.into()));
    };
    let opened = File::options().read(true).write(true).open(path);
    let file = opened.map_err(|e| refuse(given, format!("the file is not writable: {e}")))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let reason = "the database is open in another process: one file has one writing process; stop the other one first";
            return Ok(Err(reason.into()));
        }
        Err(TryLockError::Error(e)) => {
            return Err(refuse(given, format!("the file cannot be locked: {e}")));
        }
    }
    let locked = file.metadata().map_err(|e| refuse(given, e.to_string()))?;
    if Inode::of(&locked) != inode || Inode::at(path) != Some(inode) {
        return Ok(Err("the file was replaced while it was opened".into()));
    }
    Ok(Ok(HeldFile {
        path: path.to_owned(),
        side_paths: [WAL, WAL_INDEX].map(|suffix| beside(path, suffix)),
        is_new: locked.len() == 0,
        is_created,
        first_mark: Mark::first(),
        inode,
        side_files: Mutex::default(),
        origin: Mutex::default(),
        broken: OnceLock::new(),
        file,
        _registered: registered,
    }))
}

/// Creates the file, empty; `None` if another process was faster.
fn create(given: &Path, path: &Path, check_orphans: bool) -> Result<Option<Metadata>, StartError> {
    if check_orphans {
        // SQLite would delete a log that is left without its database, with all that is in it.
        wal::refuse_orphans(given, path)?;
    }
    let created = File::options().write(true).create_new(true).mode(MODE).open(path);
    match created.and_then(|file| file.metadata()) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(refuse(given, format!("not writable: it cannot be created: {error}"))),
    }
}

/// Refuses a file whose write-ahead log another program could keep under another path.
fn refuse_other_names(given: &Path, path: &Path, found: &Metadata) -> Result<(), StartError> {
    if !found.is_file() {
        return Err(refuse(given, "this is no file that could hold a database"));
    }
    if found.nlink() > 1 {
        let reason = format!(
            "the file has {} names (hard links), and its write-ahead log belongs to one of them: \
             remove the other names, or copy the file",
            found.nlink()
        );
        return Err(refuse(given, reason));
    }
    if is_a_mount_of_its_own(path) {
        let reason = "the file is mounted by itself, so its write-ahead log would be kept in another \
                      folder: mount the folder that holds the file";
        return Err(refuse(given, reason));
    }
    Ok(())
}

fn check_header(given: &Path, file: &File) -> Result<(), StartError> {
    let mut header = [0; 16];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) if header == *MainFile::MAGIC => Ok(()),
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(refuse(given, format!("the file cannot be read: {error}")))
        }
        _ => Err(refuse(given, "this file is no SQLite database; it was left as it is")),
    }
}

impl HeldFile {
    /// Refuses a file that is no database, or whose side files are not its own.
    fn accepted(self, given: &Path) -> Result<Self, StartError> {
        let header = if self.is_new { Ok(()) } else { check_header(given, &self.file) };
        let checked =
            header.and_then(|()| wal::refuse_others(given, &self.path, &MainFile::new(&self.file)));
        match checked {
            Ok(()) => Ok(self),
            Err(refused) => {
                self.undo_creation();
                Err(refused)
            }
        }
    }

    /// Removes a file that was created for an opening that was refused afterwards.
    pub(super) fn undo_creation(&self) {
        // Best effort: an empty file that stays behind is taken for a new database next time.
        if self.is_created && self.file.metadata().is_ok_and(|found| found.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Remembers the side files that SQLite has opened. Call this after a connection has read.
    pub(super) fn note_side_files(&self) {
        let found = [0, 1].map(|index| Inode::at(&self.side_paths[index]));
        *self.side_files.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Remembers which marks the file may carry from now on.
    pub(super) fn note_origin(&self, found: impl FnOnce(&MainFile<'_>) -> Option<Origin>) {
        let origin = found(&MainFile::new(&self.file));
        *self.origin.lock().unwrap_or_else(PoisonError::into_inner) = origin;
    }

    /// The file's header as the last checkpoint left it; nothing if it cannot be read.
    pub(super) fn header(&self) -> Header {
        let header = MainFile::new(&self.file).header();
        header.ok().and_then(|header| Header::of(&header)).unwrap_or_default()
    }

    /// Stops all writing to the file, for a reason that only a restart can mend.
    pub(super) fn stop_writing(&self, reason: String) {
        tracing::error!(path = %self.path.display(), %reason, "nothing is written to the database any more");
        let _ = self.broken.set(reason); // the first reason stands
    }

    /// The reason for which all writing was stopped, if it was.
    pub(super) fn broken(&self) -> Option<&String> {
        self.broken.get()
    }

    /// Checks that the path still leads to the open file with the content that SQLite left in it.
    /// Costs a few microseconds, so each commit can afford it twice.
    ///
    /// # Errors
    /// The reason why a commit would not be found there after a restart, and what to do.
    pub(super) fn check(&self) -> Result<(), String> {
        // The first reason, because what is found later may be a consequence of it.
        if let Some(reason) = self.broken.get() {
            return Err(reason.clone());
        }
        let path = self.path.display();
        let Ok(found) = std::fs::symlink_metadata(&self.path) else {
            return Err(format!(
                "{path} was removed or renamed while it was open: move the file back, or stop this \
                 process and restore a backup"
            ));
        };
        if Inode::of(&found) != self.inode {
            return Err(format!(
                "{path} was replaced by another file while it was open: stop this process before \
                 you replace its database"
            ));
        }
        // SQLite finds the write-ahead log by the name of the file. Under a second name another
        // program would use another one.
        if found.nlink() != 1 {
            return Err(format!("{path} was given a second name (hard link): remove that name"));
        }
        // Without its write-ahead log the file lacks the last commits, and a new one would begin in
        // its place.
        let known = *self.side_files.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, (suffix, known)) in [WAL, WAL_INDEX].into_iter().zip(known).enumerate() {
            if known.is_some() && Inode::at(&self.side_paths[index]) != known {
                let reason = format!(
                    "{path}{suffix} was removed or replaced while the database was open: stop this \
                     process, which writes the log into {path} as it stops"
                );
                return Err(reason);
            }
        }
        self.check_content()
    }

    /// Checks that nobody has overwritten or cut the file itself.
    fn check_content(&self) -> Result<(), String> {
        let mut origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(origin) = origin.as_mut() else { return Ok(()) };
        let main = MainFile::new(&self.file);
        // Another program's checkpoint may be in the middle of the page: look again.
        for _ in 0..3 {
            if origin.is_carried_by(&main) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let reason = format!(
            "{} was overwritten or cut while it was open: stop this process and restore a backup",
            self.path.display()
        );
        self.stop_writing(reason.clone());
        Err(reason)
    }
}
