//! The wakers of a run's branches: its root and its spawned ones.
//!
//! A wake counts only while the run is being polled, on the thread that polls it. Then the order of wakes is the order
//! of polls, and a replay repeats both. Any other wake comes from a future that the journal does not record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::shared::{BranchId, Shared};

pub(super) struct BranchWaker {
    shared: Weak<Shared>,
    branch: BranchId,
    /// Whether the branch is in the queue already.
    queued: AtomicBool,
}

impl BranchWaker {
    pub fn new(shared: &Arc<Shared>, branch: BranchId) -> Arc<Self> {
        Arc::new(BranchWaker { shared: Arc::downgrade(shared), branch, queued: AtomicBool::new(false) })
    }

    /// Called when the branch leaves the queue, just before it is polled.
    pub fn leave_queue(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }

    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for BranchWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else { return };
        if !shared.is_current() {
            shared.woken_from_outside();
        } else if !self.queued.swap(true, Ordering::Relaxed) {
            shared.queue(self.branch);
        }
    }
}
