//! Who may do what, and what was done.

use axum::http::request::Parts;

use crate::error::Error;

/// Something that a request asks for: see [`WebRouter::access`](super::WebRouter::access).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// To see pages: ids, statuses, reasons, errors, attributes, the names of steps.
    List,
    /// To see the values that runs work with: arguments, results, payloads, state, chunks of streams.
    ReadPayloads,
    /// To start a run.
    Start,
    /// To cancel a run.
    Cancel,
    /// To let a run continue that has failed, was cancelled or is stuck.
    Retry,
    /// To start a run from the history of another one.
    Fork,
    /// To end the sleeps of a run before their deadlines.
    Wake,
    /// To send a payload to a hook.
    SendPayload,
    /// To answer a suspension.
    Resume,
    /// To delete a run.
    Delete,
    /// To [drain](crate::Client::drain) a deployment.
    Drain,
    /// To let a drained deployment take runs again.
    Undrain,
    /// To [promote](crate::Client::promote) a deployment.
    Promote,
    /// To [release](crate::Client::release) the runs that are bound to a deployment.
    Release,
}

impl Action {
    pub(super) const WRITES: [Action; 12] = [
        Action::Start,
        Action::Cancel,
        Action::Retry,
        Action::Fork,
        Action::Wake,
        Action::SendPayload,
        Action::Resume,
        Action::Delete,
        Action::Drain,
        Action::Undrain,
        Action::Promote,
        Action::Release,
    ];

    /// Whether it changes something.
    pub fn is_write(self) -> bool {
        !matches!(self, Action::List | Action::ReadPayloads)
    }

    /// The word for it: `list`, `read_payloads`, `start`, ..
    pub fn as_str(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::ReadPayloads => "read_payloads",
            Action::Start => "start",
            Action::Cancel => "cancel",
            Action::Retry => "retry",
            Action::Fork => "fork",
            Action::Wake => "wake",
            Action::SendPayload => "send",
            Action::Resume => "resume",
            Action::Delete => "delete",
            Action::Drain => "drain",
            Action::Undrain => "undrain",
            Action::Promote => "promote",
            Action::Release => "release",
        }
    }
}

/// A request for an action on the page.
///
/// A layer of your application can put the user into the extensions of the request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Access<'a> {
    /// The request, without its body.
    pub request: &'a Parts,
    /// The requested action.
    pub action: Action,
    /// The id of the run that it concerns, the token of a hook for [`Action::SendPayload`], the id of a workflow for
    /// [`Action::Start`], the id of a deployment for [`Action::Drain`], [`Undrain`](Action::Undrain),
    /// [`Promote`](Action::Promote) and [`Release`](Action::Release); `None` where it concerns no single one.
    pub target: Option<&'a str>,
}

impl Access<'_> {
    /// A header of the request, if it is visible ASCII text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.get(name)?.to_str().ok()
    }
}

/// A write that was tried: see [`WebRouter::audit`](super::WebRouter::audit).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Audit<'a> {
    /// The request, without its body.
    pub request: &'a Parts,
    /// What was tried.
    pub action: Action,
    /// The id of the run or of the deployment, the token of the hook or, for a start, the id of the run that was started or of the workflow.
    pub target: &'a str,
    /// Why it was not done, if it was not: refused, or skipped since the run has changed.
    pub error: Option<&'a Error>,
}
