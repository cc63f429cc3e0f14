//! The methods of a [`Client`] that return handles.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::catalog::AnyWorkflow;
use super::resume::ResumeHook;
use super::run::Run;
use super::runs::Runs;
use super::start::{CreateRun, Start};
use crate::definition::{Workflow, WorkflowFn};
use crate::engine::Client;
use crate::error::{Failure, Result};
use crate::model::{DeploymentInfo, Health, HookInfo, WorkerInfo};
use crate::names::{self, TOKEN};

impl Client {
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
    pub fn get_run<T: DeserializeOwned, E: Failure>(&self, id: impl Into<String>) -> Run<T, E> {
        Run::new(Some(self.clone()), Arc::from(id.into()))
    }

    /// Sends a payload to a hook: see [`resume_hook`](crate::resume_hook).
    pub fn resume_hook<T: Serialize + ?Sized>(&self, token: impl Into<String>, payload: &T) -> ResumeHook {
        ResumeHook::new(Some(self.clone()), token.into(), payload)
    }

    /// A query for runs, to filter, list and count them: see [`runs`](crate::runs()).
    pub fn runs(&self) -> Runs {
        Runs::new(Some(self.clone()))
    }

    /// Drains a deployment: its workers claim only runs that are [bound](crate::Start::deployment) to it, and return
    /// other runs to the store when these leave memory. If one of its engines starts a run that is not bound, an engine
    /// of another deployment executes it. [`Deployment::Latest`](crate::Deployment::Latest) does not select a drained
    /// deployment. It stays drained over restarts, until [`undrain`](Client::undrain). The store may forget this a week
    /// after the last worker of the deployment was opened.
    ///
    /// # Errors
    ///
    /// [`Code::DeploymentNotFound`](crate::Code::DeploymentNotFound) if the store does not know it, or if the store
    /// cannot be written.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::builder().url("memory:").deployment("v6").open().await?;
    /// engine.drain("v6").await?;
    /// assert!(engine.deployments().await?[0].is_draining);
    /// engine.undrain("v6").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(&self, deployment: &str) -> Result<()> {
        self.inner().drain(deployment, true).await
    }

    /// Lets a [drained](Client::drain) deployment claim all runs again.
    ///
    /// # Errors
    ///
    /// As for [`drain`](Client::drain).
    pub async fn undrain(&self, deployment: &str) -> Result<()> {
        self.inner().drain(deployment, false).await
    }

    /// Makes a deployment the [latest](crate::Deployment::Latest) one until another one is promoted, for example after a
    /// rollback of a deploy. While it is [drained](Client::drain), or has no live worker with the workflow of a start,
    /// the start uses the deployment that was activated last.
    ///
    /// # Errors
    ///
    /// [`Code::DeploymentNotFound`](crate::Code::DeploymentNotFound) if the store does not know it, or if the store
    /// cannot be written.
    pub async fn promote(&self, deployment: &str) -> Result<()> {
        self.inner().promote(deployment).await
    }

    /// Releases all unfinished runs that are [bound](crate::Start::deployment) to a deployment: any deployment that has
    /// their workflows can execute them from then on. Returns their number. Runs are released only by such a call: they
    /// stay bound to a deployment whose last worker is gone. The call releases a thousand runs at a time; if it is
    /// interrupted, repeat it.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub async fn release(&self, deployment: &str) -> Result<u64> {
        self.inner().release_deployment(deployment).await
    }

    /// Releases one run from the deployment that it is [bound](crate::Start::deployment) to. Returns whether it was bound
    /// to one and has not ended.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub async fn release_run(&self, run: &str) -> Result<bool> {
        self.inner().release_run(run).await
    }

    /// The workers of the store: the engines in all processes that execute runs, or wait to do so.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::builder().url("memory:").deployment("v7").open().await?;
    /// let workers = engine.workers().await?;
    /// assert_eq!(workers[0].deployment.as_deref(), Some("v7"));
    /// assert!(workers[0].is_alive && workers[0].executes);
    /// # engine.shutdown().await
    /// # }
    /// ```
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        self.inner().workers().await
    }

    /// Lets another process execute, on a SQLite store, on which one process executes at a time: for two programs on one file, if
    /// the executing one lacks workflows of the other. Asks the process that executes, through the store, and returns the worker
    /// that executes afterwards. [`Waiting::OtherWorkerExecutes`](crate::Waiting::OtherWorkerExecutes) names the candidates.
    ///
    /// The process ends its attempts as [`shutdown`](crate::Engine::shutdown) does: it waits for them for up to ten seconds, then
    /// aborts them; the next process attempts these steps again, and continues timers at their deadlines. Then it releases its runs
    /// and stays open: it starts runs and waits for them, and executes again when the other process ends or yields. If no other
    /// process has begun to execute after five seconds, it executes again. If it dies meanwhile, another process takes over at once.
    /// Dropping the future does not withdraw the request.
    ///
    /// # Errors
    ///
    /// [`Code::CannotYield`](crate::Code::CannotYield) if no process executes, if no other live worker waits for the right to execute
    /// (as always on PostgreSQL), or if none has acquired it in time; [`Code::Timeout`](crate::Code::Timeout) if the process has not
    /// yielded within 40 seconds; or if the store cannot be used.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let url = format!("sqlite:{}/workflow.db", directory.path().display());
    /// let orders = Engine::builder().url(&url).deployment("orders").open().await?;
    /// let reports = Engine::builder().url(&url).deployment("reports").open().await?;
    /// let executing = orders.yield_execution().await?;
    /// assert_eq!(executing.deployment.as_deref(), Some("reports"));
    /// assert!(reports.health().await?.executes);
    /// # orders.shutdown().await?;
    /// # reports.shutdown().await
    /// # }
    /// ```
    pub async fn yield_execution(&self) -> Result<WorkerInfo> {
        self.inner().yield_execution().await
    }

    /// The deployments of the store, each with the workflows and steps of its build, whether this build has them or not.
    /// A deployment without workers is removed from the list when another engine opens.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, workflow};
    /// # #[workflow(id = "hello")] async fn hello() -> Result<()> { Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::builder().url("memory:").deployment("v7").open().await?;
    /// for deployment in engine.deployments().await? {
    ///     println!("{}: {} workers", deployment.id, deployment.workers);
    ///     for workflow in deployment.catalogue.workflows {
    ///         println!("  {} at {}:{}", workflow.id, workflow.file, workflow.line);
    ///     }
    /// }
    /// # engine.shutdown().await
    /// # }
    /// ```
    pub async fn deployments(&self) -> Result<Vec<DeploymentInfo>> {
        self.inner().deployments().await
    }

    /// Checks that the engine or client is open and that its store answers within five seconds, for a readiness probe. An
    /// engine that does not execute at the moment is healthy, too: it can start runs, which another engine executes.
    ///
    /// # Errors
    ///
    /// [`Code::Closed`](crate::Code::Closed) once it is shut down, also while [`shutdown`](crate::Engine::shutdown) waits
    /// for steps; [`Code::Store`](crate::Code::Store) or [`Code::StoreReplaced`](crate::Code::StoreReplaced) if the store
    /// cannot be used.
    ///
    /// ```
    /// # use workflow_runtime::{Code, Engine, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::open("memory:").await?;
    /// assert!(engine.health().await?.executes);
    /// engine.shutdown().await?;
    /// assert_eq!(engine.health().await.unwrap_err().code(), Code::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn health(&self) -> Result<Health> {
        self.inner().health().await
    }

    /// Looks up a hook by its token: see [`get_hook`](crate::get_hook).
    ///
    /// # Errors
    ///
    /// [`Code::HookNotFound`](crate::Code::HookNotFound), or if the store cannot be read.
    pub async fn get_hook(&self, token: &str) -> Result<HookInfo> {
        names::check_own(TOKEN, token)?;
        self.inner().hook_info(token).await
    }
}
