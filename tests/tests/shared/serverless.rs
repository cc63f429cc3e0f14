//! A store without a server's clock.

use std::sync::Arc;

use futures::future::BoxFuture;
use workflow_runtime::Error;
use workflow_runtime::store::*;

/// A store that does not say what its server's clock shows: the engine's environment decides what time it is.
pub struct Serverless {
    inner: Arc<dyn Store>,
}

impl Serverless {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Serverless { inner }
    }

    async fn reading(&self, _: &str) {}
}

impl Store for Serverless {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        self.inner.commit(group)
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        self.inner.acquire(owner)
    }

    forward_reads!();
}
