//! What tests of several binaries share, among them those that crash programs with the programs that they crash.

#![forbid(unsafe_code)]

pub mod everything;
#[cfg(unix)]
pub mod harness;
mod log;
#[cfg(unix)]
pub mod postgres;

#[cfg(unix)]
#[doc(hidden)]
pub use inventory;

pub use self::log::{Execution, Log};
