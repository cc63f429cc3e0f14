//! Code that the crash tests share with the programs that they kill.

#![forbid(unsafe_code)]

pub mod brief;
pub mod chain;
pub mod everything;
pub mod further;
mod log;
pub mod operated;
pub mod samples;
pub mod warnings;

pub use self::log::{Execution, Log, operation};
