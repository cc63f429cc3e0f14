//! What other deployments have published, for runs that are started for them.

use super::inner::Inner;
use crate::codec::Payload;
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::model::{Catalogue, CatalogueWorkflow};
use crate::registry::catalogue;
use crate::text::excerpt;

/// How many workflows an error lists.
const NAMES_MAX: usize = 8;

impl Inner {
    /// Refuses arguments that the workflow of another deployment cannot take, and those that a fork gives a step, as far as that
    /// deployment has published what it takes.
    pub(super) async fn check_arguments(
        &self,
        definition: &WorkflowDefinition,
        deployment: &str,
        args: Option<&Payload>,
        step: Option<(&str, &Payload)>,
    ) -> Result<()> {
        let Some(Catalogue { workflows, steps, .. }) = self.other_build(deployment).await? else { return Ok(()) };
        let workflow = workflows.iter().find(|workflow| is_of(workflow, definition));
        let step = step.and_then(|(id, input)| Some((steps.iter().find(|step| step.id == id)?, input)));
        let workflow = workflow.zip(args).map_or(Ok(()), |(workflow, args)| workflow.check(args));
        workflow.and_then(|()| step.map_or(Ok(()), |(step, input)| step.check(input))).map_err(|error| {
            error.context(format!("deployment `{}` cannot execute the run", excerpt(deployment))).help(
                "pass arguments that the types of that deployment accept; if its schema is stricter than its types, add \
                 `.unchecked()`",
            )
        })
    }

    /// The error of a start for a deployment that has live workers, but not the workflow. `None` if that is not known.
    pub(super) async fn lacks(&self, definition: &WorkflowDefinition, deployment: &str) -> Result<Option<Error>> {
        let Some(Catalogue { workflows, .. }) = self.other_build(deployment).await? else { return Ok(None) };
        if workflows.iter().any(|workflow| is_of(workflow, definition)) {
            return Ok(None);
        }
        let (id, deployment) = (definition.source.id, excerpt(deployment));
        let near: Vec<&str> = workflows.iter().map(|it| &*it.id).filter(|other| is_near(definition, other)).collect();
        let found = match near[..] {
            [] => {
                let more = if workflows.len() > NAMES_MAX { ", .." } else { "" };
                format!("its workflows: {}{more}", names(workflows.iter().map(|it| &*it.id)))
            }
            _ => format!("similar names: {}", names(near.iter().copied())),
        };
        let renamed = near.first().copied().unwrap_or("the_new_name");
        Ok(Some(
            Error::coded(Code::DeploymentNotFound, format!("deployment `{deployment}` does not have workflow `{id}`"))
                .found(found)
                .help(format!(
                    "start the run for a deployment that has the workflow; if it has another name there (`{renamed}`), give that \
                     function the option `was`: `#[workflow(was = \"{id}\")]`"
                )),
        ))
    }

    /// What a deployment has published. `None` if it has published nothing, or is the build of this process.
    async fn other_build(&self, deployment: &str) -> Result<Option<Catalogue>> {
        let rows = self.store.deployments().await?;
        let row = rows.into_iter().find(|row| *row.id == *deployment && row.catalogue != catalogue::encoded().0);
        // What a later version has published may be unreadable.
        Ok(row.and_then(|row| serde_json::from_str(&row.catalogue).ok()))
    }
}

fn is_of(workflow: &CatalogueWorkflow, definition: &WorkflowDefinition) -> bool {
    workflow.id == definition.source.id || workflow.was.iter().any(|was| was == definition.source.id)
}

/// Whether a workflow may be another name of this one: a former name, the same function elsewhere, or a longer or shorter name.
fn is_near(definition: &WorkflowDefinition, other: &str) -> bool {
    let function = |id: &str| id.rsplit("::").next().unwrap_or_default().to_owned();
    let (own, theirs) = (function(definition.source.id), function(other));
    definition.was.contains(&other) || own.contains(&theirs) || theirs.contains(&own)
}

fn names<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.take(NAMES_MAX).map(|id| format!("`{}`", excerpt(id))).collect::<Vec<_>>().join(", ")
}
