//! What is left after a crash, wherever it comes.
//!
//! Programs from `src/bin` are killed with SIGKILL, by a fail point in the store (the environment variable
//! `WORKFLOW_FAIL_POINT=N` kills at the N-th) or from outside, and then run again to their end. What the journal and the
//! log of executions say before and after must fit: see [`check`].
//!
//! A plain `cargo test` takes a sample. The full sweep is
//!
//! ```text
//! WORKFLOW_SWEEP=full cargo test -p workflow-tests --test crash
//! ```
//!
//! and `WORKFLOW_SEED=N` sets the seed of what is random; a failure prints it.
//!
//! Whether memory, rows or files grow is seen after a long time only; the tests take a minute of it. For longer:
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
mod zombies;

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}

/// Whether everything is asked for, or a sample.
fn full() -> bool {
    std::env::var("WORKFLOW_SWEEP").is_ok_and(|sweep| sweep == "full")
}

/// The seed of what is random.
fn seed() -> u64 {
    std::env::var("WORKFLOW_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// What waits for processes, in a test that is async for the sake of its needs.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
