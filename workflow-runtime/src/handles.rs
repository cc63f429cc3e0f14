//! The API of programs that use an engine: starts, runs, lists of runs, stream readers, resumptions.

pub(crate) mod catalog;
pub(crate) mod check;
mod client;
pub(crate) mod events;
pub(crate) mod journal;
pub(crate) mod outcome;
pub(crate) mod repair;
pub(crate) mod resume;
pub(crate) mod resume_run;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod start;
pub(crate) mod stream;
