//! What a person can do about a stuck run: the help of its error, and the deployments that have the code with which it was
//! started.

use std::fmt;

use crate::model::{DeploymentInfo, Waiting};
use crate::store::RunRow;
use crate::text::excerpt;

/// A deployment with the code with which a run was started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    pub deployment: String,
    workers: usize,
    is_draining: bool,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deployment `{}`", excerpt(&self.deployment))?;
        match (self.workers, self.is_draining) {
            (0, _) => f.write_str(", which has no live worker"),
            (_, true) => f.write_str(", which is drained"),
            _ => Ok(()),
        }
    }
}

/// The deployments whose builds have the workflow with the fingerprint that it had when the run was started, and that may
/// take the run and have not refused it.
pub(crate) fn of(row: &RunRow, deployments: &[DeploymentInfo]) -> Vec<Fit> {
    // A build refuses a run under the id of its deployment and a digest.
    let refused: Vec<&str> = row.refused_by.iter().flat_map(|by| by.lines()).filter_map(deployment_of).collect();
    let has_it = |deployment: &&DeploymentInfo| {
        let mut workflows = deployment.catalogue.workflows.iter();
        workflows.any(|it| {
            let is_it = *it.id == *row.workflow || it.was.iter().any(|was| **was == *row.workflow);
            is_it && *it.fingerprint == *row.fingerprint
        })
    };
    let may = |deployment: &&DeploymentInfo| {
        let is_bound_to_it = row.required_deployment.as_ref().is_none_or(|required| **required == *deployment.id);
        is_bound_to_it && !refused.contains(&&*deployment.id)
    };
    let fits = deployments.iter().filter(has_it).filter(may);
    fits.map(|it| Fit { deployment: it.id.clone(), workers: it.workers, is_draining: it.is_draining }).collect()
}

/// The deployments in one line.
pub(crate) fn words(fits: &[Fit]) -> String {
    match fits.is_empty() {
        true => "no other deployment has the code with which the run was started".to_owned(),
        false => fits.iter().map(Fit::to_string).collect::<Vec<_>>().join("; "),
    }
}

fn deployment_of(refuser: &str) -> Option<&str> {
    refuser.rsplit_once(' ').map(|(deployment, _)| deployment)
}

/// What the error of a stuck run says of its place and of the remedy, by their names: `operation`, `expected`, `found` and
/// `help`.
pub(crate) fn remedy(waiting: &Waiting) -> Vec<(&'static str, &str)> {
    let Waiting::Stuck { details, .. } = waiting else { return Vec::new() };
    let parts = details.lines().filter_map(|line| line.trim_start().split_once(": "));
    let named =
        |(name, text)| ["operation", "expected", "found", "help"].into_iter().find(|it| *it == name).zip(Some(text));
    parts.filter_map(named).collect()
}

#[cfg(test)]
mod tests;
