//! Who may use the files of a store: what this library creates is for its own user alone.
//!
//! The runs are in it, with all that they were given; and whoever can open the file of the lock for reading can hold the
//! lock, and so keep all engines from executing. What is there already is left as it is: somebody may share it on purpose.
//! SQLite gives the files beside the database the rights of that.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// For files: the user reads and writes.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;

/// For directories: the user lists, creates and passes.
#[cfg(unix)]
const DIRECTORY_MODE: u32 = 0o700;

/// For a file that is created if it is not there.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    options
}

/// Creates the file, empty, if there is none.
pub(super) fn create(path: &Path) -> io::Result<()> {
    match options().create_new(true).open(path) {
        // Nobody else has it open yet whose locks the closing of it could drop.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // SQLite says more.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a directory, with all above it that are missing.
pub(super) fn create_directories(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIRECTORY_MODE);
    builder.recursive(true).create(directory)
}

/// Warns of a file that others than its owner can use.
pub(super) fn warn_if_open_to_others(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path) {
        let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777;
        if mode & !FILE_MODE != 0 {
            tracing::warn!(
                path = %path.display(),
                mode = format!("{mode:03o}"),
                "other users of this machine can use this file of the store: take their rights away (chmod 600) unless they are to"
            );
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}
