//! Programs that are worth running: see `src/bin`.

/// The README, so that what it shows is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
