//! A client: it starts runs, waits for them and sends to them, and executes none.

use std::sync::Arc;

use super::inner::{Handle, Inner};

/// Starts runs, waits for them, sends to them and reads their data, but executes none: an [`Engine`](super::Engine)
/// elsewhere on the same store executes them. For a web server beside its workers. Cheap to clone.
///
/// It needs no resources. It uses the workflows of its build only for their types.
///
/// ```
/// # use workflow_runtime::{Client, Engine, Result, workflow};
/// # #[workflow] async fn hello(name: String) -> Result<String> { Ok(format!("hello {name}")) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let url = format!("sqlite:{}/workflow.db", directory.path().display());
/// let client = Client::connect(&url).await?;
/// let run = client.start(hello, "world".to_owned()).await?;
/// assert_eq!(run.status().await?.as_str(), "pending");
/// let worker = Engine::open(&url).await?; // in another process
/// assert_eq!(run.await?, "hello world");
/// # worker.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(super) handle: Arc<Handle>,
}

impl Client {
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }

    pub(super) fn is_open(&self) -> bool {
        !self.handle.inner.stopped.is_cancelled()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
