//! The metadata of a hook.

use serde::Serialize;

/// The metadata of a hook: see [`get_hook`](crate::get_hook).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HookInfo {
    /// Its token.
    pub token: String,
    /// The id of its run; `None` if payloads are held for a run that does not exist yet.
    pub run: Option<String>,
    /// Whether the hook accepts payloads.
    pub is_open: bool,
    /// The metadata that the workflow gave it.
    pub metadata: Option<serde_json::Value>,
    /// The JSON Schema of its payloads, with the feature `schema`, if the build has it: see the macro `payload!`.
    pub schema: Option<serde_json::Value>,
    /// The type of its payloads, as a catalogue names it.
    #[serde(skip)]
    #[cfg_attr(not(any(feature = "cli", feature = "web")), allow(dead_code, reason = "for forms and checks"))]
    pub(crate) type_name: std::sync::Arc<str>,
}
