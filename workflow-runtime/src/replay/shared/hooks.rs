//! The state that a run's hooks share with its core: their tokens and received payloads.

use std::sync::Arc;
use std::task::Waker;

use super::{Shared, Slot};
use crate::error::Error;
use crate::replay::divergence::untaken;
use crate::replay::journal::Command;
use crate::replay::kind::Kind;
use crate::replay::request::Received;

impl Shared {
    /// The token for a hook that is issued next: in a replay, the recorded one.
    pub(crate) fn drawn_token(&self) -> Arc<str> {
        let recorded = match self.state().next_recorded() {
            Some(Command::Hook { token, drawn: true, .. }) => Some(Arc::from(&**token)),
            _ => None,
        };
        recorded.unwrap_or_else(|| format!("{:032x}", (self.host.draw)()).into())
    }

    /// The next item of a hook; otherwise registers `waker` for it.
    pub(in crate::replay) fn take_received(&self, op: u64, waker: &Waker) -> Option<Received> {
        let mut state = self.state();
        let slot = state.ops.get_mut(&op)?;
        let Kind::Hook(hook) = &mut slot.kind else { return None };
        let received = match hook.received.front() {
            // It yields the conflict from now on.
            Some(Received::Conflict(owner)) => Some(Received::Conflict(owner.clone())),
            Some(Received::Payload(_)) => {
                hook.yielded = true;
                hook.received.pop_front()
            }
            None => None,
        };
        if received.is_none() && !slot.waker.as_ref().is_some_and(|last| last.will_wake(waker)) {
            slot.waker = Some(waker.clone());
        }
        received
    }

    /// Delivers an item to a hook: returns the waker of its waiter, or an error if there is no such hook.
    pub(in crate::replay) fn receive(&self, op: u64, received: Received) -> Result<Option<Waker>, Error> {
        let mut state = self.state();
        let site = state.last_site;
        if let Received::Payload(_) = &received {
            state.prune_dropped(op);
        }
        let Some(Slot { kind: Kind::Hook(hook), waker, .. }) = state.ops.get_mut(&op) else {
            if let Received::Payload(payload) = received
                && let Some(waker) = state.pass_on(op, payload)
            {
                return Ok(waker);
            }
            return Err(untaken(
                format!("a payload for operation {op}, which is in the journal here"),
                "that operation is no hook that was opened, or it was dropped before",
                site,
            ));
        };
        hook.received.push_back(received);
        Ok(waker.take())
    }
}
