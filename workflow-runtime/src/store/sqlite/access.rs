//! Permissions of the files of a store: files that this library creates are accessible only to its own user.
//!
//! The database contains the runs with all their inputs. A user that can open the lock file for reading can hold the
//! lock, and so prevent all engines from executing. Permissions of existing files do not change: they may be shared on
//! purpose. SQLite gives the files beside the database the permissions of the database.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// For files: the user can read and write.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;

/// For directories: the user can list, create and traverse.
#[cfg(unix)]
const DIRECTORY_MODE: u32 = 0o700;

/// The options for a file that is created if it does not exist.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    options
}

/// Creates a file that must not exist.
pub(super) fn create_new(path: &Path) -> io::Result<()> {
    // The file is new, so closing it cannot drop the locks of another handle in this process.
    options().create_new(true).open(path).map(drop)
}

/// Creates an empty file, if it does not exist.
pub(super) fn create(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // SQLite reports a more precise error.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a directory, with all missing parents.
pub(super) fn create_directories(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIRECTORY_MODE);
    builder.recursive(true).create(directory)
}

/// Warns about a file that users other than its owner can access.
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
