//! The steps of a run, as its history tells of them.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ending, RunEvent, RunEventKind};

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// It is executed, or is to be.
    Running,
    /// It has [suspended](crate::suspend) itself.
    Suspended,
    /// It succeeded.
    Completed,
    /// It failed for good.
    Failed,
    /// The workflow dropped it, or ended before it.
    Cancelled,
}

/// A step of a run, or a child run that it has called: see [`Outcome::steps`](crate::Outcome::steps).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepOutcome {
    /// The id of the step, or of the child's workflow.
    pub step: String,
    /// The name of the call, if it was given one.
    pub name: Option<String>,
    /// The number of the operation in its generation, from 0.
    pub operation: u64,
    /// How often the run had continued as new before.
    pub generation: u64,
    /// The index of the [event](crate::Run::events) at which it was called.
    pub event: u64,
    /// The id of the run that executes it: of a child, or of a step of a queue.
    pub run: Option<String>,
    /// Where it is.
    pub status: StepStatus,
    /// How many attempts have begun. Those of a step of a queue are told by the run that executes it.
    pub attempts: u32,
    /// The arguments, as [`Outcome::input`](crate::Outcome::input) has them: `null` for none, the argument itself where there
    /// is one, an array where there are several.
    pub input: Value,
    /// What it returned.
    pub output: Option<Value>,
    /// Its error, or that of its latest attempt.
    pub error: Option<Value>,
    /// What it told when it suspended itself last.
    pub suspended: Option<Value>,
    /// When that was.
    pub suspended_at: Option<SystemTime>,
    /// What it was resumed with last.
    pub resumed: Option<Value>,
    /// When that was.
    pub resumed_at: Option<SystemTime>,
    /// When the workflow called it.
    pub started_at: SystemTime,
    /// When its end reached the run.
    pub ended_at: Option<SystemTime>,
}

/// The steps that a history tells of.
#[derive(Default)]
pub(crate) struct Steps {
    steps: Vec<StepOutcome>,
    /// Where the open ones of this generation are in it.
    open: HashMap<u64, usize>,
    /// The arguments of the first generation that it tells of.
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
        });
    }

    /// Finds the open steps of a generation again.
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
            // It has the steps of the generation before that it goes on with.
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
            // What is under way ends with the workflow.
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
