//! The futures that a workflow may await.
//!
//! A replay resumes a workflow by polling its body with the recorded results in the recorded order. That works
//! for the operations of this crate, and for futures that are composed only of them: `trait Durable` marks these
//! futures, and the attributes require it at each `.await`. Combinators of `futures` are durable if their parts are.

mod block;
mod ext;
mod futures;
mod pointers;
mod streams;

use std::future::{Future, IntoFuture};

pub use block::DurableBlock;
pub use ext::DurableExt;
pub use streams::DurableStream;

/// A future that a replay can resume: every operation of this crate, and every composition of such operations.
///
/// `#[workflow]` and `#[durable]` require it at each `.await`. To await something else, move it into a `#[step]`, or
/// wrap it with [`nondeterministic`](crate::nondeterministic).
///
/// As a trait object it is `Pin<Box<dyn Durable<Output = T> + Send>>`, which [`DurableExt::boxed`] makes.
#[diagnostic::on_unimplemented(
    message = "a workflow can only await durable operations, and `{Self}` is none: the engine could not resume it after a crash",
    label = "not durable",
    note = "move the call into a `#[step]`; for time use `workflow_runtime::sleep` and `timeout`; mark a helper that awaits with `#[durable]`",
    note = "a boxed future is a `Pin<Box<dyn Durable<Output = T> + Send>>`: import `workflow_runtime::DurableExt` for `.boxed()`",
    note = "`workflow_runtime::nondeterministic(future)` runs any future once and records its result"
)]
pub trait Durable: Future {
    /// Marks the future as passed to a combinator, which polls it unless the
    /// outcome is decided before: dropping it unpolled is then not a mistake.
    #[doc(hidden)]
    fn hand_over(&mut self) {}
}

/// The attributes pass each operand of `.await` through this function.
#[doc(hidden)]
pub fn durable<F>(future: F) -> F::IntoFuture
where
    F: IntoFuture,
    F::IntoFuture: Durable,
{
    let mut future = future.into_future();
    future.hand_over();
    future
}

/// The attributes check with this function a future that `select!` polls in place, and that cannot be passed by value.
#[doc(hidden)]
pub fn is_durable<F: Durable + ?Sized>(_: &F) {}
