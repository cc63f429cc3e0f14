//! Runs that no live worker can execute: reports of them, and waits that end with them.
//!
//! What is stranded is seen in the lists of workers and of what can be claimed. Nothing is recorded: a process that ends before a
//! report has succeeded leaves it to the next look, of this engine or of another one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::builder::Builder;
use super::inner::Inner;
use super::parts::callbacks::call_each;
use super::parts::finished::Finished;
use super::parts::missing::not_found;
use super::parts::resend::Sender as _;
use super::parts::roster::Has;
use crate::error::{Code, Error, Result};
use crate::limits::{STRANDED_INTERVAL, STRANDED_LOOK_INTERVAL};
use crate::model::{Status, Stranded};
use crate::registry::queue;

impl Builder {
    /// Calls a function when there are unfinished runs that no live worker can execute: after a deploy that has dropped their
    /// workflow, or has replaced the last worker of the deployment that they are bound to. Can be called more than once.
    ///
    /// Each engine that executes looks once a minute, and calls its functions when it has found the same twice: workers that are
    /// replaced within a minute cause no call. It calls them once for each [`Stranded`], however many runs that are, and again
    /// if a worker could execute the runs in between and they are stranded again. If a function fails, panics, or takes longer than 45 seconds,
    /// the engine calls all of them again a minute later. Each engine of a store calls its own functions, also one that is
    /// opened later. A process that executes nothing, and a store without any live worker, calls none.
    ///
    /// To wait for a run that may be stranded use [`Run::until_stranded`](crate::Run::until_stranded).
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, Stranded};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::builder()
    ///     .url("memory:")
    ///     .on_stranded(|stranded| async move {
    ///         eprintln!("{stranded}"); // deployment `v7`, to which runs are bound, has no live worker
    ///         if let Stranded::NoDeployment { deployment } = stranded {
    ///             eprintln!("to let other builds continue them: workflow deployments release {deployment}");
    ///         }
    ///         Ok(())
    ///     })
    ///     .open()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_stranded<F, U>(mut self, report: F) -> Self
    where
        F: Fn(Stranded) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.settings.reports.push(Arc::new(move |stranded| Box::pin(report(stranded))));
        self
    }
}

impl Inner {
    /// The runs that no live worker can execute, by what they lack.
    async fn stranded(&self) -> Result<BTreeSet<Stranded>> {
        let roster = self.roster().await?;
        // No deployment has this id: these are the runs that are bound to none.
        let unbound = self.store.claimable("").await?.due;
        let lacking = unbound.keys().filter(|workflow| matches!(roster.has(workflow, None), Has::Nobody));
        let mut stranded: BTreeSet<Stranded> = lacking
            .map(|workflow| match queue::parse_id(workflow) {
                Some((queue, _)) => Stranded::NoQueue { queue: queue.to_owned() },
                None => Stranded::NoWorkflow { workflow: workflow.to_string() },
            })
            .collect();
        let bound = self.store.deployments().await?.into_iter().filter(|row| row.required_by > 0);
        let dead = bound.filter(|row| !roster.deployments().any(|id| *id == *row.id));
        stranded.extend(dead.map(|row| Stranded::NoDeployment { deployment: row.id.to_string() }));
        Ok(stranded)
    }

    /// Looks for stranded runs while the engine is open.
    pub(super) fn watch_stranded(self: &Arc<Self>) {
        if self.settings.executes && !self.settings.reports.is_empty() {
            self.tasks.spawn_on(run(self.clone()), &self.runtime);
        }
    }

    /// Calls all functions, one after the other.
    async fn report(&self, stranded: &Stranded) -> Result<()> {
        let calls = self.settings.reports.iter().map(|report| || report(stranded.clone()));
        let late = ("the functions for stranded runs", "let a function spawn what takes long");
        call_each(&*self.environment, late, calls).await
    }

    /// Whether a run is unfinished, and no live worker can execute it.
    async fn is_stranded(&self, id: &Arc<str>) -> Result<bool> {
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        if row.status.is_terminal() || row.status == Status::Stuck || row.has_not_begun() {
            return Ok(false);
        }
        let roster = self.roster().await?;
        let has = roster.has(&row.workflow, row.required_deployment.as_deref());
        Ok(matches!(has, Has::Nobody) && !roster.holds(row.fence.owner))
    }

    /// Waits for the end of a run, until no live worker could execute it for this time.
    pub(crate) async fn wait_until_stranded(&self, id: &Arc<str>, most: Duration) -> Result<Finished> {
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let stranded = async {
            let mut since = None;
            loop {
                let now = self.environment.monotonic();
                let left = match self.is_stranded(id).await? {
                    true => most_ms.saturating_sub(now.saturating_sub(*since.get_or_insert(now))),
                    false => {
                        since = None;
                        most_ms
                    }
                };
                if since.is_some() && left == 0 {
                    return Err::<Finished, Error>(is_stranded_error(id, most));
                }
                let look = self.clock.interval(STRANDED_LOOK_INTERVAL);
                self.environment.sleep(look.min(Duration::from_millis(left.max(1)))).await;
            }
        };
        match select(std::pin::pin!(self.wait(id)), std::pin::pin!(stranded)).await {
            Either::Left((ended, _)) | Either::Right((ended, _)) => ended,
        }
    }
}

fn is_stranded_error(id: &str, most: Duration) -> Error {
    Error::coded(Code::Stranded, "no live worker can execute the run")
        .run(id)
        .expected("a worker that has its workflow and is of the deployment that it is bound to, if it is bound to one")
        .found(format!("none for {most:?}"))
        .help(
            "the run continues when such a worker opens; `run.waiting()` names the workflow and the deployment, and \
             `client.release_run(id)` lets any deployment continue a bound run",
        )
}

async fn run(engine: Arc<Inner>) {
    let (mut seen, mut reported) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let pause = engine.clock.interval(STRANDED_INTERVAL);
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => return,
            () = engine.environment.sleep(pause) => {}
        }
        if !engine.is_executing() {
            continue;
        }
        let stranded = match engine.stranded().await {
            Ok(stranded) => stranded,
            Err(error) if engine.gives_up_after(&error) => return,
            Err(error) => {
                tracing::warn!(?error, "could not read which runs no live worker can execute; trying again");
                continue;
            }
        };
        reported.retain(|it| stranded.contains(it));
        for it in stranded.iter().filter(|it| seen.contains(*it)) {
            if reported.contains(it) {
                continue;
            }
            tracing::warn!("{it}");
            match engine.report(it).await {
                Ok(()) => drop(reported.insert(it.clone())),
                Err(error) => tracing::warn!(?error, "a function for stranded runs has failed; it is called again"),
            }
        }
        seen = stranded;
    }
}
