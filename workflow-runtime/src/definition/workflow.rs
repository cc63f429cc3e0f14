//! A workflow, as `#[workflow]` defines it.

use std::future::Future;

use super::arguments::{FormOf, Stored};
use super::described::{Described, accept};
use super::outcome::{RunFuture, encode_outcome};
use super::source::Source;
use crate::codec::{self, Payload, Recode};
use crate::error::{Code, Error, Failure};
use crate::panics::caught;

/// A workflow: the hidden type behind each `#[workflow]` function. Only the attribute implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no workflow",
    label = "expected a function with `#[workflow]`",
    note = "annotate the function with `#[workflow]`"
)]
pub trait Workflow: Sized + Send + 'static {
    /// [`One`](super::One) if there is one argument, else [`Tuple`](super::Tuple).
    #[doc(hidden)]
    type Form: FormOf<Self::Args>;
    /// The arguments: `()` for none, the argument itself where there is one, a tuple where there are several.
    type Args: 'static;
    /// The return type of the function: a `Result`.
    type Output: Fallible;

    /// The definition that the engine finds by its id.
    #[doc(hidden)]
    const DEFINITION: &'static WorkflowDefinition;

    /// Checks the arguments beyond their types.
    #[doc(hidden)]
    fn validate(args: &Self::Args) -> Result<(), Error> {
        let _ = args;
        Ok(())
    }

    /// The function's body.
    #[doc(hidden)]
    fn run(args: Self::Args) -> Box<dyn Future<Output = Self::Output> + Send>;
}

/// The return type of steps and workflows: `Result<T, E>`, where `T` can be stored and
/// `E` is a [`Failure`]. It is a trait so that an alias of `Result` implements it too.
#[diagnostic::on_unimplemented(
    message = "a step or a workflow returns `Result<T, E>` of storable types, not `{Self}`",
    label = "expected a `Result`",
    note = "return `workflow_runtime::Result<T>`; for a function that cannot fail, end it with `Ok(value)`",
    note = "`T` must be `Serialize + DeserializeOwned + Send + 'static`, and `E` a `workflow_runtime::Failure`"
)]
pub trait Fallible: Returned + Send + 'static {
    /// The value of success.
    type Ok: Stored;
    /// The error.
    type Err: Failure;

    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Ok, Self::Err>;

    #[doc(hidden)]
    fn from_result(result: Result<Self::Ok, Self::Err>) -> Self;
}

impl<T, E> Fallible for Result<T, E>
where
    T: Stored,
    E: Failure,
{
    type Ok = T;
    type Err = E;

    fn into_result(self) -> Result<T, E> {
        self
    }

    fn from_result(result: Result<T, E>) -> Self {
        result
    }
}

/// A `Result`, whether or not its types can be stored. Callers of a workflow name its types by this trait: a result that cannot
/// be stored is then a compile error of the workflow, and of none of its callers.
pub trait Returned {
    /// The value of success.
    type Value;
    /// The error.
    type Error;

    #[doc(hidden)]
    fn into_parts(self) -> Result<Self::Value, Self::Error>;
}

impl<T, E> Returned for Result<T, E> {
    type Value = T;
    type Error = E;

    fn into_parts(self) -> Result<T, E> {
        self
    }
}

/// A function with `#[workflow]`, of any number of arguments up to twelve.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no workflow function",
    label = "expected a function with `#[workflow]`",
    note = "annotate the function with `#[workflow]` and pass it by name: `start(my_workflow, arguments)`"
)]
pub trait WorkflowFn<P> {
    /// The workflow of the function.
    type Workflow: Workflow;
}

/// A workflow of this build.
pub struct WorkflowDefinition {
    pub(crate) source: Source,
    pub(crate) was: &'static [&'static str],
    pub(crate) body: fn(&Payload) -> Result<RunFuture, Error>,
    pub(crate) recode_args: Recode,
    /// Converts JSON to the arguments.
    pub(crate) accept: fn(&WorkflowDefinition, serde_json::Value) -> Result<Payload, Error>,
    pub(crate) described: Described,
    /// Whether its runs are bound to the deployment that starts them.
    pub(crate) pinned: bool,
    /// Whether it comes from the published catalogue of another build, so that it cannot be executed here.
    pub(crate) is_published: bool,
    /// Recodes the success value.
    pub(crate) recode_output: Recode,
    /// Combines an encoded error with the error of a rollback that failed.
    pub(crate) rollback_failed: fn(&Payload, &Error) -> Option<Payload>,
}

impl WorkflowDefinition {
    /// Defines a workflow whose source is the caller's location.
    #[doc(hidden)]
    #[track_caller]
    pub const fn new<W: Workflow>(
        id: &'static str,
        fingerprint: &'static str,
        test: bool,
        described: Described,
    ) -> Self {
        WorkflowDefinition::of::<W>(Source::here(id, fingerprint, test), described)
    }

    pub(crate) const fn of<W: Workflow>(source: Source, described: Described) -> Self {
        WorkflowDefinition {
            source,
            was: &[],
            body: body::<W>,
            recode_args: <W::Form as FormOf<W::Args>>::recode,
            accept: accept::<W>,
            described,
            pinned: false,
            is_published: false,
            recode_output: codec::recode::<<W::Output as Fallible>::Ok>,
            rollback_failed: rollback_failed::<<W::Output as Fallible>::Err>,
        }
    }
}

impl WorkflowDefinition {
    #[doc(hidden)]
    pub const fn was(mut self, was: &'static [&'static str]) -> Self {
        self.was = was;
        self
    }

    #[doc(hidden)]
    pub const fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }
}

fn rollback_failed<E: Failure>(error: &Payload, rollback: &Error) -> Option<Payload> {
    let error = codec::decode::<E>("the run's error", error).ok()?;
    let error = caught("`Failure::rollback_failed`", || error.rollback_failed(rollback)).ok()?;
    codec::encode("the run's error", &error).ok()
}

fn body<W: Workflow>(args: &Payload) -> Result<RunFuture, Error> {
    Ok(encoded(W::run(W::Form::decode("the workflow's arguments", args)?)))
}

/// Generic over the output only, so that workflows with the same one share it.
fn encoded<R: Fallible>(future: Box<dyn Future<Output = R> + Send>) -> RunFuture {
    let future = Box::into_pin(future);
    Box::pin(async move { encode_outcome("the workflow's result", future.await) })
}

/// The workflow's own check of its arguments.
pub(crate) type Validate<A> = fn(&A) -> Result<(), Error>;

/// Checks and encodes the arguments of a workflow. Generic over the arguments only, so that workflows with the same ones share it.
pub(crate) fn encode_arguments<A, Form: FormOf<A>>(
    definition: &WorkflowDefinition,
    validate: Validate<A>,
    args: &A,
) -> Result<Payload, Error> {
    validated(definition, validate, args)?;
    Form::encode(args, "the workflow's arguments")
}

/// Runs the workflow's own check of the arguments.
fn validated<A>(definition: &WorkflowDefinition, validate: Validate<A>, args: &A) -> Result<(), Error> {
    let checked = caught("the check of the arguments", || validate(args)).and_then(|checked| checked);
    checked.map_err(|error| {
        let id = definition.source.id;
        error
            .context(format!("the arguments of workflow `{id}` are not valid"))
            .with_code(Code::InvalidArguments)
            .into_fatal()
    })
}
