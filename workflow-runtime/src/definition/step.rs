//! A step, as `#[step]` defines it.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use super::arguments::{Arguments, Tuple};
use super::described::Described;
use super::outcome::{AttemptFailure, AttemptResult, Encoded, adopt, attempt_result};
use super::policy::Policy;
use super::resources::{Requirement, Resources};
use super::source::Source;
use super::workflow::Fallible;
use crate::codec::{self, Payload, Recode};
use crate::error::Error;
use crate::panics::caught;
#[cfg(feature = "postgres")]
use crate::store::Transaction;

/// How an attempt is executed.
pub enum Execution<R> {
    /// As a future on the runtime.
    Async(Pin<Box<dyn Future<Output = R> + Send>>),
    /// As a function on the blocking pool.
    Blocking(Box<dyn FnOnce() -> R + Send>),
    /// As a future on the runtime, in a transaction of the store, which it returns.
    #[cfg(feature = "postgres")]
    Transaction(Transactional<R>),
}

impl<R> Execution<R> {
    /// As a future on the runtime. It is pinned here, which is less code to compile than `Box::pin` in each step.
    #[doc(hidden)]
    pub fn future(attempt: Box<dyn Future<Output = R> + Send>) -> Self {
        Execution::Async(Box::into_pin(attempt))
    }
}

/// An attempt that runs in a transaction.
#[cfg(feature = "postgres")]
pub type Transactional<R> =
    Box<dyn FnOnce(Transaction) -> Pin<Box<dyn Future<Output = (R, Transaction)> + Send>> + Send>;

/// Makes one attempt of a step: the only function that is compiled for each step. The others are generic over the types of the
/// arguments, always a tuple without the resources, and of the function's result.
#[doc(hidden)]
pub struct Attempt<A, R>(pub fn(A, &Resources) -> Result<Execution<R>, Error>);

/// What a call of a step does with its types.
pub(crate) struct StepTypes<A, R> {
    pub encode: fn(&A) -> Result<Payload, Error>,
    /// Decodes the result of a call.
    pub returned: fn(Result<&Encoded, Error>) -> Result<R, Error>,
}

impl<A: Arguments<Tuple>, R: Fallible> StepTypes<A, R> {
    const OF: &'static Self =
        &StepTypes { encode: |args| args.encode("an argument of the step"), returned: returned::<R> };
}

fn returned<R: Fallible>(result: Result<&Encoded, Error>) -> Result<R, Error> {
    Ok(match result {
        Ok(Ok(value)) => R::from_result(Ok(codec::decode("the step's result", value)?)),
        Ok(Err(error)) => R::from_result(Err(codec::decode("the step's error", error)?)),
        Err(error) => R::from_result(Err(error.into())),
    })
}

/// Makes one attempt from encoded arguments.
pub(crate) trait Execute: Sync {
    fn execute(
        &self,
        step: &'static str,
        args: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>, Error>;
}

impl<A: Arguments<Tuple>, R: Fallible> Execute for Attempt<A, R> {
    fn execute(
        &self,
        step: &'static str,
        args: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>, Error> {
        let args = A::decode("the step's arguments", args)
            .map_err(|error| error.operation(format!("step `{step}`")).into_fatal())?;
        Ok(match (self.0)(args, resources)? {
            Execution::Async(attempt) => Execution::Async(Box::pin(async move { attempt_result(step, attempt.await) })),
            Execution::Blocking(attempt) => Execution::Blocking(Box::new(move || attempt_result(step, attempt()))),
            #[cfg(feature = "postgres")]
            Execution::Transaction(attempt) => Execution::Transaction(Box::new(move |transaction| {
                Box::pin(async move {
                    let (outcome, transaction) = attempt(transaction).await;
                    (attempt_result(step, outcome), transaction)
                })
            })),
        })
    }
}

/// A step of this build.
pub struct StepDefinition {
    pub(crate) source: Source,
    /// Former ids.
    pub(crate) was: &'static [&'static str],
    /// The queue whose workers execute it, if it is not executed where its run is.
    pub(crate) queue: Option<&'static str>,
    /// Whether it runs in a transaction of the store.
    #[cfg(feature = "postgres")]
    pub(crate) transaction: bool,
    pub(crate) described: Described,
    pub(crate) policy: Policy,
    pub(crate) requires: &'static [Requirement],
    pub(crate) execute: &'static dyn Execute,
    /// The [`StepTypes`]. A call finds them by a downcast and has no bounds on its types: a type that cannot be stored is a
    /// compile error at the step, and not at its calls.
    pub(crate) types: &'static (dyn Any + Send + Sync),
    /// Converts an error of the engine into the step's own type.
    pub(crate) adopt: fn(Error) -> AttemptFailure,
    pub(crate) recode_args: Recode,
    /// Checks that a payload decodes as the arguments.
    pub(crate) check_args: fn(&Payload) -> Result<(), Error>,
    /// The type of its arguments, for an error message.
    pub(crate) args_name: fn() -> &'static str,
    /// The name of the hidden function that the attribute has made inside the function.
    #[cfg(feature = "testing")]
    pub(crate) body_name: fn() -> &'static str,
}

impl StepDefinition {
    /// Defines a step whose source is the caller's location. `body` is the generated function with the user's code: its type
    /// gives its name.
    #[doc(hidden)]
    #[track_caller]
    pub const fn new<A: Arguments<Tuple>, R: Fallible, B: Copy>(
        id: &'static str,
        fingerprint: &'static str,
        test: bool,
        described: Described,
        attempt: &'static Attempt<A, R>,
        body: B,
    ) -> Self {
        let _ = body;
        StepDefinition {
            source: Source::here(id, fingerprint, test),
            was: &[],
            queue: None,
            #[cfg(feature = "postgres")]
            transaction: false,
            described,
            policy: Policy::DEFAULT,
            requires: &[],
            execute: attempt,
            types: StepTypes::<A, R>::OF,
            adopt: adopt::<R::Err>,
            recode_args: A::recode,
            check_args: check_args::<A>,
            args_name: std::any::type_name::<A>,
            #[cfg(feature = "testing")]
            body_name: std::any::type_name::<B>,
        }
    }
}

impl StepDefinition {
    /// Sets the resources that the signature declares.
    #[doc(hidden)]
    pub const fn requires(mut self, requires: &'static [Requirement]) -> Self {
        self.requires = requires;
        self
    }

    #[doc(hidden)]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    #[doc(hidden)]
    pub const fn was(mut self, was: &'static [&'static str]) -> Self {
        self.was = was;
        self
    }

    #[doc(hidden)]
    pub const fn queue(mut self, queue: &'static str) -> Self {
        self.queue = Some(queue);
        self
    }

    #[doc(hidden)]
    #[cfg(feature = "postgres")]
    pub const fn transaction(mut self) -> Self {
        self.transaction = true;
        self
    }
}

fn check_args<A: Arguments<Tuple>>(args: &Payload) -> Result<(), Error> {
    let fits = || A::decode("the step's arguments", args).map(drop);
    caught("the type of an argument", fits).and_then(|fits| fits)
}
