//! File systems that a test mounts: a small disk that it can fill, and a layer above another directory.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system. Dropping this value unmounts it.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts a file system in memory over a directory. The size has the format of `mount`: `128m`.
    ///
    /// # Errors
    ///
    /// If this process may not mount file systems.
    pub fn mount(path: &Path, size: &str) -> Result<Self, String> {
        Disk::of_type("tmpfs", &format!("size={size}"), path)
    }

    /// Mounts the files of `lower` over a directory. The first write to a file of `lower` copies it to the directory `upper`,
    /// and `lower` does not change. `work` is an empty directory beside `upper`. If `lower` and `upper` are on two file
    /// systems, a file has another inode number after it was copied.
    ///
    /// # Errors
    ///
    /// If this process may not mount file systems, or the system has no overlay file systems.
    pub fn overlay(lower: &Path, upper: &Path, work: &Path, path: &Path) -> Result<Self, String> {
        let [lower, upper, work] = [lower, upper, work].map(Path::display);
        Disk::of_type("overlay", &format!("xino=off,lowerdir={lower},upperdir={upper},workdir={work}"), path)
    }

    fn of_type(of: &str, options: &str, path: &Path) -> Result<Self, String> {
        let mounted = Command::new("mount").args(["-t", of, "-o", options, of]).arg(path).output();
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

/// The reason why no [`Disk::overlay`] can be mounted on this machine, if none can.
pub(crate) fn lacking_overlay() -> Option<String> {
    let mount = || {
        let (directory, disk) = (tempfile::tempdir(), tempfile::tempdir());
        let (directory, disk) =
            (directory.map_err(|error| error.to_string())?, disk.map_err(|error| error.to_string())?);
        let _disk = Disk::mount(disk.path(), "1m")?;
        let [upper, work] = ["upper", "work"].map(|name| disk.path().join(name));
        for path in [&upper, &work] {
            std::fs::create_dir(path).map_err(|error| error.to_string())?;
        }
        Disk::overlay(directory.path(), &upper, &work, directory.path()).map(drop)
    };
    mount().err().map(|error| format!("no overlay file system may be mounted here, as root can: {error}"))
}

/// The reason why no [`Disk`] can be mounted on this machine, if none can.
pub(crate) fn lacking() -> Option<String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string());
    let disk = directory.and_then(|directory| Disk::mount(directory.path(), "1m").map(|disk| (disk, directory)));
    disk.err().map(|error| format!("no file system may be mounted here, as root can: {error}"))
}
