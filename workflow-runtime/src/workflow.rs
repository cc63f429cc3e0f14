//! What a `#[workflow]` function is to the type system, and how `start` recognises one.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Failure};
use crate::invocation::Invocation;
use crate::registry::WorkflowDefinition;

/// A workflow: the hidden type behind each `#[workflow]` function. It is implemented by the attribute alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no workflow",
    label = "expected a function with `#[workflow]`",
    note = "annotate the function with `#[workflow]`"
)]
pub trait Workflow: Sized + Send + 'static {
    /// The arguments: `()` for none, the argument itself where there is one, a tuple where there are several.
    type Args: Stored;
    /// What the function returns: a `Result`.
    type Output: Fallible;

    /// The definition that the engine finds by its id.
    #[doc(hidden)]
    const DEFINITION: &'static WorkflowDefinition;

    /// What the workflow asks of its arguments beyond their types.
    #[doc(hidden)]
    fn validate(args: &Self::Args) -> Result<(), Error> {
        let _ = args;
        Ok(())
    }

    /// The function's body.
    #[doc(hidden)]
    fn run(args: Self::Args) -> Pin<Box<dyn Future<Output = Self::Output> + Send>>;
}

/// What arguments and results are: `Serialize + DeserializeOwned + Send + 'static`, in one name so that a type that lacks
/// several of these is one error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored, as arguments and results of workflows and steps are",
    label = "this has to be `Serialize`, `DeserializeOwned`, `Send` and `'static`",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to a type of your own; for a type of another crate look for its \
            feature `serde`, or convert it into a type of your own",
    note = "a client or a pool is no argument of a step but a resource: `#[resource] client: &Client`"
)]
pub trait Stored: Serialize + DeserializeOwned + Send + 'static {}

// Else the compiler would report each bound by itself.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Stored for T {}

/// What steps and workflows return: `Result<T, E>`, where `T` can be stored and `E` is a [`Failure`]. It is a trait so
/// that an alias of `Result` is one too.
#[diagnostic::on_unimplemented(
    message = "a step or a workflow returns `Result<T, E>` of storable types, not `{Self}`",
    label = "expected a `Result`",
    note = "return `workflow_runtime::Result<T>`; for a function that cannot fail, end it with `Ok(value)`",
    note = "`T` must be `Serialize + DeserializeOwned + Send + 'static`, and `E` a `workflow_runtime::Failure`"
)]
pub trait Fallible: Send + 'static {
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

/// A function with `#[workflow]`, of any number of arguments up to twelve.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no workflow function",
    label = "expected a function with `#[workflow]`",
    note = "annotate the function with `#[workflow]` and pass it by name: `start(my_workflow, arguments)`"
)]
pub trait WorkflowFn<P> {
    /// The workflow that the function stands for.
    type Workflow: Workflow;
}

macro_rules! workflow_fn {
    ($($argument:ident)*) => {
        impl<F, W, $($argument,)*> WorkflowFn<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Invocation<W>,
            W: Workflow,
        {
            type Workflow = W;
        }
    };
}

workflow_fn!();
workflow_fn!(A);
workflow_fn!(A B);
workflow_fn!(A B C);
workflow_fn!(A B C D);
workflow_fn!(A B C D E);
workflow_fn!(A B C D E G);
workflow_fn!(A B C D E G H);
workflow_fn!(A B C D E G H I);
workflow_fn!(A B C D E G H I J);
workflow_fn!(A B C D E G H I J K);
workflow_fn!(A B C D E G H I J K L);
workflow_fn!(A B C D E G H I J K L M);
