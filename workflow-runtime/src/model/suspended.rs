//! What a run waits for that is suspended.

/// What a run waits for: see [`Run::suspended`](crate::Run::suspended).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Suspended {
    /// Names this suspension among all that its run ever has: generation, operation and a number, with dots between them.
    /// It is what [`Resume::of`](crate::Resume::of) takes.
    pub id: String,
    /// The label that it was given: another suspension of the run may have it later.
    pub label: String,
    /// What it told when it was suspended.
    pub payload: serde_json::Value,
    /// The id of the step that is suspended; nothing if it is the workflow itself.
    pub step: Option<String>,
    /// The id of the run that is suspended and can be resumed: the one that was asked, or one that this has started as its
    /// child.
    pub run: String,
}
