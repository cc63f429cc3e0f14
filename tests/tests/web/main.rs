//! The web page: what is refused, what is shown, and a tour of it in a browser.

#[macro_use]
extern crate workflow_harness;

mod foreign;
mod hours;
mod live;
mod nested;
mod pages;
mod refused;
mod run;
mod steering;
mod support;
mod tour;
mod world;

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
