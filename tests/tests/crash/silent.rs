//! A store that stops answering at one of its operations, to simulate a process that is killed there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use tokio::sync::watch;
use workflow_runtime::Error;
use workflow_runtime::store::{Answer, Failed, Ownership, Store, Write};

/// Forwards to another store until it falls silent.
pub struct Silent {
    inner: Arc<dyn Store>,
    /// The number of operations that it still answers.
    left: AtomicU64,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Answers,
    Silent,
    /// The engine is gone; pending operations fail.
    Abandoned,
}

impl Silent {
    /// A store that answers this many operations. A commit counts twice: once before and once after the inner commit.
    pub fn after(inner: Arc<dyn Store>, operations: u64) -> Self {
        Silent { inner, left: AtomicU64::new(operations), state: watch::Sender::new(State::Answers) }
    }

    /// Waits until it has fallen silent.
    pub async fn fell_silent(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state != State::Answers).await;
    }

    /// Fails pending and later operations, so that the tasks of the dropped engine end.
    pub fn abandon(&self) {
        self.state.send_replace(State::Abandoned);
    }

    /// Whether it still answers. Once silent, it returns only after [`Silent::abandon`].
    async fn answers(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return true;
        }
        self.state.send_if_modified(|state| {
            let falls = *state == State::Answers;
            if falls {
                *state = State::Silent;
            }
            falls
        });
        let _ = self.state.subscribe().wait_for(|state| *state == State::Abandoned).await;
        false
    }

    async fn reading(&self, _: &str) {
        self.answers().await;
    }
}

impl Store for Silent {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let failed = || Failed::new(Error::new("the store is silent"), false, false);
            if !self.answers().await {
                return Err(failed());
            }
            let outcomes = self.inner.commit(group).await;
            if self.answers().await { outcomes } else { Err(failed()) }
        })
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        Box::pin(async move {
            self.answers().await;
            self.inner.acquire(owner).await
        })
    }

    forward_reads!();
}
