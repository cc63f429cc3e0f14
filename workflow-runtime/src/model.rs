//! Plain data types of the engine's parameters and results.

mod deployment;
mod figure;
mod health;
mod hook_info;
mod if_exists;
mod output;
mod request;
mod retention;
pub(crate) mod rfc3339;
mod run_error;
mod run_info;
mod schema;
mod status;
mod stranded;
mod suspended;
mod trace;
mod waiting;
mod worker_info;

pub use self::deployment::Deployment;
pub use self::figure::Figure;
pub use self::health::Health;
pub use self::hook_info::HookInfo;
pub use self::if_exists::IfExists;
pub use self::output::OutputChunk;
pub(crate) use self::output::{OutputWriter, writer as output_writer};
pub use self::request::RequestContext;
pub use self::retention::Retention;
pub use self::run_error::RunError;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) use self::run_error::causes_text;
pub use self::run_info::RunInfo;
pub(crate) use self::run_info::time;
pub(crate) use self::schema::Schema;
pub use self::status::Status;
pub use self::stranded::Stranded;
pub use self::suspended::Suspended;
pub use self::trace::TracingOptions;
pub(crate) use self::trace::{Trace, span_id};
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) use self::waiting::Attempt;
pub use self::waiting::Waiting;
pub(crate) use self::waiting::error_text;
pub use self::worker_info::{Catalogue, CatalogueStep, CatalogueWorkflow, DeploymentInfo, WorkerInfo};
