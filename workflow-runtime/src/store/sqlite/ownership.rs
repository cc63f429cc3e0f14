//! The right to execute, as a file lock of the operating system, which releases the lock when the owner's process ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use futures_util::future::BoxFuture;

use super::access;
use crate::error::{Code, Error};
use crate::store::Ownership;

/// The lock; dropping it releases the lock.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Ownership for Lock {
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
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough if a forked child process shares the handle. If unlocking fails, closing the file
        // has to suffice.
        let _ = self.0.unlock();
    }
}
