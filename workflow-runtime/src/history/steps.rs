//! The steps of a run, collected from its history.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ending, RunEvent, RunEventKind};
use crate::model::{Schema, rfc3339};

/// The status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// It is being executed, or is due.
    Running,
    /// It has [suspended](crate::suspend) itself.
    Suspended,
    /// It succeeded.
    Completed,
    /// It failed permanently.
    Failed,
    /// The workflow dropped it, or ended before it did.
    Cancelled,
    /// A status of a later version. Only in JSON that was read.
    #[serde(other)]
    Unknown,
}

/// A step of a run, or a child run that it has called: see [`Outcome::steps`](crate::Outcome::steps).
///
/// Its JSON has these fields and `"schema": 1`; times are RFC 3339 with milliseconds. Reading it tolerates fields of later
/// versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepOutcome {
    /// The id of the step, or of the child's workflow.
    pub step: String,
    /// The name of the call, if it has one.
    pub name: Option<String>,
    /// The number of the operation in its generation, from 0.
    pub operation: u64,
    /// How many times the run had continued as new before.
    pub generation: u64,
    /// The index of the [event](crate::Run::events) at which it was called.
    pub event: u64,
    /// The id of the run that executes it: a child, or a step of a queue.
    pub run: Option<String>,
    /// The status of the step.
    pub status: StepStatus,
    /// How many attempts have begun. For a step of a queue, see the run that executes it.
    pub attempts: u32,
    /// The arguments, in the form of [`Outcome::input`](crate::Outcome::input): `null` for none, the argument itself for
    /// one, an array for several.
    pub input: Value,
    /// The value that it returned.
    pub output: Option<Value>,
    /// Its error, or that of its latest attempt.
    pub error: Option<Value>,
    /// The payload of its latest suspension.
    pub suspended: Option<Value>,
    /// When it was last suspended.
    #[serde(default, with = "rfc3339::option")]
    pub suspended_at: Option<SystemTime>,
    /// The value that it was last resumed with.
    pub resumed: Option<Value>,
    /// When it was last resumed.
    #[serde(default, with = "rfc3339::option")]
    pub resumed_at: Option<SystemTime>,
    /// When the workflow called it.
    #[serde(with = "rfc3339")]
    pub started_at: SystemTime,
    /// When its end reached the run.
    #[serde(default, with = "rfc3339::option")]
    pub ended_at: Option<SystemTime>,
    #[serde(default)]
    pub(crate) schema: Schema,
}

/// The steps of a history.
#[derive(Default)]
pub(crate) struct Steps {
    steps: Vec<StepOutcome>,
    /// The indexes in `steps` of the open steps of this generation.
    open: HashMap<u64, usize>,
    /// The arguments of the first generation in the history.
    pub input: Option<Value>,
}

impl Steps {
    pub fn into_steps(self) -> Vec<StepOutcome> {
        self.steps
    }

    fn begin(&mut self, event: &RunEvent, operation: u64, step: String, input: Value, run: Option<String>) {
        self.open.insert(operation, self.steps.len());
        self.steps.push(StepOutcome {
            step,
            name: None,
            operation,
            generation: event.generation,
            event: event.index,
            run,
            status: StepStatus::Running,
            attempts: 1,
            input,
            output: None,
            error: None,
            suspended: None,
            suspended_at: None,
            resumed: None,
            resumed_at: None,
            started_at: event.at,
            ended_at: None,
            schema: Schema,
        });
    }

    /// Rebuilds the index of the open steps of a generation.
    fn reindex(&mut self, generation: u64) {
        let open = |(at, step): (usize, &StepOutcome)| {
            let is_open = step.generation == generation && self.open.contains_key(&step.operation);
            is_open.then_some((step.operation, at))
        };
        self.open = self.steps.iter().enumerate().filter_map(open).collect();
    }

    fn change(&mut self, operation: u64, change: impl FnOnce(&mut StepOutcome)) {
        if let Some(step) = self.open.get(&operation).and_then(|at| self.steps.get_mut(*at)) {
            change(step);
        }
    }

    fn end(&mut self, event: &RunEvent, operation: u64, status: StepStatus, change: impl FnOnce(&mut StepOutcome)) {
        self.change(operation, |step| {
            step.status = status;
            step.ended_at = Some(event.at);
            change(step);
        });
        self.open.remove(&operation);
    }

    pub fn add(&mut self, event: RunEvent) {
        match event.kind.clone() {
            RunEventKind::Started { input } if self.input.is_none() => self.input = Some(input),
            // A retry continues with the steps of the previous generation.
            RunEventKind::Reopened { source: None } => {
                self.steps.retain(|step| step.generation + 1 != event.generation);
                self.reindex(event.generation);
            }
            RunEventKind::StepStarted { operation, step, name, input, run } => {
                self.begin(&event, operation, step, input, run);
                self.change(operation, |step| step.name = name);
            }
            RunEventKind::ChildStarted { operation, workflow, run, input, detached } => {
                self.begin(&event, operation, workflow, input, Some(run));
                if detached {
                    self.open.remove(&operation);
                }
            }
            RunEventKind::StepRetrying { operation, error, .. } => self.change(operation, |step| {
                step.attempts += 1;
                step.error = Some(error);
            }),
            RunEventKind::StepSuspended { operation, payload, .. } => self.change(operation, |step| {
                step.status = StepStatus::Suspended;
                (step.suspended, step.suspended_at) = (Some(payload), Some(event.at));
            }),
            RunEventKind::StepResumed { operation, value } => self.change(operation, |step| {
                step.status = StepStatus::Running;
                step.attempts += 1;
                (step.resumed, step.resumed_at) = (Some(value), Some(event.at));
            }),
            RunEventKind::StepCompleted { operation, output }
            | RunEventKind::RunEnded { operation, end: Ending::Completed { output } } => {
                self.end(&event, operation, StepStatus::Completed, |step| {
                    step.error = None;
                    step.output = Some(output);
                });
            }
            RunEventKind::StepFailed { operation, error }
            | RunEventKind::RunEnded { operation, end: Ending::Failed { error } } => {
                self.end(&event, operation, StepStatus::Failed, |step| step.error = Some(error));
            }
            RunEventKind::RunEnded { operation, end: Ending::Cancelled { .. } }
            | RunEventKind::Dropped { operation } => {
                self.end(&event, operation, StepStatus::Cancelled, |_| ());
            }
            // Operations in progress end with the workflow.
            RunEventKind::Ended { .. } => {
                for at in std::mem::take(&mut self.open).into_values() {
                    if let Some(step) = self.steps.get_mut(at) {
                        step.status = StepStatus::Cancelled;
                        step.ended_at = Some(event.at);
                    }
                }
            }
            _ => {}
        }
    }
}
