//! The source location of a definition, and the items that the attributes register.

use std::panic::Location;

use super::step::StepDefinition;
use super::workflow::WorkflowDefinition;

/// Where a definition is in the source, and its fingerprint at compile time.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The id: the module's path and the function's name, or the pinned one.
    pub id: &'static str,
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line of the function's name.
    pub line: u32,
    /// SHA-256 over the tokens of signature and body, in hex.
    pub fingerprint: &'static str,
    /// Whether it was compiled as a part of a test.
    pub test: bool,
}

impl Source {
    /// The source of a definition at the caller's location.
    #[track_caller]
    pub(crate) const fn here(id: &'static str, fingerprint: &'static str, test: bool) -> Self {
        let place = Location::caller();
        Source { id, file: place.file(), line: place.line(), fingerprint, test }
    }
}

/// The items that the attributes register.
pub enum Item {
    /// A workflow.
    Workflow(&'static WorkflowDefinition),
    /// A step.
    Step(&'static StepDefinition),
    /// A type of payloads.
    #[cfg(feature = "schema")]
    Payload(PayloadDefinition),
}

inventory::collect!(Item);

/// A type of payloads and its schema.
#[cfg(feature = "schema")]
pub struct PayloadDefinition {
    /// The key of the type. Requesting it enables the check of payloads when they are sent.
    pub key: fn() -> &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> serde_json::Value,
}
