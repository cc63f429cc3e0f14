//! A small disk that a test can fill.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system in memory. Dropping this value unmounts it.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one over a directory. The size has the format of `mount`: `128m`.
    ///
    /// # Errors
    ///
    /// If this process may not mount file systems.
    pub fn mount(path: &Path, size: &str) -> Result<Self, String> {
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        let output = mounted.map_err(|error| format!("mount: {error}"))?;
        let refused = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        output.status.success().then(|| Disk(path.to_owned())).ok_or_else(refused)
    }

    /// Makes the file system read-only. Returns whether that is done: it is refused while a file is open for writing.
    pub fn set_read_only(&self) -> bool {
        let mounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).output();
        mounted.is_ok_and(|output| output.status.success())
    }

    /// Fills the disk with a file: its path. Remove the file to free the space.
    ///
    /// # Panics
    ///
    /// If the file cannot be created.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut filler = File::create(&path).expect("there is room for a name");
        let mut block = 1 << 16;
        while block > 0 {
            if filler.write_all(&vec![0; block]).is_err() {
                block /= 2;
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The reason why no [`Disk`] can be mounted on this machine, if none can.
pub(crate) fn lacking() -> Option<String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string());
    let disk = directory.and_then(|directory| Disk::mount(directory.path(), "1m").map(|disk| (disk, directory)));
    disk.err().map(|error| format!("no file system may be mounted here, as root can: {error}"))
}
