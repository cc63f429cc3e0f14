//! A state of the engine that lasts once it has begun: it drains, or it has ended.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// A token whose state each step reads: unlike that of the token it is read without a lock.
pub struct Signal {
    token: CancellationToken,
    is_cancelled: AtomicBool,
}

impl Signal {
    /// Nothing else cancels the token.
    pub fn new(token: CancellationToken) -> Self {
        Signal { token, is_cancelled: AtomicBool::new(false) }
    }

    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.token.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }
}
