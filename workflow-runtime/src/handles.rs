//! What a program has in its hands: starts, runs, lists of runs, readers, resumptions.

pub(crate) mod catalog;
mod client;
pub(crate) mod events;
pub(crate) mod outcome;
pub(crate) mod repair;
pub(crate) mod resume;
pub(crate) mod resume_run;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod start;
pub(crate) mod stream;
