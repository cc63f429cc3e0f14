//! Suspended steps: their next attempt waits for a resumption.

use std::sync::Arc;

use super::{Action, Shared, Slot};
use crate::codec::Payload;
use crate::error::Error;
use crate::replay::divergence::untaken;
use crate::replay::kind::Kind;
use crate::replay::request::{Opening, Suspension};

impl Shared {
    /// Records that an attempt has ended by suspending itself.
    pub(in crate::replay) fn suspended(&self, op: u64, suspension: Suspension) -> Result<(), Error> {
        let mut state = self.state();
        let state = &mut *state;
        let Some(Slot { kind: Kind::Step(step), completion: None, .. }) = state.ops.get_mut(&op) else {
            return Err(untaken(
                format!("a suspended attempt of operation {op}, which is in the journal here"),
                "that operation is no step that was issued, or was dropped before",
                state.last_site,
            ));
        };
        let suspensions = step.suspensions.get_or_insert_default();
        suspensions.waits = Some(suspension);
        suspensions.attempts += 1;
        suspensions.since = None;
        step.attempt += 1;
        step.not_before = 0;
        step.failing = None;
        if state.expected.is_none()
            && let Some(opening) = step.opening(op, &self.identity)
        {
            state.effects.opened.push(opening);
        }
        Ok(())
    }

    /// Resumes a suspended step: returns whether the operation is one.
    pub(in crate::replay) fn resumed(&self, op: u64, value: &Payload) -> bool {
        let mut state = self.state();
        let Some(Slot { kind: Kind::Step(step), completion: None, .. }) = state.ops.get_mut(&op) else { return false };
        let Some(suspensions) = &mut step.suspensions else { return false };
        let Some(suspension) = suspensions.waits.take() else { return false };
        suspensions.last_payload = Some(suspension.payload);
        Arc::make_mut(&mut suspensions.resumed).insert(suspension.label, value.clone());
        if state.expected.is_none() {
            state.actions.push(Action::Dispatch(op));
        }
        true
    }

    /// The token of an operation that accepts one payload and has not received it.
    pub(crate) fn opening_once(&self, op: u64) -> Option<Opening> {
        let opening = self.with_open(op, |kind| match kind {
            Kind::Hook(hook) if hook.once && !hook.is_answered() => Some(hook.opening(op, &self.identity)),
            Kind::Step(step) => step.opening(op, &self.identity),
            _ => None,
        });
        opening.flatten()
    }
}
