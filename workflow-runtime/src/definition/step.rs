//! A step, as `#[step]` defines it.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;

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

/// An attempt that runs in a transaction.
#[cfg(feature = "postgres")]
pub type Transactional<R> =
    Box<dyn FnOnce(Transaction) -> Pin<Box<dyn Future<Output = (R, Transaction)> + Send>> + Send>;

impl<R> Execution<R> {
    /// An attempt that is a future. It is boxed by the caller, and pinned here, so that the code for each step is small.
    #[doc(hidden)]
    pub fn future(attempt: Box<dyn Future<Output = R> + Send>) -> Self {
        Execution::Async(attempt.into())
    }
}

/// A step: the hidden type behind each `#[step]` function. Only the attribute implements it.
pub trait Step: 'static {
    /// The arguments, always as a tuple, without the resources.
    type Args: Arguments<Tuple>;
    /// The return type of the function: a `Result`.
    type Output: Fallible;
    /// The code that steps with the same types share.
    const CODE: &'static StepCode<Self::Args, Self::Output> = &StepCode::new(Self::attempt);

    /// Makes one attempt.
    fn attempt(args: Self::Args, resources: &Resources) -> Result<Execution<Self::Output>, Error>;
}

/// Makes one attempt of a step.
type Attempt<A, R> = fn(A, &Resources) -> Result<Execution<R>, Error>;

/// What is executed for a step: one function of its own, and otherwise functions that are generic over its types only.
pub struct StepCode<A, R> {
    attempt: Attempt<A, R>,
    pub(crate) encode: fn(&A) -> Result<Payload, Error>,
    /// Decodes the result of a call.
    pub(crate) returned: fn(Result<&Encoded, Error>) -> Result<R, Error>,
}

impl<A: Arguments<Tuple>, R: Fallible> StepCode<A, R> {
    const fn new(attempt: Attempt<A, R>) -> Self {
        StepCode { attempt, encode: |args| args.encode("an argument of the step"), returned: returned::<R> }
    }
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

impl<A: Arguments<Tuple>, R: Fallible> Execute for StepCode<A, R> {
    fn execute(
        &self,
        step: &'static str,
        args: &Payload,
        resources: &Resources,
    ) -> Result<Execution<AttemptResult>, Error> {
        let args = A::decode("the step's arguments", args)
            .map_err(|error| error.operation(format!("step `{step}`")).into_fatal())?;
        Ok(match (self.attempt)(args, resources)? {
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
    /// Converts an error of the engine into the step's own type.
    pub(crate) adopt: fn(Error) -> AttemptFailure,
    pub(crate) recode_args: Recode,
    /// Checks that a payload decodes as the arguments.
    pub(crate) check_args: fn(&Payload) -> Result<(), Error>,
    /// The type of its arguments, for an error message.
    pub(crate) args_name: fn() -> &'static str,
    /// The name of the hidden type that the attribute has made inside the function.
    #[cfg(feature = "testing")]
    pub(crate) type_name: fn() -> &'static str,
    /// The cached check that no other step has the id.
    pub(crate) unique: OnceLock<Result<(), Error>>,
}

impl StepDefinition {
    #[doc(hidden)]
    pub const fn new<S: Step>(source: Source, policy: Policy) -> Self {
        StepDefinition {
            source,
            was: &[],
            queue: None,
            #[cfg(feature = "postgres")]
            transaction: false,
            described: Described::NOTHING,
            policy,
            requires: &[],
            execute: S::CODE,
            adopt: adopt::<<S::Output as Fallible>::Err>,
            recode_args: S::Args::recode,
            check_args: check_args::<S::Args>,
            args_name: std::any::type_name::<S::Args>,
            #[cfg(feature = "testing")]
            type_name: std::any::type_name::<S>,
            unique: OnceLock::new(),
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

    /// Sets the description for other programs.
    #[doc(hidden)]
    pub const fn described(mut self, described: Described) -> Self {
        self.described = described;
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
