//! The runs that no engine owns: which of them are due, and which builds have refused them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::run::Run;
use crate::model::Status;
use crate::store::{Claim, RunKey, RunRow};

#[derive(Clone, Debug, Default)]
pub struct Parked {
    /// The runs that can be claimed, ordered by their `wake_at`, for each workflow, required deployment and refusers.
    pub runs: BTreeMap<Kind, BTreeSet<(u64, RunKey)>>,
    /// The numbers of refused runs, and of those that are stuck, for each refusers and workflow.
    pub refused: BTreeMap<(Arc<str>, Arc<str>), (usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub workflow: Arc<str>,
    pub required: Option<Arc<str>>,
    pub refused: Option<Arc<str>>,
}

impl Kind {
    pub fn of(run: &Run) -> Self {
        let RunRow { workflow, required_deployment, refused_by, .. } = &run.row;
        Kind { workflow: workflow.clone(), required: required_deployment.clone(), refused: refused_by.clone() }
    }

    pub fn fits(&self, deployment: &str) -> bool {
        self.required.as_ref().is_none_or(|required| **required == *deployment)
    }
}

impl Parked {
    pub fn insert(&mut self, run: &Run) {
        if let Some(entry) = run.claimable() {
            self.runs.entry(Kind::of(run)).or_default().insert(entry);
        }
        if let Some(by) = &run.row.refused_by {
            let (refused, stuck) = self.refused.entry((by.clone(), run.row.workflow.clone())).or_default();
            *refused += 1;
            *stuck += usize::from(run.row.status == Status::Stuck);
        }
    }

    pub fn remove(&mut self, run: &Run) {
        if let Some(entry) = run.claimable() {
            let kind = Kind::of(run);
            if let Some(runs) = self.runs.get_mut(&kind) {
                runs.remove(&entry);
                if runs.is_empty() {
                    self.runs.remove(&kind);
                }
            }
        }
        if let Some(by) = &run.row.refused_by {
            let kind = (by.clone(), run.row.workflow.clone());
            if let Some((refused, stuck)) = self.refused.get_mut(&kind) {
                *refused -= 1;
                *stuck -= usize::from(run.row.status == Status::Stuck);
                if *refused == 0 {
                    self.refused.remove(&kind);
                }
            }
        }
    }

    /// The due runs: the longest overdue of each workflow, then the next of each.
    pub fn due(&self, claim: &Claim, draining: bool) -> Vec<RunKey> {
        let mut runs: BTreeMap<&str, Vec<(u64, RunKey)>> = BTreeMap::new();
        for (kind, parked) in &self.runs {
            let takes = kind.refused.as_ref().is_none_or(|refused| {
                claim.refused.contains(refused) || (kind.required.is_some() && claim.refused_bound.contains(refused))
            });
            let takes = takes && (kind.required.is_some() || !draining);
            if takes && claim.workflows.contains(&&*kind.workflow) && kind.fits(&claim.deployment) {
                let due = parked.range(..=(claim.now, RunKey::MAX)).take(claim.limit);
                runs.entry(&kind.workflow).or_default().extend(due);
            }
        }
        let mut due = Vec::new();
        for mut runs in runs.into_values() {
            runs.sort_unstable();
            due.extend(runs.into_iter().enumerate().map(|(place, (wake_at, key))| (place, wake_at, key)));
        }
        due.sort_unstable();
        due.into_iter().take(claim.limit).map(|(.., key)| key).collect()
    }
}
