//! Going on as a new generation: with a journal that begins anew.

use std::panic::Location;
use std::sync::Arc;

use super::{Forward, Shared, State};
use crate::codec::Payload;
use crate::replay::journal::{Carried, Command, End, Inherited};
use crate::replay::operation::{Kind, Received};

/// What a run hands to its next generation.
#[derive(Clone, Debug)]
pub(crate) struct Continued {
    pub args: Payload,
    pub carried: Carried,
    /// What came by hooks that are open, and was not taken: in its order, with where it was sent to.
    pub payloads: Vec<(Arc<str>, Payload)>,
    /// Letters that may be in the inbox for hooks that were dropped.
    pub forwards: Vec<Forward>,
}

#[derive(Default)]
pub(super) struct Continuation {
    /// The arguments with which the workflow has just asked to go on.
    args: Option<Payload>,
    /// The result with which the workflow has just asked to end.
    finished: Option<Payload>,
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
            let (surplus, forwards) = self.bequeath();
            let carried = Carried {
                state: self.value.clone(),
                attributes: self.keys.clone(),
                streams: self.streams.written.clone(),
                inherited: self.inherited.as_deref().cloned(),
                surplus,
                forwards: forwards.iter().map(|forward| (forward.to, (*forward.address).into())).collect(),
            };
            self.effects.continued = Some(Continued { args: args.clone(), carried, payloads, forwards });
        }
    }

    /// Begins with what the generation before has left.
    pub(super) fn take_over(&mut self, carried: &Carried) {
        self.value.clone_from(&carried.state);
        self.keys.clone_from(&carried.attributes);
        self.streams.written.clone_from(&carried.streams);
        self.inherited = carried.inherited.clone().map(Arc::new);
        self.inherit(&carried.surplus, &carried.forwards);
    }
}

impl Shared {
    /// How many runs wait for this one, each for the next.
    pub(crate) fn depth(&self) -> u32 {
        self.state().inherited.as_ref().map_or(0, |inherited| inherited.depth)
    }

    /// What the run hands to its children.
    pub(crate) fn inherited(&self) -> Option<Arc<Inherited>> {
        self.state().inherited.clone()
    }

    /// Asks to go on as a new generation once this poll is over.
    pub(crate) fn continue_as_new(&self, args: Payload) {
        let mut state = self.state();
        if state.phase == super::Phase::Polling {
            state.continuation.args = Some(args);
        }
    }

    /// Asks to end with a result once this poll is over.
    pub(crate) fn finish_with(&self, value: Payload) {
        let mut state = self.state();
        if state.phase == super::Phase::Polling {
            state.continuation.finished = Some(value);
        }
    }

    pub(in crate::replay) fn take_finished(&self) -> Option<Payload> {
        self.state().continuation.finished.take()
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
        if !self.record(Command::Suggested, |_| None, Some(site)) {
            return false;
        }
        self.state().continuation.suggested = true;
        true
    }
}
