//! The parameters and results of Mastra's `run.start()`, and its known defects. Each has a test of the same name here,
//! which shows the counterpart in this library. The documentation of `workflow_runtime::coming_from` lists the names.

mod defects;
mod parameters;
mod results;
