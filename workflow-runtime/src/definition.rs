//! The definitions that the attributes make and register: workflows, steps, their policies and resources.

mod arguments;
mod bodies;
mod described;
mod outcome;
mod policy;
mod resources;
mod source;
mod step;
mod workflow;

#[cfg(feature = "testing")]
pub(crate) use self::arguments::FormOf;
pub use self::arguments::{One, Tuple};
pub(crate) use self::bodies::Bodies;
#[cfg(feature = "testing")]
pub(crate) use self::bodies::Replace;
pub use self::described::Described;
#[cfg(feature = "schema")]
pub use self::described::{NoSchema, ResultSchemaOf, SchemaOf, schema};
#[cfg(feature = "testing")]
pub(crate) use self::outcome::encode_outcome;
pub(crate) use self::outcome::{AttemptFailure, AttemptResult, Encoded, RunFuture, adopt, adopted, attempt_result};
pub use self::policy::Policy;
pub use self::resources::{Requirement, Resources};
#[cfg(feature = "schema")]
pub use self::source::PayloadDefinition;
pub use self::source::{Item, Source};
pub(crate) use self::step::StepTypes;
#[cfg(feature = "postgres")]
pub use self::step::Transactional;
pub use self::step::{Attempt, Execution, StepDefinition};
pub(crate) use self::workflow::encode_arguments;
pub use self::workflow::{Fallible, Returned, Workflow, WorkflowDefinition, WorkflowFn};
