//! Programs that are worth running: see `src/bin`.

#![forbid(unsafe_code)]

/// The README, so that what it shows is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
