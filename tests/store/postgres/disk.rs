//! A small disk of its own for one test: a file system in memory that can be filled.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::postgres::{free_port, services};

/// A mounted disk, unmounted when it is dropped. It must outlive its users.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a disk of so many MiB. Returns `None` without the permission to mount.
    pub fn mount(mebibytes: usize) -> Option<Self> {
        let path = services().join(format!("private/disk-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(&path).unwrap();
        let disk = Self { path };
        let options = format!("size={mebibytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&disk.path);
        let mounted = mount.stderr(std::process::Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(disk)
    }

    /// Path of the mounted disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it except for so many MiB.
    pub fn fill_up_to(&self, mebibytes: u64) {
        let output = Command::new("df").args(["--output=avail", "-k"]).arg(&self.path).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        let free: u64 = output.lines().last().unwrap().trim().parse().unwrap();
        let size = (free - mebibytes * 1024).to_string() + "KiB";
        let mut fill = Command::new("fallocate");
        assert!(fill.args(["-l", &size]).arg(self.ballast()).status().unwrap().success());
    }

    /// Gives the space back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        let _ = unmount.arg(&self.path).stderr(std::process::Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
