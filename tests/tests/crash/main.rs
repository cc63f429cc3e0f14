//! Crash tests: no crash loses a recorded result or repeats recorded work.
//!
//! The tests kill programs from `src/bin` with SIGKILL, at a fail point in the store (the environment variable
//! `WORKFLOW_FAIL_POINT=N` kills at the N-th) or from outside, and run them again until they finish. [`check`] compares
//! the journals and the log of executions before and after each crash.
//!
//! A plain `cargo test` runs a sample. The full sweep is
//!
//! ```text
//! WORKFLOW_SWEEP=full cargo test -p workflow-tests --test crash
//! ```
//!
//! and `WORKFLOW_SEED=N` sets the seed of the random choices; a failure prints it.
//!
//! The soak tests run for less than a minute each, which finds only fast growth of memory, rows or files. For longer:
//!
//! ```text
//! cargo run --release -p workflow-tests --bin soak -- sqlite:/tmp/soak.db --seconds 3600
//! ```
//!
//! and the same with a `postgres://..?schema=soak`.

#![cfg(unix)]

#[macro_use]
extern crate workflow_harness;

mod callbacks;
mod check;
mod child;
mod cuts;
mod deploy;
mod failover;
#[macro_use]
#[path = "../shared/forward.rs"]
mod forward;
mod full_disk;
mod ledger;
mod memory;
mod operated;
mod overlay;
mod place;
mod poison;
mod pooled;
#[path = "../shared/proxy.rs"]
mod proxy;
mod refusals;
mod remains;
mod removal;
mod restarts;
mod restored;
mod rolling;
mod silent;
mod snapshot;
mod soak;
mod started;
mod sweep;
mod takeover;
mod versions;
mod workers;
mod yields;
mod zombies;

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}

/// Whether to run the full sweep instead of a sample.
fn full() -> bool {
    std::env::var("WORKFLOW_SWEEP").is_ok_and(|sweep| sweep == "full")
}

/// The seed of the random choices.
fn seed() -> u64 {
    std::env::var("WORKFLOW_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Runs code that blocks (it waits for processes) inside an async test.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
