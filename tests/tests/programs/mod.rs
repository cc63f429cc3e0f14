//! Good programs: everything here has to compile without a complaint, run, and replay.
//!
//! Each is a workflow as a user would write it, with its arguments and its result. A test that includes this module
//! starts [`all`] of them on an engine that replays every turn.

// Written as people write, which is not always as clippy would.
#![allow(clippy::needless_lifetimes, clippy::needless_question_mark)]

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use workflow_runtime::Engine;

pub mod bare;
pub mod basics;
pub mod borrowed;
pub mod concurrency;
pub mod control_flow;
pub mod helpers;
pub mod hygiene;
pub mod instrumented;
pub mod lookalikes;
pub mod macros;
pub mod medley;
pub mod names;
pub mod own_methods;
pub mod pedantic;
pub mod steps;
pub mod streams;
pub mod templates;
pub mod values;

/// A workflow, how to start it, and what it gives.
pub struct Program {
    pub name: &'static str,
    pub run: fn(Engine) -> Pin<Box<dyn Future<Output = Value> + Send>>,
    pub expected: fn() -> Value,
}

/// `program!(workflow, arguments, result)`: the result as `json!` takes it, `{"error": ..}` for a failed run.
macro_rules! program {
    ($workflow:path, $args:expr, $($expected:tt)+) => {
        $crate::programs::Program {
            name: stringify!($workflow),
            run: |engine| {
                Box::pin(async move {
                    let run = engine.start($workflow, $args).await.expect("it starts");
                    match run.await {
                        Ok(value) => serde_json::json!(value),
                        Err(error) => serde_json::json!({ "error": error.to_string() }),
                    }
                })
            },
            expected: || serde_json::json!($($expected)+),
        }
    };
}
pub(crate) use program;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Program> {
    [
        bare::PROGRAMS,
        basics::PROGRAMS,
        borrowed::PROGRAMS,
        concurrency::PROGRAMS,
        control_flow::PROGRAMS,
        helpers::PROGRAMS,
        hygiene::PROGRAMS,
        instrumented::PROGRAMS,
        lookalikes::PROGRAMS,
        macros::PROGRAMS,
        medley::PROGRAMS,
        names::PROGRAMS,
        own_methods::PROGRAMS,
        pedantic::PROGRAMS,
        streams::PROGRAMS,
        templates::PROGRAMS,
        values::PROGRAMS,
    ]
    .into_iter()
    .flatten()
}
