//! The identity of a database file: a device and an inode, and never a path alone.
//!
//! A path can lead to another file at any time, and one file can have several paths. This module
//! keeps the list of files that stores of this process hold, and recognises a file whose
//! write-ahead log SQLite would keep under another path. `lock` decides what follows from that.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The files that stores of this process hold.
static HELD: Mutex<BTreeSet<Inode>> = Mutex::new(BTreeSet::new());

/// A file, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(super) fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), number: found.ino() }
    }

    /// The file that a path leads to, if there is one. Opens no descriptor: closing one would drop
    /// the locks that SQLite holds on the file in this process.
    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::symlink_metadata(path).ok().map(|found| Self::of(&found))
    }
}

/// An entry in the list of held files; dropping it removes the entry.
pub(super) struct Registered(Inode);

impl Registered {
    /// Registers the file, or returns `None` if a store of this process holds it already.
    pub(super) fn take(inode: Inode) -> Option<Self> {
        // In two steps: an entry that is dropped while the list is locked would wait for itself.
        let is_free = held().insert(inode);
        is_free.then(|| Self(inode))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        held().remove(&self.0);
    }
}

/// Nothing under this lock can panic, so a poisoned one is whole.
fn held() -> MutexGuard<'static, BTreeSet<Inode>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks whether the file is mounted by itself, as a container mounts a single file: then the
/// folder around it is another one, and a write-ahead log in it is not the one of the file's owner.
///
/// Devices do not show this, because a file can be mounted from the same file system. Without
/// `/proc` (outside Linux) a file cannot be mounted alone.
pub(super) fn is_a_mount_of_its_own(path: &Path) -> bool {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut points = mounts.split(|byte| *byte == b'\n').filter_map(mount_point);
    points.any(|point| point == path.as_os_str().as_bytes())
}

/// The fifth field of a line, in which the kernel writes some characters as `\` and three octal
/// digits (proc(5)).
fn mount_point(line: &[u8]) -> Option<Vec<u8>> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let (mut point, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                point.push(escaped);
                rest = &after[3..];
            }
            None => {
                point.push(byte);
                rest = after;
            }
        }
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_as_it_is() {
        let line = br"36 35 98:0 /a /mnt/my\040bank\134.db rw - ext4 /dev/root rw";
        assert_eq!(mount_point(line).unwrap(), br"/mnt/my bank\.db");
        assert!(mount_point(b"36 35").is_none());
    }

    #[test]
    fn a_file_is_registered_once_until_it_is_released() {
        let inode = Inode { device: u64::MAX, number: 7 };
        let first = Registered::take(inode);
        assert!(first.is_some() && Registered::take(inode).is_none());
        drop(first);
        assert!(Registered::take(inode).is_some());
    }
}
