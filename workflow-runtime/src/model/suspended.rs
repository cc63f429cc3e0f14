//! The suspensions of a run.

use serde::Serialize;

/// A suspension of a run: see [`Run::suspended`](crate::Run::suspended).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Suspended {
    /// Identifies this suspension among all past and future ones of its run: generation, operation and a number, joined by
    /// dots. [`Run::retry`](crate::Run::retry) does not change the id of a suspension that the run still waits for.
    /// [`Resume::of`](crate::Resume::of) takes this id.
    pub id: String,
    /// The label of the suspension; a later suspension of the run may have the same label.
    pub label: String,
    /// The payload that was passed to `suspend`.
    pub payload: serde_json::Value,
    /// The id of the suspended step; `None` if the workflow itself is suspended.
    pub step: Option<String>,
    /// The id of the run to resume: the run that was queried, or one of its
    /// children.
    pub run: String,
    /// The type of the value that it waits for, as a catalogue names it.
    #[serde(skip)]
    pub(crate) type_name: std::sync::Arc<str>,
}
