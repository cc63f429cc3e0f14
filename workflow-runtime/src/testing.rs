//! Tests of workflows that do not wait, call no other system, and try out crashes.
//!
//! A [`TestEngine`] keeps its runs in memory, and its clock jumps to the next timer whenever nothing else can happen: a
//! workflow that sleeps for a year ends at once. Steps and children are [replaced](Builder::mock) by closures, which the
//! compiler checks against the signature of the function. [`explore`] executes a workflow again and again: with a crash
//! behind each commit, with a replay of each turn, and with the results of concurrent steps in other orders.
//!
//! ```
//! use std::time::Duration;
//! use workflow_runtime::testing::TestEngine;
//! use workflow_runtime::{Result, sleep, step, workflow};
//!
//! #[step]
//! async fn charge(order: u64, cents: u32) -> Result<String> {
//!     unimplemented!("calls the bank")
//! }
//!
//! #[workflow]
//! async fn checkout(order: u64) -> Result<String> {
//!     sleep(Duration::from_secs(3 * 24 * 3600)).await; // the customer may withdraw for three days
//!     charge(order, 4200).await
//! }
//!
//! #[tokio::test]
//! # async fn hidden() {}
//! async fn charges_after_three_days() -> Result<()> {
//!     let engine = TestEngine::builder().mock(charge, |(order, cents)| Ok(format!("{order}: {cents}"))).open().await?;
//!     assert_eq!(engine.start(checkout, 7).await?.await?, "7: 4200");
//!     assert_eq!(engine.calls(charge), [(7, 4200)]);
//!     Ok(())
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(charges_after_three_days()).unwrap();
//! ```

pub(crate) mod corpus;
mod engine;
mod explore;
mod held;
mod mocks;
mod simulated;

pub use self::engine::{Builder, TestEngine, fail_first};
pub use self::explore::{Exploration, Explore, Finding, Variation, explore};
pub use crate::context::step_fn::StepFn;
/// Makes each journal of a folder a test of its own: `replay_corpus!("journals/")`, relative to the `Cargo.toml` of the crate.
///
/// The files are those that [`Run::export`](crate::Run::export) writes, with names that end in `.json`. A test fails with the
/// error with which the run would get stuck in this build. Cargo does not notice a new file: the test `corpus_is_complete` fails
/// if the folder has other files than at the time of the compilation, until the file that calls the macro is touched. Call it in
/// a module of its own, in a crate that links the workflows.
///
/// ```ignore
/// mod journals {
///     workflow_runtime::testing::replay_corpus!("journals/");
/// }
/// ```
pub use workflow_macros::replay_corpus;
