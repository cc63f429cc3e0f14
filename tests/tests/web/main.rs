//! The web page: what is refused, what is shown, and a tour of it in a browser.

#[macro_use]
extern crate workflow_harness;

#[allow(dead_code, reason = "the tests here do not need each kind of movement")]
#[path = "../behaviour/support/clock.rs"]
mod clock;
mod foreign;
#[macro_use]
#[path = "../shared/forward.rs"]
mod forward;
mod hours;
mod live;
mod nested;
mod pages;
mod refused;
mod run;
mod searches;
mod steering;
mod support;
mod tour;
mod world;

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
