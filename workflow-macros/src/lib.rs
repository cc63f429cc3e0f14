//! The attributes of `workflow-runtime`: use them from there.
//!
//! Every entry is a function from tokens to tokens that can be tested without a compiler (see `golden.rs`). What is
//! generated is thin: calls into the versioned module `workflow_runtime::__private::v1`, so that a change of the runtime
//! does not have to be a change of the expansion.

#![forbid(unsafe_code)]

mod determinism;
mod durable;
mod errors;
mod fingerprint;
#[cfg(test)]
mod golden;
mod helper;
mod imports;
mod macros;
mod options;
mod select;
mod signature;
mod step;
mod unawaited;
mod workflow;

use proc_macro::TokenStream;

/// Makes an async function a workflow: a function that goes on where it was after a crash.
///
/// The function takes owned, serializable arguments, at most twelve, and returns a `Result`. It is started by
/// `start(checkout, arguments)`; calling it runs nothing.
///
/// What the compiler checks in the body: everything that is awaited is durable, and nothing is called that would give
/// another answer on a replay (clocks, randomness, the environment, files, threads, the order of a hash map). Such calls
/// belong in a `#[step]`, or have a replacement that is recorded: `now()`, `random()`, `uuid()`, `sleep()`, `spawn()`.
/// `tokio::select!` and `tokio::join!` are made `biased;`, since a branch picked at random is another one on a replay.
///
/// # Options
///
/// - `id = "checkout"` pins the id under which runs are stored; otherwise it is the path of the function.
/// - `was = "shop::pay::checkout"` keeps runs of a function that was moved or renamed alive. It may be given several times.
/// - `crate = path` names the runtime where it is re-exported: `#[workflow(crate = my_prelude::workflow_runtime)]`.
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(options.into(), item.into()).into()
}

/// Makes a function a step: it may do anything, is retried when it fails, and its result is recorded once.
///
/// A call gives a `StepCall`, a future that can be configured before it is awaited: `charge(order).retries(1).await`. A
/// function that is not `async` runs on the blocking pool.
///
/// A `#[resource]` argument is a reference to what the engine was given at its opening; callers leave it out.
///
/// # Options
///
/// - `retries = 5`: attempts after the first.
/// - `backoff = "100ms..30s"`: the delay before a retry is random, at most the first of these, doubling up to the second.
/// - `timeout = "10s"`: how long an attempt may take.
/// - `id = "charge"` pins the id under which the step is recorded.
/// - `crate = path` names the runtime where it is re-exported.
///
/// Durations are whole numbers of `ms`, `s`, `m`, `h` or `d`.
#[proc_macro_attribute]
pub fn step(options: TokenStream, item: TokenStream) -> TokenStream {
    step::expand(options.into(), item.into()).into()
}

/// Makes an async function one that workflows can await: a helper that calls steps, with the same checks as a workflow.
///
/// Unlike a workflow it is no unit of its own: it runs as a part of the workflow that awaits it. It may be generic, a
/// method, a method of a trait, borrow its arguments, and call itself through `Box::pin`.
///
/// # Options
///
/// - `crate = path` names the runtime where it is re-exported.
#[proc_macro_attribute]
pub fn durable(options: TokenStream, item: TokenStream) -> TokenStream {
    helper::expand(options.into(), item.into()).into()
}
