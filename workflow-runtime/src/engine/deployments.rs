//! The deployments that runs are bound to: which one a start names, and what their operators do.

use std::sync::Arc;

use super::assembly;
use super::inner::Inner;
use super::parts::resend::Sender as _;
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::limits::RELEASED_RUNS;
use crate::model::Deployment;
use crate::names;
use crate::replay::Continued;
use crate::store::Deploy;
use crate::text::excerpt;

impl Inner {
    /// The deployment that a run requires, if its start names `asked`: `None` if any can execute it. Unless it `waits`, a live
    /// worker of the deployment must have the workflow.
    pub(super) async fn required(
        &self,
        definition: &WorkflowDefinition,
        asked: Option<&Deployment>,
        waits: bool,
    ) -> Result<Option<Arc<str>>> {
        let bound = if definition.pinned { Deployment::Current } else { Deployment::Any };
        let required = match asked.unwrap_or(&bound) {
            Deployment::Any => return Ok(None),
            Deployment::Latest => match self.latest(definition).await? {
                Some(latest) => return Ok(Some(latest)),
                None => {
                    return Err(no_deployment(definition)
                        .expected("a live worker that has the workflow, of a deployment that is not drained")
                        .found(self.alive().await?)
                        .help("open a worker that has the workflow, or start the run with `Deployment::Any`"));
                }
            },
            Deployment::Current => self.own_deployment()?,
            Deployment::Id(id) => names::check("the id of a deployment", id).map(|()| id.clone())?,
        };
        // An engine that executes is a live worker itself.
        let is_here = self.settings.executes && *required == *self.settings.deployment;
        if waits || is_here || self.roster().await?.has_in(definition.source.id, &required) {
            return Ok(Some(required));
        }
        if self.roster().await?.deployments().any(|id| *id == *required)
            && let Some(error) = self.lacks(definition, &required).await?
        {
            return Err(error);
        }
        Err(no_deployment(definition)
            .expected(format!("a live worker of the deployment `{}` that has the workflow", excerpt(&required)))
            .found(self.alive().await?)
            .help(
                "a program that starts runs and a worker that executes them are two binaries, and have two derived ids: set \
                 WORKFLOW_DEPLOYMENT in both; or let the run wait for such a worker by `.wait_for_deployment()`",
            ))
    }

    /// The id of the deployment of this process.
    fn own_deployment(&self) -> Result<Arc<str>> {
        match self.settings.executes {
            true => Ok(self.settings.deployment.clone()),
            false => assembly::deployment(&self.settings.deployment),
        }
    }

    /// The latest deployment whose live workers have a workflow.
    async fn latest(&self, definition: &WorkflowDefinition) -> Result<Option<Arc<str>>> {
        let (roster, deployments) = (self.roster().await?, self.store.deployments().await?);
        let able = deployments.into_iter().filter(|it| !it.draining && roster.has_in(definition.source.id, &it.id));
        let latest = able.max_by(|a, b| (a.promoted, a.activated_at, &a.id).cmp(&(b.promoted, b.activated_at, &b.id)));
        Ok(latest.map(|latest| latest.id))
    }

    /// Determines the deployment of the next generation of a run, if that is the latest one. It stays open if there is none.
    pub(super) async fn find_latest(&self, definition: &WorkflowDefinition, continued: &mut Option<Continued>) {
        let Some(Continued { deployment: Some(deployment @ Deployment::Latest), .. }) = continued else { return };
        loop {
            match self.latest(definition).await {
                Ok(Some(latest)) => *deployment = Deployment::Id(latest),
                Ok(None) => {
                    let workflow = definition.source.id;
                    tracing::warn!(
                        workflow,
                        "no deployment is the latest one: a run that continues as new stays bound to its own"
                    );
                }
                // The turn cannot be committed either as long as the store does not answer.
                Err(error) if !self.gives_up_after(&error) && self.before_next_attempt().await => continue,
                Err(_) => {}
            }
            return;
        }
    }

    /// The live deployments, in words.
    pub(super) async fn alive(&self) -> Result<String> {
        let roster = self.roster().await?;
        let ids: Vec<String> = roster.deployments().map(|id| format!("`{}`", excerpt(id))).collect();
        Ok(if ids.is_empty() { "no live worker".to_owned() } else { format!("live deployments: {}", ids.join(", ")) })
    }

    /// Whether this engine may take the first turn of a run.
    pub(super) fn may_begin(&self, required: Option<&str>) -> bool {
        match required {
            Some(required) => *required == *self.settings.deployment,
            None => !self.is_drained.load(std::sync::atomic::Ordering::Acquire),
        }
    }

    pub(crate) async fn drain(&self, deployment: &str, on: bool) -> Result<()> {
        self.change_deployment(deployment, Deploy::Drain { deployment: deployment.into(), on }).await
    }

    pub(crate) async fn promote(&self, deployment: &str) -> Result<()> {
        self.change_deployment(deployment, Deploy::Promote { deployment: deployment.into() }).await
    }

    async fn change_deployment(&self, id: &str, change: Deploy) -> Result<()> {
        self.check_open()?;
        let changed = self.store.deploy(&change).await?;
        self.activations.miss();
        if changed == 0 {
            return Err(Error::coded(Code::DeploymentNotFound, format!("there is no deployment `{}`", excerpt(id)))
                .found(self.alive().await?)
                .help("`client.deployments()` lists the deployments of the store"));
        }
        Ok(())
    }

    /// Releases all runs that require a deployment. Returns their number.
    pub(crate) async fn release_deployment(&self, deployment: &str) -> Result<u64> {
        self.check_open()?;
        let change = Deploy::Release { deployment: deployment.into(), limit: RELEASED_RUNS };
        let mut released = 0;
        loop {
            let some = self.store.deploy(&change).await?;
            released += some;
            if some == 0 {
                self.activations.miss();
                return Ok(released);
            }
        }
    }

    /// Releases one run from the deployment that it requires. Returns whether it required one.
    pub(crate) async fn release_run(&self, run: &str) -> Result<bool> {
        self.check_open()?;
        let released = self.store.deploy(&Deploy::ReleaseRun { run: run.into() }).await.map_err(|it| it.run(run))?;
        self.activations.miss();
        Ok(released > 0)
    }

    /// Warns of runs that wait for a deployment without a live worker.
    pub(super) async fn warn_of_bound_runs(&self) {
        if !self.settings.executes {
            return;
        }
        let (Ok(roster), Ok(deployments)) = (self.roster().await, self.store.deployments().await) else { return };
        for row in deployments.into_iter().filter(|row| row.required_by > 0) {
            if !roster.deployments().any(|id| *id == *row.id) {
                let deployment = excerpt(&row.id);
                let help =
                    format!("open a worker of it, or release its runs: workflow deployments release {deployment}");
                tracing::warn!(%deployment, runs = row.required_by, help, "runs wait for a deployment that has no live worker");
            }
        }
    }
}

fn no_deployment(definition: &WorkflowDefinition) -> Error {
    let text = format!("no deployment can execute the new run of workflow `{}`", definition.source.id);
    Error::coded(Code::DeploymentNotFound, text)
}
