//! What the parts of a store share.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{AbortHandle, JoinHandle};

use super::db::Db;
use super::signals::{Signals, Watching};
use super::verified::Verified;
use super::work::Ours;

pub(super) struct Shared {
    pub db: Db,
    /// The prefix of this store's notifications, by which it recognises its own.
    pub tag: Arc<str>,
    /// The owner numbers of the workers that are registered through this store.
    pub owners: Mutex<Arc<[i64]>>,
    pub verified: Arc<Verified>,
    pub signals: Signals,
    pub watching: Watching,
    /// The sequences of the inbox messages that [`news`](Store::news) has reported and that still exist.
    pub reported: Mutex<HashSet<i64>>,
    /// Whether the database failed to answer a lease request: workers that are late as well are then not presumed dead.
    pub interrupted: AtomicBool,
    /// Leases that are being given up.
    pub giving_up: Mutex<Vec<JoinHandle<()>>>,
    pub listener: Mutex<Option<AbortHandle>>,
}

impl Shared {
    pub fn owners(&self) -> Arc<[i64]> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn change_owners(&self, change: impl FnOnce(&mut BTreeSet<i64>)) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = owners.iter().copied().collect();
        change(&mut changed);
        *owners = changed.into_iter().collect();
    }

    pub fn giving_up(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.giving_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the leases that were dropped before have been given up.
    pub async fn given_up(&self) {
        let giving_up = std::mem::take(&mut *self.giving_up());
        for lease in giving_up {
            let _ = lease.await;
        }
    }

    pub fn ours(&self) -> Ours {
        Ours { tag: self.tag.clone(), owners: self.owners(), verified: self.verified.clone() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let listener = self.listener.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.abort();
        }
    }
}
