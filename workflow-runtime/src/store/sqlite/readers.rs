//! The connections that read, on blocking threads outside of the async runtime.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::open::Address;
use super::{fault, identity};
use crate::error::{Code, Error};
use crate::failpoint::hit;

/// Maximum number of concurrent reads: more would queue for the same disk and occupy threads meanwhile.
const READERS_MAX: usize = 4;

pub(super) struct Readers {
    address: Address,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Set once the file was replaced: see [`Writer`](super::writer::Writer).
    replaced: Arc<OnceLock<Error>>,
}

impl Readers {
    pub(super) fn new(address: Address, replaced: Arc<OnceLock<Error>>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(READERS_MAX));
        Arc::new(Readers { address, idle: Mutex::default(), permits, replaced })
    }

    /// Runs a read on an idle connection, on a blocking thread. `what` completes "could not read .. from".
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        if let Some(error) = self.replaced.get() {
            return Err(error.clone());
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let readers = Arc::clone(self);
        let doing = move || {
            let _permit = permit;
            hit(what);
            let outcome = readers.with_connection(work);
            hit(what);
            outcome.map_err(|fault| fault::explain(&readers.address.path, &format!("read {what} from"), &fault))
        };
        blocking(doing).await?
    }

    /// Opens a connection that is not one of the readers.
    pub(super) fn connect(&self) -> rusqlite::Result<Connection> {
        self.address.writer()
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn with_connection<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.address.reader()?,
        };
        let outcome = work(&connection)?;
        // A connection that has had a fault does not get here, and is closed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(outcome)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if self.replaced.get().is_some() {
            let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
            idle.iter().for_each(|connection| identity::leave_log(connection, true));
        }
    }
}

/// Runs `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => Error::coded(Code::Closed, "the async runtime is shutting down"),
    })
}
