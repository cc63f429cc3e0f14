//! The right to execute, as a lock of the operating system: it is free the moment its holder dies, however it dies.

use std::fs::{File, TryLockError};
use std::path::Path;

use futures_util::future::BoxFuture;

use super::access;
use crate::error::{Code, Error};
use crate::store::Ownership;

/// The lock, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Ownership for Lock {
    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

impl Lock {
    /// Nothing if somebody has it, be it in this process.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |error: std::io::Error| {
            Error::coded(Code::Store, format!("could not lock {}", path.display())).because(error).help(
                "the file must be writable for the user that runs this program, on a file system that has locks: \
                 put the database on a local disk",
            )
        };
        // The file stays where it is for good: if it were deleted, two processes could hold locks on two files of its name.
        let file = access::options().create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough if a process that this one has forked shares the handle. An error leaves it to
        // that.
        let _ = self.0.unlock();
    }
}
