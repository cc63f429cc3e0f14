//! Signals that inbox messages may have arrived, or that runs may be due.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::RunKey;

/// See the module.
#[derive(Default)]
pub struct News {
    /// Runs with messages that could not be fetched yet.
    unread: Mutex<BTreeSet<RunKey>>,
    arrived: Notify,
    due: Notify,
}

impl News {
    pub fn unread(&self) -> MutexGuard<'_, BTreeSet<RunKey>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals that there may be messages for runs in memory.
    pub fn hint(&self) {
        self.arrived.notify_one();
    }

    /// This engine has sent something itself, or released a run: there may be messages, and a run may be due.
    pub fn sent(&self) {
        self.arrived.notify_one();
        self.due.notify_one();
    }

    /// Resolves when a run may be due that was not before.
    pub async fn recounting(&self) {
        self.due.notified().await;
    }

    /// Called when a run was activated.
    pub fn run_is_here(&self, run: RunKey) {
        if self.unread().contains(&run) {
            self.hint();
        }
    }

    /// Resolves when there may be messages.
    pub async fn arriving(&self) {
        self.arrived.notified().await;
    }
}
