//! Going on as a new generation: with a journal that begins anew.

use std::panic::Location;
use std::sync::Arc;

use super::{Shared, State};
use crate::codec::Payload;
use crate::replay::journal::{Command, End};
use crate::replay::operation::{Kind, Received};

/// What a run hands to its next generation.
#[derive(Clone, Debug)]
pub(crate) struct Continued {
    pub args: Payload,
    pub state: Option<Payload>,
    /// What came by hooks that are open, and was not taken: in its order, with where it was sent to.
    pub payloads: Vec<(Arc<str>, Payload)>,
}

#[derive(Default)]
pub(super) struct Continuation {
    /// The arguments with which the workflow has just asked to go on.
    args: Option<Payload>,
    /// As in [`Continued`], once the workflow has ended.
    payloads: Vec<(Arc<str>, Payload)>,
    /// Whether the workflow was told that its journal is long.
    suggested: bool,
}

impl State {
    /// The run has ended: what its next generation gets, if there is one.
    pub(super) fn hand_on(&mut self, end: &End) {
        if let End::Continued(args) = end
            && self.expected.is_none()
        {
            let payloads = std::mem::take(&mut self.continuation.payloads);
            self.effects.continued = Some(Continued { args: args.clone(), state: self.value.clone(), payloads });
        }
    }
}

impl Shared {
    /// Asks to go on as a new generation once this poll is over.
    pub(crate) fn continue_as_new(&self, args: Payload) {
        let mut state = self.state();
        if state.phase == super::Phase::Polling {
            state.continuation.args = Some(args);
        }
    }

    /// The arguments with which the workflow has asked to go on.
    pub(in crate::replay) fn take_continued(&self) -> Option<Payload> {
        self.state().continuation.args.take()
    }

    /// Notes what the next generation gets, before the hooks are given up.
    pub(in crate::replay) fn carry(&self) {
        let mut state = self.state();
        let mut hooks: Vec<_> = state
            .ops
            .iter_mut()
            .filter_map(|(op, slot)| match &mut slot.kind {
                Kind::Hook(hook) => Some((*op, hook.address.clone(), std::mem::take(&mut hook.received))),
                _ => None,
            })
            .collect();
        hooks.sort_unstable_by_key(|(op, ..)| *op);
        let payloads = hooks.into_iter().flat_map(|(_, address, received)| {
            received.into_iter().filter_map(move |received| match received {
                Received::Payload(payload) => Some((address.clone(), payload)),
                Received::Conflict(_) => None,
            })
        });
        state.continuation.payloads = payloads.collect();
    }

    /// Whether what comes for the run's hooks, or to cancel it, is its next generation's.
    pub(crate) fn is_continuing(&self) -> bool {
        matches!(self.unwinds_to(), Some(End::Continued(_)))
    }

    /// Whether the journal has become so long that the workflow had better go on as a new generation. What it was told is
    /// part of its history.
    pub(crate) fn suggests_continuing(&self, site: &'static Location<'static>) -> bool {
        {
            let state = self.state();
            if state.continuation.suggested {
                return true;
            }
            let suggested = match &state.expected {
                Some(expected) => matches!(expected.as_slice().first(), Some(Command::Suggested)),
                None => state.event >= self.host.long_after,
            };
            if !suggested {
                return false;
            }
        }
        self.record(Command::Suggested, |_| None, Some(site));
        self.state().continuation.suggested = true;
        true
    }
}
