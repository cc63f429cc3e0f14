//! The command line: what each command prints, and what it does to a store.

#[macro_use]
extern crate workflow_harness;

#[allow(dead_code, reason = "the tests here do not advance the clock")]
#[path = "../behaviour/support/clock.rs"]
mod clock;
mod support;
mod world;
mod yields;

mod acting;
mod bare;
mod bulk;
mod copies;
mod deployments;
mod failing;
mod own;
mod queues;
mod reading;
mod redacted;
mod safe;
mod standby;
mod watching;

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
