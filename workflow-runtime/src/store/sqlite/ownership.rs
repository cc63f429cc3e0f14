//! The right to execute, as a file lock of the operating system, which releases the lock when the owner's process ends.
//!
//! The lock belongs to a path, and the database at the path can be replaced while a process holds the lock. So the holder notes
//! in the lock file which database it has open; others read the note only while the lock is held.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::Path;

use futures_util::future::BoxFuture;

use super::{access, mark};
use crate::error::{Code, Error};
use crate::store::Ownership;

/// The lock; dropping it releases the lock.
#[derive(Debug)]
pub(super) struct Lock(File);

/// The length of a store id.
const STORE_BYTES: usize = 16;

/// The store id in the note of a holder whose database was replaced.
const NONE: [u8; STORE_BYTES] = [0; STORE_BYTES];

impl Ownership for Lock {
    fn keep(&self) {
        self.sign(&NONE);
    }

    fn expires(&self) -> bool {
        false
    }

    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

impl Lock {
    /// `None` if the lock is taken, in this process or another one.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |error: std::io::Error| {
            Error::coded(Code::Store, format!("could not lock {}", path.display())).because(error).help(
                "the file must be writable for the user that runs this program, on a file system that has locks: \
                 put the database on a local disk",
            )
        };
        // The file is never deleted: otherwise two processes could hold locks on two files of the same name.
        let file = access::options().create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Notes the database of this process, by its store id.
    pub(super) fn sign(&self, store: &[u8]) {
        #[cfg(unix)]
        {
            let bytes = [store, &std::process::id().to_le_bytes()].concat();
            // Only warnings depend on it.
            let _ = std::os::unix::fs::FileExt::write_all_at(&self.0, &bytes, mark::BYTES as u64);
        }
        #[cfg(not(unix))]
        let _ = store;
    }
}

/// The process that holds the lock, if it has noted another database than this one.
pub(super) fn foreign_holder(path: &Path, store: &[u8]) -> Option<u32> {
    let mut file = File::open(path).ok()?;
    let mut bytes = [0; mark::BYTES + STORE_BYTES + size_of::<u32>()];
    file.read_exact(&mut bytes).ok()?;
    let (noted, process) = bytes.get(mark::BYTES..)?.split_first_chunk::<STORE_BYTES>()?;
    // Only then: the probe may make a concurrent `take` fail.
    let is_held = *noted != *store && matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    is_held.then_some(u32::from_le_bytes(*process.first_chunk()?))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough if a forked child process shares the handle. If unlocking fails, closing the file
        // has to suffice.
        let _ = self.0.unlock();
    }
}
