//! Replacements of steps and workflows, and the record of their calls.

use std::any::type_name;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::held;
use crate::codec::Payload;
use crate::context::step_fn::StepFn;
use crate::definition::{
    AttemptResult, Execution, FormOf, Replace, Resources, RunFuture, StepDefinition, Workflow, WorkflowDefinition,
    WorkflowFn, attempt_result, encode_outcome,
};
use crate::error::{Code, Error, Result};
use crate::registry::registry;

type Attempt = Box<dyn Fn(&Payload) -> Result<Execution<AttemptResult>> + Send + Sync>;
type Run = Box<dyn Fn(&Payload) -> Result<RunFuture> + Send + Sync>;

/// The replacements of a test engine, and the calls of steps that it has executed.
#[derive(Default)]
pub(super) struct Mocks {
    /// By the id of the step.
    steps: BTreeMap<&'static str, Attempt>,
    /// By the id of the workflow.
    workflows: BTreeMap<&'static str, Run>,
    /// Whether a step without a mock fails.
    pub deny_unmocked: bool,
    /// The arguments of the attempts so far, by the id of the step.
    calls: Mutex<BTreeMap<&'static str, Vec<Payload>>>,
    /// Delays the attempts, and checks them.
    pub watch: Option<Arc<dyn Watch>>,
}

/// Observes each attempt before it begins.
pub(super) trait Watch: Send + Sync {
    /// How many times the attempt yields to the other tasks before it begins.
    fn begins(&self, step: &'static str) -> u32;
}

/// The definition of a step function.
pub(super) fn definition_of<F: StepFn<P>, P>() -> Result<&'static StepDefinition> {
    let function = type_name::<F>();
    // The attribute generates a function inside the step. Its name is not fixed: it differs from the user's names.
    let is_inside = |name: &str| name.rsplit_once("::").is_some_and(|(outer, _)| outer == function);
    registry().steps().find(|step| is_inside((step.body_name)())).ok_or_else(|| {
        Error::coded(Code::NotRegistered, format!("`{function}` is no step"))
            .expected("the name of a function with `#[step]`, and no closure around it")
            .help("pass the function itself: `.mock(charge, |(order, cents)| ..)`")
    })
}

impl Mocks {
    pub fn step<F, P, M, U>(&mut self, mock: M) -> Result<()>
    where
        F: StepFn<P>,
        M: Fn(F::Args) -> U + Send + Sync + 'static,
        U: Future<Output = F::Output> + Send + 'static,
    {
        let id = definition_of::<F, P>()?.source.id;
        let mock = Arc::new(mock);
        let attempt = move |args: &Payload| {
            let (mock, args) = (mock.clone(), F::decode(args)?);
            let attempt = futures_util::future::lazy(move |_| mock(args));
            let attempt: Execution<AttemptResult> =
                Execution::Async(Box::pin(async move { attempt_result(id, attempt.await.await) }));
            Ok(attempt)
        };
        self.steps.insert(id, Box::new(attempt));
        Ok(())
    }

    pub fn workflow<F, P, M>(&mut self, mock: M)
    where
        F: WorkflowFn<P>,
        M: Fn(<F::Workflow as Workflow>::Args) -> <F::Workflow as Workflow>::Output + Send + Sync + 'static,
        <F::Workflow as Workflow>::Args: Send,
    {
        let mock = Arc::new(mock);
        let run = move |args: &Payload| {
            let (mock, args) =
                (mock.clone(), <F::Workflow as Workflow>::Form::decode("the workflow's arguments", args)?);
            let run: RunFuture = Box::pin(async move { encode_outcome("the workflow's result", mock(args)) });
            Ok(run)
        };
        self.workflows.insert(F::Workflow::DEFINITION.source.id, Box::new(run));
    }

    /// The arguments of the attempts of a step, in the order in which they began.
    pub fn calls(&self, step: &str) -> Vec<Payload> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).get(step).cloned().unwrap_or_default()
    }

    /// Makes one attempt of a step that is not replaced.
    fn real(
        &self,
        step: &'static StepDefinition,
        input: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>> {
        let (id, adopt) = (step.source.id, step.adopt);
        if self.deny_unmocked {
            return Err(Error::coded(Code::Unsupported, format!("step `{id}` was executed, and has no mock"))
                .help("mock it with `.mock(the_step, |arguments| ..)`, or allow steps without a mock")
                .into_fatal());
        }
        Ok(match step.execute.execute(id, input, resources)? {
            Execution::Async(attempt) => Execution::Async(Box::pin(held::asynchronous(id, adopt, attempt))),
            Execution::Blocking(attempt) => Execution::Blocking(Box::new(move || {
                let begun = Instant::now();
                let result = attempt();
                held::check(id, begun).map_err(adopt).and(result)
            })),
            #[cfg(feature = "postgres")]
            Execution::Transaction(_) => {
                return Err(Error::coded(
                    Code::Unsupported,
                    format!("step `{id}` runs in a transaction, which the store of a test engine does not have"),
                )
                .help("mock it, or test it with an engine on PostgreSQL")
                .into_fatal());
            }
        })
    }
}

impl Replace for Mocks {
    fn attempt(
        &self,
        step: &'static StepDefinition,
        input: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>> {
        let id = step.source.id;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default().push(input.clone());
        let execution = match self.steps.get(id) {
            Some(mock) => mock(input).map_err(|error| error.operation(format!("step `{id}`")).into_fatal())?,
            None => self.real(step, input, resources)?,
        };
        Ok(match (&self.watch, execution) {
            (Some(watch), Execution::Async(attempt)) => {
                let watch = watch.clone();
                Execution::Async(Box::pin(async move {
                    for _ in 0..watch.begins(id) {
                        tokio::task::yield_now().await;
                    }
                    attempt.await
                }))
            }
            (Some(watch), Execution::Blocking(attempt)) => {
                let watch = watch.clone();
                Execution::Blocking(Box::new(move || {
                    watch.begins(id);
                    attempt()
                }))
            }
            (_, execution) => execution,
        })
    }

    fn run(&self, workflow: &'static WorkflowDefinition, args: &Payload) -> Result<RunFuture> {
        match self.workflows.get(workflow.source.id) {
            Some(mock) => mock(args),
            None => (workflow.body)(args),
        }
    }
}
