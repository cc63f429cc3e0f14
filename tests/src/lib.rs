//! What the tests that crash programs share with the programs that they crash.

#![forbid(unsafe_code)]

pub mod brief;
pub mod chain;
pub mod everything;
mod log;
pub mod operated;
pub mod samples;
pub mod warnings;

pub use self::log::{Execution, Log, operation};
