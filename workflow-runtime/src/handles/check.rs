//! Checks whether this build can continue unfinished runs, before it is deployed.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::runs::Runs;
use crate::engine::check::Verdict;
use crate::error::{Error, Result};
use crate::limits::{CHECKS_CONCURRENT, INCOMPATIBLE_KEPT, PAGE_RUNS_MAX};
use crate::store::{Position, RunRow};

/// The version of the JSON of a [`CheckReport`].
const SCHEMA: u32 = 1;

/// The result of [`Runs::check`].
///
/// Its JSON has these fields and `"schema": 1`; a later version of the library may add fields. `Display` prints the
/// numbers, then each incompatible run with its error.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    schema: u32,
    /// How many unfinished runs were checked.
    pub checked: u64,
    /// How many of them this build continues.
    pub compatible: u64,
    /// How many ended, or began another generation, during the check. They are neither compatible nor incompatible.
    pub moved: u64,
    /// How many of them this build cannot continue.
    pub incompatible: u64,
    /// The first 1,000 incompatible runs.
    pub runs: Vec<Incompatible>,
    /// The branches of the compatible runs, by the name of the [`patched`](crate::patched) call. Runs that have not reached
    /// a patch do not count. If no run is on the old branch of a patch and every earlier build is gone, `patched` can
    /// become [`deprecated_patch`](crate::deprecated_patch).
    pub patches: BTreeMap<String, PatchedRuns>,
}

/// How many runs are on each branch of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PatchedRuns {
    /// Runs that take the old branch.
    pub old: u64,
    /// Runs that take the new branch.
    pub new: u64,
}

/// A run that this build cannot continue.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Incompatible {
    /// The id of the run.
    pub run: String,
    /// The id of its workflow.
    pub workflow: String,
    /// How many times it has continued as new or was retried.
    pub generation: u64,
    /// The error with which the run would become stuck, or its step would fail.
    pub error: Error,
}

impl CheckReport {
    /// Whether this build continues every checked run.
    pub fn is_compatible(&self) -> bool {
        self.incompatible == 0
    }

    fn add(&mut self, row: &RunRow, verdict: Verdict) {
        self.checked += 1;
        match verdict {
            Verdict::Compatible(patches) => {
                self.compatible += 1;
                for (name, is_new) in patches {
                    let runs = self.patches.entry(name.into_owned()).or_default();
                    *if is_new { &mut runs.new } else { &mut runs.old } += 1;
                }
            }
            Verdict::Moved => self.moved += 1,
            Verdict::Incompatible(error) => {
                self.incompatible += 1;
                if self.runs.len() < INCOMPATIBLE_KEPT {
                    self.runs.push(Incompatible {
                        run: row.id.to_string(),
                        workflow: row.workflow.to_string(),
                        generation: row.generation,
                        error,
                    });
                }
            }
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { checked, compatible, moved, incompatible, .. } = self;
        write!(
            f,
            "checked {checked} unfinished runs: {compatible} compatible, {incompatible} incompatible, {moved} moved meanwhile"
        )?;
        for (name, PatchedRuns { old, new }) in &self.patches {
            write!(f, "\npatch `{name}`: {old} runs on the old branch, {new} on the new one")?;
        }
        for run in &self.runs {
            write!(f, "\n\nrun `{}` of workflow `{}`: {:?}", run.run, run.workflow, run.error)?;
        }
        match *incompatible - self.runs.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl Runs {
    /// Checks whether this build can continue the unfinished runs among the matching ones. Call it before the deploy, on
    /// the store of the build that will be replaced.
    ///
    /// Each run is replayed from its journal, up to its last recorded event. Then the arguments of its steps without a
    /// result, and the payloads and results in its inbox, are decoded. The check executes no step and writes nothing. Use a
    /// [`Client`](crate::Client), which executes nothing, with [`must_exist`](crate::Builder::must_exist), which migrates
    /// nothing. The runs continue meanwhile. The bodies of workflows are executed as far as the replay goes, as after a
    /// restart. Code that was not reached yet is not checked.
    ///
    /// A run of a workflow that this build lacks is incompatible; if several programs share the store, check the workflows
    /// of each by [`workflow`](Runs::workflow). Dropping the future ends the check.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, workflow};
    /// # #[workflow] async fn order(id: u64) -> Result<()> { Ok(()) }
    /// # async fn example(url: &str) -> Result<()> {
    /// // `my-program check URL`, in the pipeline of the new build:
    /// let client = Engine::builder().url(url).must_exist().connect().await?;
    /// let report = client.runs().check().await?;
    /// println!("{report}");
    /// std::process::exit(if report.is_compatible() { 0 } else { 1 });
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn check(self) -> Result<CheckReport> {
        let client = self.engine().await?;
        let mut filter = self.filter;
        filter.statuses = filter.each_status().into_iter().filter(|status| !status.is_terminal()).collect();
        let mut report = CheckReport {
            schema: SCHEMA,
            checked: 0,
            compatible: 0,
            moved: 0,
            incompatible: 0,
            runs: Vec::new(),
            patches: BTreeMap::new(),
        };
        // The user asked for ended runs only.
        if filter.statuses.is_empty() {
            return Ok(report);
        }
        let mut after: Option<Position> = None;
        loop {
            let rows = client.inner().rows(&filter, after, PAGE_RUNS_MAX).await?;
            let Some(last) = rows.last() else { return Ok(report) };
            after = Some(filter.position(last));
            let parts = rows.chunks(CHECKS_CONCURRENT).map(|rows| client.inner().check_runs(rows.to_vec()));
            let parts: Vec<_> = parts.collect();
            // A part is read while another one is replayed.
            let mut checks = stream::iter(parts).buffered(2);
            while let Some(checked) = checks.try_next().await? {
                checked.into_iter().for_each(|(row, verdict)| report.add(&row, verdict));
            }
        }
    }
}
