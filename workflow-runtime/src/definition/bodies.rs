//! The code that an engine executes for a definition: the body of its function, or the replacement of a test.

use std::sync::Arc;

use super::outcome::{AttemptResult, RunFuture};
use super::resources::Resources;
use super::step::{Execution, StepDefinition};
use super::workflow::WorkflowDefinition;
use crate::codec::Payload;
use crate::error::Error;

/// Decides what is executed for the definitions of a build.
pub(crate) trait Replace: Send + Sync {
    /// Makes one attempt of a step.
    fn attempt(
        &self,
        step: &'static StepDefinition,
        input: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>, Error>;

    /// Begins a run of a workflow.
    fn run(&self, workflow: &'static WorkflowDefinition, args: &Payload) -> Result<RunFuture, Error>;
}

/// The bodies of an engine: those of the definitions, unless a test replaces them.
#[derive(Clone, Default)]
pub(crate) struct Bodies(Option<Arc<dyn Replace>>);

impl Bodies {
    #[cfg(feature = "testing")]
    pub fn replaced(by: Arc<dyn Replace>) -> Self {
        Bodies(Some(by))
    }

    pub fn are_replaced(&self) -> bool {
        self.0.is_some()
    }

    /// Makes one attempt of a step.
    pub fn attempt(
        &self,
        step: &'static StepDefinition,
        input: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>, Error> {
        match &self.0 {
            None => step.execute.execute(step.source.id, input, resources),
            Some(replace) => replace.attempt(step, input, resources),
        }
    }

    /// Begins a run of a workflow.
    pub fn run(&self, workflow: &'static WorkflowDefinition, args: &Payload) -> Result<RunFuture, Error> {
        match &self.0 {
            None => (workflow.body)(args),
            Some(replace) => replace.run(workflow, args),
        }
    }
}
