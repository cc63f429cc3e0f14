//! Builds that cannot continue a run. The run's row names them, and none of them claims the run again; any other build does.
//! The run is stuck if no worker that executes is of another build that has the workflow.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::inner::Inner;
use super::parts::roster::Roster;
use super::parts::stuck::Stuck;
use crate::error::{Code, Error, Result};
use crate::limits::REFUSALS_INTERVAL;
use crate::model::Status;
use crate::registry::registry;
use crate::store::{Refused, RowChange, RunRow, Unstick};
use crate::text::hex;

/// The name under which a build refuses runs: its deployment, and what distinguishes builds of one deployment. A run that was
/// recovered too often is continued with a larger limit, too.
pub(super) fn refuser(deployment: &str, recoveries_max: u32) -> Arc<str> {
    let digest = Sha256::digest(format!("{}/{recoveries_max}", registry().build));
    format!("{deployment} {}", hex(&digest[..6])).into()
}

/// The builds that have refused a run. Encoded as their names in order, one a line: a name has no control characters.
struct Refusers<'r>(BTreeSet<&'r str>);

impl<'r> Refusers<'r> {
    fn of(encoded: Option<&'r str>) -> Self {
        Refusers(encoded.into_iter().flat_map(str::lines).collect())
    }

    fn encode(&self) -> Arc<str> {
        self.0.iter().copied().collect::<Vec<_>>().join("\n").into()
    }
}

/// The refused runs that an engine claims.
#[derive(Clone, Default)]
pub(super) struct Taken {
    /// Their refusers.
    pub by: Arc<[Arc<str>]>,
    /// The refusers of those that are claimed only if they require the deployment of the engine.
    pub bound: Arc<[Arc<str>]>,
    /// When the engine last looked for runs that it has refused, and that no other build can take any more.
    checked: Option<u64>,
}

impl Taken {
    /// Whether all these runs are among others.
    pub fn is_within(&self, other: &Taken) -> bool {
        let bound = |by| other.bound.contains(by) || other.by.contains(by);
        self.by.iter().all(|by| other.by.contains(by)) && self.bound.iter().all(bound)
    }
}

impl Inner {
    /// How a run's row changes when this build cannot continue the run: the run is left to another build, or it is stuck.
    /// `grows` says whether the same turn appends to its journal: earlier refusals are void then.
    pub(super) async fn refuse(&self, id: &Arc<str>, error: Error, grows: bool) -> RowChange {
        // If these cannot be read, the run is stuck, and a build that can continue it takes it all the same.
        let row = self.row(id).await.unwrap_or_default();
        let roster = self.roster().await.ok();
        let before = row.as_ref().filter(|_| !grows).and_then(|row| row.refused_by.as_deref());
        let mut refusers = Refusers::of(before);
        refusers.0.insert(&self.refuser);
        let others: Vec<&str> = match (&row, &roster) {
            (Some(row), Some(roster)) => roster.takers(&row.workflow, row.required_deployment.as_deref()).collect(),
            _ => Vec::new(),
        };
        let is_of_build = !matches!(error.code(), Code::Recoveries | Code::Damaged);
        if let Some(row) = row.as_ref().filter(|_| is_of_build)
            && others.iter().any(|other| !refusers.0.contains(other))
        {
            tracing::warn!(run = %id, ?error, "this build cannot continue the run; another build may continue it");
            return released(row, refusers.encode());
        }
        if !is_of_build {
            // The same would happen to the builds that are alive. A later one tries again.
            refusers.0.extend(others);
        }
        tracing::error!(run = %id, ?error, "the run is stuck");
        RowChange { refused_by: Some(refusers.encode()), ..Stuck::park(error.run(id)) }
    }

    /// Makes the runs due that are stuck because other builds have refused them: this build may be able to continue them.
    pub(super) async fn unstick(&self, refused: &[Refused]) -> Result<()> {
        let workflows = self.queues.with(&self.workflows);
        let stuck = refused.iter().filter(|it| it.stuck && workflows.contains(&&*it.workflow) && !self.has_refused(it));
        let refused: BTreeSet<&Arc<str>> = stuck.map(|it| &it.by).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let refused = refused.into_iter().cloned().collect();
        let unstick = Unstick { refused, workflows, deployment: self.settings.deployment.clone() };
        self.batcher.send(unstick).await.map_err(|failed| failed.error)
    }

    /// Finds the refused runs that this engine is to claim. They are the runs that other builds have refused and, once in a
    /// while, those that this one has refused and that no other build can take any more: they are refused again, and are stuck
    /// then.
    pub(super) async fn take_refused(&self, refused: &[Refused], taken: &mut Taken) -> Result<()> {
        self.unstick(refused).await?;
        let known = self.queues.with(&self.workflows);
        let refused = refused.iter().filter(|it| known.contains(&&*it.workflow));
        let (own, foreign): (Vec<&Refused>, Vec<&Refused>) = refused.partition(|it| self.has_refused(it));
        let mut by: BTreeSet<&Arc<str>> = foreign.iter().map(|it| &it.by).collect();
        let mut bound: BTreeSet<&Arc<str>> = BTreeSet::new();
        let (now, interval) = (self.clock.now(), self.clock.interval(REFUSALS_INTERVAL).as_millis() as u64);
        if !own.is_empty() && taken.checked.is_none_or(|at| now >= at.saturating_add(interval)) {
            taken.checked = Some(now);
            let roster = self.roster().await?;
            let is_left = |it: &Refused, required: Option<&str>| {
                let refusers = Refusers::of(Some(&it.by));
                !roster.takers(&it.workflow, required).any(|other| !refusers.0.contains(other))
            };
            // A run that requires the deployment has fewer takers than one that requires none.
            for it in own.iter().filter(|it| is_left(it, Some(&self.settings.deployment))) {
                if is_left(it, None) {
                    by.insert(&it.by)
                } else {
                    bound.insert(&it.by)
                };
            }
        }
        bound.retain(|it| !by.contains(it));
        taken.bound = bound.into_iter().cloned().collect();
        taken.by = by.into_iter().cloned().collect();
        Ok(())
    }

    /// Whether this build is among those that have refused these runs.
    fn has_refused(&self, refused: &Refused) -> bool {
        Refusers::of(Some(&refused.by)).0.contains(&*self.refuser)
    }
}

/// The run has no owner, is due, and has these refusers.
fn released(row: &RunRow, refused_by: Arc<str>) -> RowChange {
    let status = if row.status == Status::Stuck { Status::Running } else { row.status };
    RowChange {
        status,
        wake_at: Some(0),
        started_at: None,
        completed_at: None,
        stuck: None,
        error: row.error.clone(),
        refused_by: Some(refused_by),
    }
}

impl Roster {
    /// The builds of the workers that execute and have a workflow, by the names under which they refuse runs. A worker that
    /// has not published what it has is not among them: it looks for the runs that it can take, also for those that are stuck.
    fn takers<'r>(&'r self, workflow: &'r str, required: Option<&'r str>) -> impl Iterator<Item = &'r str> {
        self.executing(workflow, required).filter_map(|serves| serves.build.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_builds_are_encoded_alike() {
        let mut one = Refusers::of(Some("b 1"));
        one.0.insert("a 2");
        let mut other = Refusers::of(Some("a 2"));
        other.0.insert("b 1");
        other.0.insert("a 2");
        assert_eq!(one.encode(), other.encode());
        assert_eq!(&*one.encode(), "a 2\nb 1");
        assert!(!Refusers::of(Some("a 22\nb")).0.contains("a 2"));
        assert!(Refusers::of(None).0.is_empty());
    }
}
