//! The harness of tests that need a database, a disk or a browser, and the servers that they need.

#![forbid(unsafe_code)]
#![cfg(unix)]

pub mod browser;
pub mod disk;
pub mod postgres;
mod run;

#[doc(hidden)]
pub use inventory;

pub use self::run::{Case, Needs, main, pause, thread, threads, wait};
