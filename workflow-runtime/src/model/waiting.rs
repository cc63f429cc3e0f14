//! Why a run does not move.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Status;
use super::rfc3339::{self, shown};
use crate::text::excerpt;

/// A reason why a run does not move: see [`Run::waiting`](crate::Run::waiting).
///
/// Its text is one sentence: `retrying step charge (attempt 3) at 2026-11-29 12:04:07 UTC: card declined`. Its JSON is an
/// object with the kind of the reason as `reason`, in snake case, and the fields of the variant; times are RFC 3339. Later
/// versions add variants and fields.
///
/// The steps are named by their ids. For a step of a queue, `run` is the id of the run that executes it.
///
/// ```
/// # use workflow_runtime::{Engine, Result, Waiting, hook, workflow};
/// #[workflow]
/// async fn approval() -> Result<String> {
///     hook::<String>().token("approval-7").await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(approval, ()).await?;
/// let waiting = run.waiting().await?;
/// assert!(matches!(&waiting[0], Waiting::Hook { token, .. } if token == "approval-7"));
/// assert_eq!(waiting[0].to_string(), "waiting for a payload for the hook `approval-7`");
/// # engine.resume_hook("approval-7", "yes").await?;
/// # run.await.map(drop)
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Waiting {
    /// The run is stuck: it needs a person or a deploy.
    Stuck {
        /// The [code](crate::Code) of the error that it is stuck by.
        code: String,
        /// The error.
        error: String,
        /// The error with its causes, its place and its help, in several lines.
        details: String,
    },
    /// No live worker has the workflow of the run.
    NoWorker {
        /// The id of the workflow.
        workflow: String,
        /// The deployment that the run is bound to, if it is.
        deployment: Option<String>,
    },
    /// On SQLite one process executes, and that process lacks the workflow, while another live process has it. To let that one
    /// execute: [`Client::yield_execution`](crate::Client::yield_execution).
    OtherWorkerExecutes {
        /// The id of the workflow.
        workflow: String,
        /// The process that executes.
        executes: u32,
        /// Its deployment.
        #[serde(default)]
        deployment: Option<String>,
        /// The live processes whose build has the workflow.
        candidates: Vec<u32>,
    },
    /// On SQLite a process holds the lock and has another file open, which this one has replaced: nothing executes the runs of
    /// this file until that process ends.
    StoreReplaced {
        /// The process that holds the lock.
        process: u32,
    },
    /// The run was [created](crate::create_run) and not started yet.
    NotBegun,
    /// The run begins at a time.
    Delayed {
        /// When.
        #[serde(with = "rfc3339")]
        until: SystemTime,
    },
    /// The next turn of the run is due: a worker has yet to take it.
    Due,
    /// An attempt of a step is being executed.
    Executing {
        /// The id of the step.
        step: String,
        /// The name of the call, if it has one.
        name: Option<String>,
        /// The number of the operation in its generation.
        operation: u64,
        /// The attempt, from 1.
        attempt: u32,
        /// The greatest number of attempts, where it is recorded: once an attempt has failed, and for a step of a queue.
        #[serde(default)]
        attempts_max: Option<u32>,
        /// When the attempt was dispatched, or made due, as recorded in the journal; after a crash it was dispatched again
        /// since.
        #[serde(with = "rfc3339")]
        dispatched_at: SystemTime,
        /// The run that executes it, if the step has a queue.
        run: Option<String>,
    },
    /// An attempt of a step has failed, and the next one is not due yet.
    Retrying {
        /// The id of the step.
        step: String,
        /// The name of the call, if it has one.
        name: Option<String>,
        /// The number of the operation in its generation.
        operation: u64,
        /// The next attempt, from 1.
        attempt: u32,
        /// The greatest number of attempts; `None` if an earlier version has recorded the failed attempt.
        attempts_max: Option<u32>,
        /// The error of the last attempt.
        error: String,
        /// When the next attempt is due.
        #[serde(with = "rfc3339")]
        next_at: SystemTime,
        /// The run that executes it, if the step has a queue.
        run: Option<String>,
    },
    /// A step waits for a free place among the workers that serve its queue.
    Queued {
        /// The name of the queue.
        queue: String,
        /// The id of the step.
        step: String,
        /// The run that executes the step.
        run: String,
    },
    /// No live worker serves the queue of a step.
    QueueNotServed {
        /// The name of the queue.
        queue: String,
        /// The id of the step.
        step: String,
        /// The run that executes the step.
        run: String,
    },
    /// The run waits for the end of a child run that it has called.
    Child {
        /// The id of the child.
        run: String,
        /// The id of its workflow.
        workflow: String,
        /// Its status; `None` if it does not exist (any more).
        status: Option<Status>,
    },
    /// The run waits for the end of a run that it has not started.
    Run {
        /// The id of that run.
        run: String,
        /// Its status; `None` if it does not exist (any more).
        status: Option<Status>,
    },
    /// Each of these runs waits for the next one, and the last one for the first one.
    Cycle {
        /// The ids of the runs, beginning with this run.
        runs: Vec<String>,
    },
    /// The run waits for a payload for a hook.
    Hook {
        /// The token of the hook.
        token: String,
        /// The metadata that the workflow gave it.
        metadata: Option<Value>,
        /// Since when, as recorded in the journal.
        #[serde(default, with = "rfc3339::option")]
        since: Option<SystemTime>,
    },
    /// The workflow, or a step, has [suspended](crate::suspend) itself.
    Suspended {
        /// The label of the suspension.
        label: String,
        /// The id of the suspended step; `None` if the workflow itself is suspended.
        step: Option<String>,
        /// The run that executes the step, if it has a queue; the run to [resume](crate::Run::resume) is the one that has
        /// called it.
        run: Option<String>,
        /// Since when, as recorded in the journal.
        #[serde(default, with = "rfc3339::option")]
        since: Option<SystemTime>,
    },
    /// The run waits for a time: a sleep or a timeout.
    Timer {
        /// The deadline.
        #[serde(with = "rfc3339")]
        until: SystemTime,
    },
    /// The workflow has ended, and the run waits for the end of a step or of a child run that was begun before: then it undoes what
    /// has been done.
    BeforeRollback {
        /// The status that the run ends with.
        to: Status,
        /// The step or the run that has to end first.
        waits_for: Box<Waiting>,
    },
    /// The workflow has ended, and what it has done is undone before the run ends.
    RollingBack {
        /// The status that the run ends with.
        to: Status,
        /// What the rollback waits for.
        waits_for: Box<Waiting>,
    },
    /// The run has ended.
    Ended {
        /// How.
        status: Status,
    },
    /// A reason of a later version. Only in JSON that was read.
    #[serde(other)]
    Unknown,
}

impl Waiting {
    /// Whether it is a step that is executed, and not by a run of its own.
    #[cfg(feature = "web")]
    pub(crate) fn is_executed_here(&self) -> bool {
        match self {
            Waiting::Executing { run, .. } => run.is_none(),
            Waiting::BeforeRollback { waits_for, .. } | Waiting::RollingBack { waits_for, .. } => {
                waits_for.is_executed_here()
            }
            _ => false,
        }
    }

    /// Orders the reasons of a run: the one that a person should look at first has the lowest number.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Waiting::Ended { .. } | Waiting::Stuck { .. } => 0,
            Waiting::NoWorker { .. } | Waiting::OtherWorkerExecutes { .. } | Waiting::StoreReplaced { .. } => 1,
            Waiting::NotBegun | Waiting::Delayed { .. } => 2,
            Waiting::BeforeRollback { waits_for, .. } | Waiting::RollingBack { waits_for, .. } => waits_for.rank(),
            Waiting::Due => 3,
            Waiting::Executing { .. } => 4,
            Waiting::Retrying { .. } => 5,
            // Between them: limits.
            Waiting::QueueNotServed { .. } => 7,
            Waiting::Queued { .. } => 8,
            Waiting::Cycle { .. } => 9,
            Waiting::Child { .. } | Waiting::Run { .. } => 10,
            Waiting::Hook { .. } | Waiting::Suspended { .. } => 11,
            Waiting::Timer { .. } => 12,
            Waiting::Unknown => u8::MAX,
        }
    }
}

/// A step in a sentence: its id, and the name of its call.
struct Call<'a>(&'a str, &'a Option<String>);

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call(step, name) = self;
        match name {
            Some(name) => write!(f, "step `{}` ({})", excerpt(step), excerpt(name)),
            None => write!(f, "step `{}`", excerpt(step)),
        }
    }
}

/// An attempt in a sentence: its number, and the greatest number of attempts if it is known.
pub(crate) struct Attempt(pub u32, pub Option<u32>);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attempt(attempt, Some(most)) => write!(f, "attempt {attempt} of {most}"),
            Attempt(attempt, None) => write!(f, "attempt {attempt}"),
        }
    }
}

/// The status of another run in a sentence.
struct Other<'a>(&'a Option<Status>);

impl fmt::Display for Other<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Status::Pending) => f.write_str("which has not begun"),
            Some(status) => write!(f, "which is {status}"),
            None => f.write_str("which does not exist"),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Stuck { error, .. } => write!(f, "stuck: {}", excerpt(error)),
            Waiting::NoWorker { workflow, deployment: None } => {
                write!(f, "no live worker has the workflow `{}`", excerpt(workflow))
            }
            Waiting::NoWorker { workflow, deployment: Some(deployment) } => {
                let (workflow, deployment) = (excerpt(workflow), excerpt(deployment));
                write!(f, "no live worker of the deployment `{deployment}` has the workflow `{workflow}`")
            }
            Waiting::OtherWorkerExecutes { workflow, executes, deployment, candidates } => {
                let candidates: Vec<String> = candidates.iter().map(u32::to_string).collect();
                write!(f, "process {executes}")?;
                if let Some(deployment) = deployment {
                    write!(f, " of the deployment `{}`", excerpt(deployment))?;
                }
                write!(
                    f,
                    " executes and does not have the workflow `{}`; process {} has it and does not execute",
                    excerpt(workflow),
                    candidates.join(", ")
                )
            }
            Waiting::StoreReplaced { process } => {
                write!(
                    f,
                    "process {process} holds the lock of the database and has another file open, which this one has replaced"
                )
            }
            Waiting::NotBegun => f.write_str("created, and not started yet"),
            Waiting::Delayed { until } => write!(f, "not begun: it begins at {}", shown(*until)),
            Waiting::Due => f.write_str("due: a worker has yet to take its next turn"),
            Waiting::Executing { step, name, attempt, attempts_max, dispatched_at, run, .. } => {
                let (call, attempt, at) = (Call(step, name), Attempt(*attempt, *attempts_max), shown(*dispatched_at));
                write!(f, "executing {call} ({attempt}), dispatched at {at}")?;
                executed_by(f, run)
            }
            Waiting::Retrying { step, name, attempt, attempts_max, error, next_at, run, .. } => {
                let (call, attempt, at) = (Call(step, name), Attempt(*attempt, *attempts_max), shown(*next_at));
                write!(f, "retrying {call} ({attempt}) at {at}")?;
                executed_by(f, run)?;
                write!(f, ": {}", excerpt(error))
            }
            Waiting::Queued { queue, step, .. } => {
                write!(f, "step `{}` waits for a free place in the queue `{}`", excerpt(step), excerpt(queue))
            }
            Waiting::QueueNotServed { queue, step, .. } => {
                write!(f, "no live worker serves the queue `{}` of step `{}`", excerpt(queue), excerpt(step))
            }
            Waiting::Child { run, workflow, status } => {
                let (run, workflow) = (excerpt(run), excerpt(workflow));
                write!(f, "waiting for the child run `{run}` of the workflow `{workflow}`, {}", Other(status))
            }
            Waiting::Run { run, status } => write!(f, "waiting for the run `{}`, {}", excerpt(run), Other(status)),
            Waiting::Cycle { runs } => match &runs[..] {
                [] => f.write_str("runs wait for each other"),
                [first, others @ ..] => {
                    write!(f, "runs wait for each other: `{}`", excerpt(first))?;
                    others.iter().try_for_each(|run| write!(f, " for `{}`", excerpt(run)))?;
                    write!(f, " for `{}`", excerpt(first))
                }
            },
            Waiting::Hook { token, .. } => write!(f, "waiting for a payload for the hook `{}`", excerpt(token)),
            Waiting::Suspended { label, step, .. } => match step {
                Some(step) => write!(f, "step `{}` is suspended as `{}`", excerpt(step), excerpt(label)),
                None => write!(f, "suspended as `{}`", excerpt(label)),
            },
            Waiting::Timer { until } => write!(f, "waiting until {}", shown(*until)),
            Waiting::BeforeRollback { to, waits_for } => {
                write!(f, "waits before rolling back after {}: {waits_for}", cause(*to))
            }
            Waiting::RollingBack { to, waits_for } => write!(f, "rolling back after {}: {waits_for}", cause(*to)),
            Waiting::Ended { status } => write!(f, "ended: {status}"),
            Waiting::Unknown => f.write_str("waiting for something that this version does not know"),
        }
    }
}

/// Why a run with this status rolls back.
fn cause(to: Status) -> &'static str {
    match to {
        Status::Failed => "a failure",
        Status::Cancelled => "a cancel",
        _ => "the end of the workflow",
    }
}

fn executed_by(f: &mut fmt::Formatter<'_>, run: &Option<String>) -> fmt::Result {
    run.as_ref().map_or(Ok(()), |run| write!(f, ", by the run `{}`", excerpt(run)))
}

/// The text of an error as it is recorded: the message, for those of this library and for others that have one.
pub(crate) fn error_text(error: &Value) -> String {
    match error.get("message").unwrap_or(error) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
