//! The kinds of operations, and how operations end.

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use super::identity::Target;
use super::journal::{Command, End};
use super::request::{ChildRequest, HookRequest, LocalFuture, NONDETERMINISTIC, StepRequest};
use crate::codec::{Payload, Recode};
use crate::definition::Source;

/// The kind of an operation.
pub(crate) enum Kind {
    Step(Box<StepRequest>),
    Timer {
        until: u64,
        /// Whether it is the timer of a timeout, and not a sleep.
        bounds: bool,
        /// The time of the call, if it lasts for a duration from then on.
        since: Option<u64>,
    },
    Local(Option<LocalFuture>),
    Hook(Box<HookRequest>),
    Child(Box<ChildRequest>),
    /// The end of a run.
    Watch(Target),
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Completion {
    Completed(Payload),
    Failed(Payload),
    Due,
    /// A sleep ended before its deadline.
    Woken,
    /// Another run has ended.
    Ended(End),
}

/// What the engine does for an operation that is issued.
pub(crate) enum Begins {
    /// Arms a timer.
    At(u64),
    /// Executes a step.
    Attempt,
    /// Sends a request to the store, which answers by an event.
    Request,
}

impl Kind {
    /// What the engine does for the operation.
    pub fn begins(&self) -> Begins {
        match self {
            Kind::Timer { until, .. } => Begins::At(*until),
            Kind::Step(step) if step.is_here() => Begins::Attempt,
            Kind::Local(_) => Begins::Attempt,
            Kind::Step(_) | Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => Begins::Request,
        }
    }

    /// Its step, if it is one with a definition.
    pub fn step(&self) -> Option<&StepRequest> {
        match self {
            Kind::Step(step) => Some(step),
            Kind::Local(_) | Kind::Timer { .. } | Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => None,
        }
    }

    /// Whether it opens a token, which may belong to another operation.
    pub fn opens_token(&self) -> bool {
        match self {
            Kind::Hook(_) => true,
            Kind::Step(step) => step.suspension().is_some(),
            Kind::Local(_) | Kind::Timer { .. } | Kind::Child(_) | Kind::Watch(_) => false,
        }
    }

    /// Whether its result comes from elsewhere: this engine does not execute the operation.
    pub(super) fn is_elsewhere(&self) -> bool {
        match self {
            Kind::Step(step) => !step.is_here() || step.suspension().is_some(),
            Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => true,
            Kind::Timer { .. } | Kind::Local(_) => false,
        }
    }

    /// The definition of its step or workflow, and the former ids of that.
    pub(super) fn definition(&self) -> Option<(Source, &'static [&'static str])> {
        match self {
            Kind::Step(step) => Some((step.definition.source, step.definition.was)),
            Kind::Child(child) => Some((child.definition.source, child.definition.was)),
            Kind::Timer { .. } | Kind::Local(_) | Kind::Hook(_) | Kind::Watch(_) => None,
        }
    }

    /// How the input is recoded.
    pub(super) fn recode(&self) -> Recode {
        match self {
            Kind::Step(step) => step.definition.recode_args,
            Kind::Child(child) => child.definition.recode_args,
            Kind::Timer { .. } | Kind::Local(_) | Kind::Hook(_) | Kind::Watch(_) => |_| None,
        }
    }

    /// The command that records the operation. `child_id` returns the id of the run that the engine derives for it.
    pub(super) fn command(&self, op: u64, child_id: impl FnOnce() -> Arc<str>) -> Command {
        match self {
            Kind::Step(step) => Command::Step {
                op,
                step: Cow::Borrowed(step.definition.source.id),
                name: step.name.as_deref().map(|name| Cow::Owned(name.to_owned())),
                input: step.input.clone(),
                rollback: step.rollback.is_some(),
                run: (!step.is_here()).then(|| Cow::Owned(child_id().to_string())),
                given: None,
                key: None,
            },
            Kind::Timer { until, .. } => Command::Timer { op, until: *until },
            Kind::Child(child) => Command::Child {
                op,
                workflow: Cow::Borrowed(child.definition.source.id),
                run: match &child.named {
                    Some(named) => Cow::Owned(named.id.to_string()),
                    None => Cow::Owned(child_id().to_string()),
                },
                input: child.input.clone(),
                detached: child.detached,
                abandoned: child.abandoned,
                own: child.named.as_ref().map(|named| Uuid::from_u128(named.token)),
                attributes: child.attributes.clone(),
            },
            Kind::Watch(watched) => Command::Watch { op, run: Cow::Owned(watched.run.to_string()) },
            Kind::Hook(hook) => Command::Hook {
                op,
                token: Cow::Owned(hook.token.to_string()),
                drawn: hook.drawn,
                // A `null` is read back as `None`.
                metadata: hook.metadata.clone().filter(|metadata| metadata.as_str() != "null"),
            },
            Kind::Local(_) => Command::Step {
                op,
                step: Cow::Borrowed(NONDETERMINISTIC),
                name: None,
                input: Payload::null(),
                rollback: false,
                run: None,
                given: None,
                key: None,
            },
        }
    }
}
