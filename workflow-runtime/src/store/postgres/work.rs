//! A transaction in progress, and the store that it belongs to.

use std::sync::Arc;

use super::db::Session;
use super::notes::Notes;
use super::verified::Verified;

/// The store that commits.
pub(super) struct Ours {
    /// The prefix of this store's notifications, by which it recognises its own.
    pub tag: Arc<str>,
    /// The owner numbers of the workers that are registered through this store.
    pub owners: Arc<[i64]>,
    pub verified: Arc<Verified>,
}

/// A transaction in progress.
pub(super) struct Work<'w, 'd> {
    pub session: &'w Session<'d>,
    pub ours: &'w Ours,
    pub notes: Notes,
}
