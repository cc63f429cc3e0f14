//! Steps that are executed by the workers of a queue: each is a run of its own, the child of the run that calls it.
//!
//! So its attempts, its retries and the recovery from a lost worker are those of any run, and its result is
//! delivered as the end of a child is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, Payload};
use crate::definition::{Described, Encoded, Policy, RunFuture, Source, StepDefinition, WorkflowDefinition};
use crate::error::{Code, Error};
pub(crate) use crate::keys::{parse_queue_workflow as parse_id, queue_workflow as workflow_id};
use crate::registry::registry;
use crate::replay::{ChildRequest, Completion, Identity, Kind, Operation, Origin, Place, StepRequest};

/// The workflow that executes a step, if the workers of a queue execute the step. Made once for each such step.
pub(crate) fn workflow(step: &StepDefinition) -> Option<&'static WorkflowDefinition> {
    let queue = step.queue?;
    let id = workflow_id(queue, step.source.id);
    let was: Vec<&'static str> = step.was.iter().map(|was| &*workflow_id(queue, was).leak()).collect();
    Some(Box::leak(Box::new(WorkflowDefinition {
        source: Source { id: id.leak(), ..step.source },
        was: was.leak(),
        body,
        recode_args: |_| None,
        accept: |definition, _| {
            let text = format!("`{}` is started by the calls of its step only", definition.source.id);
            Err(Error::coded(Code::NotRegistered, text))
        },
        described: Described::NOTHING,
        pinned: false,
        is_published: false,
        recode_output: |_| None,
        rollback_failed: |_, _| None,
    })))
}

/// The arguments of such a workflow.
#[derive(Serialize, Deserialize)]
struct Call {
    step: String,
    input: Payload,
    policy: Policy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The run that calls the step.
    run: String,
    /// The key of the call.
    key: String,
    /// Whether the calling run undoes the step if the calling run fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    undoable: bool,
    /// The generation of the run and the operation.
    place: (u64, u64),
}

/// The run that executes a call.
pub(crate) fn request(
    workflow: &'static WorkflowDefinition,
    step: &StepRequest,
    run: &Identity,
    op: u64,
    key: String,
) -> Result<ChildRequest, Error> {
    let call = Call {
        step: step.definition.source.id.to_owned(),
        input: step.input.clone(),
        policy: step.policy.as_ref().clone(),
        name: step.name.as_deref().map(str::to_owned),
        run: run.run.to_string(),
        key,
        undoable: step.rollback.is_some(),
        place: (run.generation, op),
    };
    Ok(ChildRequest {
        definition: workflow,
        input: codec::encode("the call of a step", &call)?,
        abandoned: false,
        detached: false,
        named: None,
        attributes: BTreeMap::new(),
        adopt: step.definition.adopt,
    })
}

fn body(args: &Payload) -> Result<RunFuture, Error> {
    let call: Call = codec::decode("the call of a step", args)?;
    let definition = registry().step(&call.step)?;
    let request = StepRequest {
        definition,
        input: call.input,
        policy: Cow::Owned(call.policy),
        name: call.name.map(Arc::from),
        attempt: 1,
        not_before: 0,
        rollback: None,
        place: Place::Here,
        origin: Some(Origin { run: call.run.into(), key: call.key.into(), undoable: call.undoable, place: call.place }),
        suspensions: None,
        failing: None,
    };
    let operation = Operation::new(Location::caller())
        .ok_or_else(|| Error::coded(Code::OutsideRun, "a step of a queue is executed outside its run"))?;
    Ok(Box::pin(execute(operation, request)))
}

async fn execute(mut operation: Operation, request: StepRequest) -> Encoded {
    let adopt = request.definition.adopt;
    let mut request = Some(Box::new(request));
    let completion = std::future::poll_fn(|context| operation.poll(context, || request.take().map(Kind::Step))).await;
    match completion {
        Ok(Completion::Completed(value)) => Ok(value),
        Ok(Completion::Failed(error)) => Err(error),
        Ok(Completion::Due | Completion::Woken | Completion::Ended(_)) => unreachable!("a step is no timer and no run"),
        Err(error) => Err(adopt(error).error),
    }
}
