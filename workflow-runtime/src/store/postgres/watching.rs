//! Notifications that some run has changed, for processes that list runs.
//!
//! A process that watches announces itself every [`ANNOUNCED`]. Other processes then notify it after their commits, at most once
//! in [`PAUSE`], until [`WATCHED`] after its last announcement. Earlier versions ignore words that begin with `?`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::db::args;
use super::fault::Result;
use super::shared::Shared;
use crate::store::{Following, Write};

const ANNOUNCED: Duration = Duration::from_secs(30);
const WATCHED: Duration = Duration::from_secs(70);
const PAUSE: Duration = Duration::from_millis(250);
/// The announcement of a process that watches, and the notification that some run has changed.
const WATCHES: &str = "?watches";
const CHANGED: &str = "?changed";

/// Lasts as long as this process watches.
struct Subscription {
    shared: Weak<Shared>,
    _announcing: AbortOnDropHandle<()>,
}

impl Following for Subscription {}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.watching.watches.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Begins to watch.
pub(super) fn watch(shared: &Arc<Shared>) -> Box<dyn Following> {
    shared.watching.watches.fetch_add(1, Ordering::AcqRel);
    let shared = Arc::downgrade(shared);
    let announcing = AbortOnDropHandle::new(tokio::spawn(announce(shared.clone())));
    Box::new(Subscription { shared, _announcing: announcing })
}

async fn announce(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        notify(&shared, WATCHES).await;
        drop(shared);
        tokio::time::sleep(ANNOUNCED).await;
    }
}

/// Handles a word of another process.
pub(super) fn hear(shared: &Arc<Shared>, word: &str) {
    match word {
        CHANGED if shared.watching.watches.load(Ordering::Acquire) > 0 => shared.signals.anything(),
        WATCHES => {
            let until = Instant::now() + WATCHED;
            *shared.watching.watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
            // It may have missed a change before.
            changed(shared);
        }
        _ => {}
    }
}

/// Notifies the processes that watch after a group was committed.
pub(super) fn committed(shared: &Arc<Shared>, group: &[Write]) {
    if shared.watching.is_watched() && !group.iter().all(|write| matches!(write, Write::Claim(_))) {
        changed(shared);
    }
}

fn changed(shared: &Arc<Shared>) {
    shared.watching.has_changed.store(true, Ordering::Release);
    if !shared.watching.is_notifying.swap(true, Ordering::AcqRel) {
        tokio::spawn(notify_of_changes(Arc::downgrade(shared)));
    }
}

async fn notify_of_changes(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let watching = &shared.watching;
        if !watching.has_changed.swap(false, Ordering::AcqRel) {
            watching.is_notifying.store(false, Ordering::Release);
            // A change between the two has started no other task.
            if !watching.has_changed.load(Ordering::Acquire) || watching.is_notifying.swap(true, Ordering::AcqRel) {
                return;
            }
            continue;
        }
        notify(&shared, CHANGED).await;
        drop(shared);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn notify(shared: &Shared, word: &str) {
    let (channel, words) = (&shared.db.options.schema, format!("{} {word}", shared.tag));
    let notified = async {
        let session = shared.db.connect().await?;
        session.query("SELECT pg_notify($1, $2)", args![TEXT: channel, TEXT: words]).await
    };
    let notified: Result<_> = notified.await;
    if let Err(fault) = notified
        && !fault.is_of_standby()
    {
        tracing::warn!(?fault, "the processes that list runs could not be notified");
    }
}
