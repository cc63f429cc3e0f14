//! Starting runs, waiting for them and sending to them, without executing any.

use std::sync::Arc;

use serde::Serialize;

use super::{Builder, Inner, ambient};
use crate::catalog::AnyWorkflow;
use crate::error::Result;
use crate::names::{self, TOKEN};
use crate::resume::{HookInfo, ResumeHook};
use crate::run::Run;
use crate::runs::Runs;
use crate::start::{CreateRun, Start};
use crate::workflow::{Workflow, WorkflowFn};

/// Starts runs, waits for them, sends to them and reads what they tell, and executes none: an [`Engine`](super::Engine)
/// somewhere else on the same store does. For a web server beside its workers. Cheap to clone.
///
/// It needs no resources, and has the workflows of its build only to know their types.
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

/// Stops the engine when the last user of it is gone; the engine's own tasks hold [`Inner`] only.
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
    /// [`Code::InvalidUrl`](crate::Code::InvalidUrl), [`Code::Store`](crate::Code::Store) or
    /// [`Code::NewerStore`](crate::Code::NewerStore) if the store cannot be used.
    pub async fn connect(url: &str) -> Result<Client> {
        Builder::default().url(url).connect().await
    }

    /// Starts a run: see [`start`](crate::start).
    pub fn start<F, P>(&self, _workflow: F, args: <F::Workflow as Workflow>::Args) -> Start<F::Workflow>
    where
        F: WorkflowFn<P>,
    {
        Start::new(Some(self.clone()), args)
    }

    /// Starts a run of the workflow with this id: see [`start_by_id`](crate::start_by_id).
    pub fn start_by_id(&self, workflow: &str, args: serde_json::Value) -> Start<AnyWorkflow> {
        Start::by_id(Some(self.clone()), workflow, args)
    }

    /// Creates a run that is started later: see [`create_run`](crate::create_run).
    pub fn create_run<F, P>(&self, _workflow: F) -> CreateRun<F::Workflow>
    where
        F: WorkflowFn<P>,
    {
        CreateRun::new(Some(self.clone()))
    }

    /// A handle on a run by its id: see [`get_run`](crate::get_run).
    pub fn get_run<T, E>(&self, id: impl Into<String>) -> Run<T, E> {
        Run::new(Some(self.clone()), Arc::from(id.into()))
    }

    /// Sends a payload to a hook: see [`resume_hook`](crate::resume_hook).
    pub fn resume_hook<T: Serialize + ?Sized>(&self, token: impl Into<String>, payload: &T) -> ResumeHook {
        ResumeHook::new(Some(self.clone()), token.into(), payload)
    }

    /// The runs that there are, to be filtered, listed and counted: see [`runs`](crate::runs()).
    pub fn runs(&self) -> Runs {
        Runs::new(Some(self.clone()))
    }

    /// Looks a hook up by its token: see [`get_hook`](crate::get_hook).
    ///
    /// # Errors
    ///
    /// [`Code::HookNotFound`](crate::Code::HookNotFound), or if the store cannot be read.
    pub async fn get_hook(&self, token: &str) -> Result<HookInfo> {
        names::check_own(TOKEN, token)?;
        self.inner().hook_info(token).await
    }

    /// Makes this the client behind the free functions, such as [`start`](crate::start).
    ///
    /// # Errors
    ///
    /// If another engine or client that is still open has that place.
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
