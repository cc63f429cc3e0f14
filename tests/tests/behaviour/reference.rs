//! The parameters and results of Mastra's `run.start()`, and the defects that are known of it: each has a test here that is
//! named after it and shows its counterpart. The documentation of `workflow_runtime::coming_from` tells the names.

mod defects;
mod parameters;
mod results;
