//! What is known of a hook.

/// What is known of a hook: see [`get_hook`](crate::get_hook).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HookInfo {
    /// Its token.
    pub token: String,
    /// The id of its run; nothing if payloads are held for a run that is not there.
    pub run: Option<String>,
    /// Whether payloads can be sent to it.
    pub is_open: bool,
    /// What the workflow gave it.
    pub metadata: Option<serde_json::Value>,
    /// The JSON Schema of its payloads, with the feature `schema`, if the build has it: see the macro `payload!`.
    pub schema: Option<serde_json::Value>,
}
