//! The attributes of `workflow-runtime`, which re-exports them.
//!
//! Every entry is a function from tokens to tokens that can be tested without a compiler (see
//! `golden.rs`). The generated code is thin: calls into the versioned module
//! `workflow_runtime::__private::v1`, so that a change of the runtime rarely changes the expansion.

#![forbid(unsafe_code)]

mod corpus;
mod determinism;
mod durable;
mod errors;
mod fingerprint;
mod fresh;
mod function;
#[cfg(test)]
mod golden;
mod helper;
mod imports;
mod macros;
#[macro_use]
mod options;
mod select;
mod signature;
mod step;
mod stored_types;
mod unawaited;
mod workflow;

use proc_macro::TokenStream;

/// Makes an async function a workflow: a function that resumes at its last recorded operation after a crash.
///
/// The function takes owned, serializable arguments, at most twelve, and returns a `Result`. It is started by
/// `start(checkout, arguments)`; calling it runs nothing.
///
/// The compiler checks in the body that every awaited future is durable, and that no call would give
/// another result on a replay (clocks, randomness, the environment, files, threads, the order of a hash map). Such calls
/// belong in a `#[step]`, or have a replacement that is recorded: `now()`, `random()`, `uuid()`, `sleep()`, `spawn()`.
/// `tokio::select!` and `tokio::join!` are made `biased;`, since a random choice of a branch would differ on a replay.
///
#[doc = workflow_options!()]
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(options.into(), item.into()).into()
}

/// Makes a function a step: it may do anything, is retried when it fails, and its result is recorded once.
///
/// A call returns a `StepCall`, a future that can be configured before it is awaited: `charge(order).retries(1).await`. A
/// function that is not `async` runs on the blocking pool.
///
/// A `#[resource]` argument is a reference to a value that the engine received when it was opened; callers omit it.
///
#[doc = step_options!()]
///
/// Durations are whole numbers of `ms`, `s`, `m`, `h` or `d`.
#[proc_macro_attribute]
pub fn step(options: TokenStream, item: TokenStream) -> TokenStream {
    step::expand(options.into(), item.into()).into()
}

/// Makes an async function one that workflows can await: a helper that calls steps, with the same checks as a workflow.
///
/// Unlike a workflow it has no run of its own: it runs as a part of the workflow that awaits it. It may be generic, a
/// method, a method of a trait, borrow its arguments, and call itself through `Box::pin`.
///
/// A trait that declares such a method is not dyn-compatible, since the return type depends on the method's body. For
/// a trait object declare a method that returns a boxed future, and box the future of a `#[durable]` function in it:
///
/// ```ignore
/// trait Carrier {
///     fn ship(&self, order: u64) -> Pin<Box<dyn Durable<Output = Result<String>> + Send + '_>>;
/// }
///
/// impl Carrier for Post {
///     fn ship(&self, order: u64) -> Pin<Box<dyn Durable<Output = Result<String>> + Send + '_>> {
///         self.post(order).boxed() // of `DurableExt`; `post` is a `#[durable] async fn`
///     }
/// }
/// ```
///
#[doc = durable_options!()]
#[proc_macro_attribute]
pub fn durable(options: TokenStream, item: TokenStream) -> TokenStream {
    helper::expand(options.into(), item.into()).into()
}

#[doc(hidden)] // documented where `workflow_runtime::testing` re-exports it
#[proc_macro]
pub fn replay_corpus(input: TokenStream) -> TokenStream {
    corpus::expand(input.into()).into()
}
