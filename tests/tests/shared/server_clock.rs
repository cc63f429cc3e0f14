//! A store with another clock of its server, or with none.

use std::sync::Arc;

use futures::future::BoxFuture;
use workflow_runtime::Error;
use workflow_runtime::store::*;

/// Wraps a store and replaces its server's clock. Without a clock the engine's environment determines the time.
pub struct ServerClock {
    inner: Arc<dyn Store>,
    now: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl ServerClock {
    pub fn new(inner: Arc<dyn Store>, now: Option<Box<dyn Fn() -> u64 + Send + Sync>>) -> Self {
        ServerClock { inner, now }
    }

    async fn reading(&self, _: &str) {}
}

impl Store for ServerClock {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        self.inner.commit(group)
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        self.inner.acquire(owner)
    }

    fn server_time(&self) -> Option<u64> {
        self.now.as_ref().map(|now| now())
    }

    forward_reads!();
}
