//! A client: it starts runs, waits for them and sends to them, and executes none.

use std::sync::Arc;

use super::{Builder, Inner, ambient};
use crate::error::Result;

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

/// Stops the engine when its last user has dropped it; the engine's own tasks hold only [`Inner`].
pub(super) struct Handle {
    pub inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl Client {
    /// Connects to a store by its URL, as [`Engine::open`](super::Engine::open) does.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`](crate::Code::InvalidUrl), [`Code::Store`](crate::Code::Store),
    /// [`Code::NewerStore`](crate::Code::NewerStore) or [`Code::StoreReplaced`](crate::Code::StoreReplaced) if the store cannot be used.
    pub async fn connect(url: &str) -> Result<Client> {
        Builder::default().url(url).connect().await
    }

    /// Makes this the client behind the free functions, such as [`start`](crate::start).
    ///
    /// # Errors
    ///
    /// If another engine or client is installed and still open.
    pub fn install(self) -> Result<Client> {
        ambient::install(self.clone())?;
        Ok(self)
    }

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
