//! Continuing as a new generation, with an empty journal.

use std::panic::Location;
use std::sync::Arc;

use super::{Forward, Shared, State};
use crate::codec::Payload;
use crate::model::Deployment;
use crate::replay::carried::{Carried, Inherited};
use crate::replay::journal::{Command, End};
use crate::replay::kind::Kind;
use crate::replay::request::Received;

/// The data that a run passes to its next generation.
#[derive(Clone, Debug)]
pub(crate) struct Continued {
    pub args: Payload,
    pub carried: Carried,
    /// Payloads of open hooks that were not taken: in order, with the addresses that they were sent to.
    pub payloads: Vec<(Arc<str>, Payload)>,
    /// Inbox messages that may exist for hooks that were dropped.
    pub forwards: Vec<Forward>,
    /// The deployment of the next generation; `None` for that of the run.
    pub deployment: Option<Deployment>,
}

#[derive(Default)]
pub(super) struct Continuation {
    /// The arguments of a `continue_as_new` in this poll.
    args: Option<Payload>,
    /// The deployment that it has named.
    deployment: Option<Deployment>,
    /// The result of a `finish` in this poll.
    finished: Option<Payload>,
    /// As in [`Continued`], once the workflow has ended.
    payloads: Vec<(Arc<str>, Payload)>,
    /// Whether `continue_as_new_suggested` has returned true.
    suggested: bool,
}

impl State {
    /// Collects the data for the next generation, if the run continues.
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
            let deployment = self.continuation.deployment.take();
            self.effects.continued = Some(Continued { args: args.clone(), carried, payloads, forwards, deployment });
        }
    }

    /// Restores the data of the previous generation.
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

    /// The data that the run passes to its children.
    pub(crate) fn inherited(&self) -> Option<Arc<Inherited>> {
        self.state().inherited.clone()
    }

    /// Requests a new generation after this poll.
    pub(crate) fn continue_as_new(&self, args: Payload, deployment: Option<Deployment>) {
        let mut state = self.state();
        if state.phase == super::Phase::Polling {
            state.continuation.args = Some(args);
            state.continuation.deployment = deployment;
        }
    }

    /// Requests the end of the run with a result after this poll.
    pub(crate) fn finish_with(&self, value: Payload) {
        let mut state = self.state();
        if state.phase == super::Phase::Polling {
            state.continuation.finished = Some(value);
        }
    }

    pub(in crate::replay) fn take_finished(&self) -> Option<Payload> {
        self.state().continuation.finished.take()
    }

    /// Takes the arguments of a requested continuation.
    pub(in crate::replay) fn take_continued(&self) -> Option<Payload> {
        self.state().continuation.args.take()
    }

    /// Collects the data for the next generation, before the hooks are dropped.
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

    /// Whether messages for the run's hooks, or its cancellation, belong to its next generation.
    pub(crate) fn is_continuing(&self) -> bool {
        matches!(self.unwinds_to(), Some(End::Continued(_)))
    }

    /// Whether the journal is so long that the workflow should continue as a new generation. The answer is
    /// recorded in the journal.
    pub(crate) fn suggests_continuing(&self, site: &'static Location<'static>) -> bool {
        {
            let state = self.state();
            if state.continuation.suggested {
                return true;
            }
            let suggested = match &state.expected {
                Some(_) => matches!(state.next_recorded(), Some(Command::Suggested)),
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
