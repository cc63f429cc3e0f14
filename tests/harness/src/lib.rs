//! What runs the tests that need a database, and the database.

#![forbid(unsafe_code)]
#![cfg(unix)]

pub mod browser;
pub mod disk;
pub mod postgres;
mod run;

#[doc(hidden)]
pub use inventory;

pub use self::run::{Case, Needs, main, thread, threads, wait};
