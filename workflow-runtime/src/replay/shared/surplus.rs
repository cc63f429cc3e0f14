//! The payloads that a hook leaves to the next hook with its token.
//!
//! A hook that has yielded a payload may be dropped while others are queued for it: they were
//! accepted for this token, and belong to the next hook that the run opens with it. A hook that was
//! dropped before it yielded anything leaves nothing, since the workflow gave up waiting for it.
//!
//! A retry can leave a hook open while the inbox has payloads that a later hook with the same token had received. The open hook
//! receives them if it waits and has no payload of its own; a payload that is sent after them is delivered after them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use super::{Shared, State};
use crate::codec::Payload;
use crate::error::Error;
use crate::replay::kind::Kind;
use crate::replay::request::{HookRequest, Received};

/// The placeholder numbers for operations of an earlier generation, of which `is_inherited` is true. Numbers of operations never
/// reach them.
pub(crate) fn placeholders() -> impl Iterator<Item = u64> {
    (1..).map(|number| u64::MAX - number)
}

/// See the module. Most runs have none.
#[derive(Default)]
pub(super) struct Surplus {
    /// Payloads that no hook has taken yet, by the address to which they were sent.
    payloads: BTreeMap<Arc<str>, Vec<Payload>>,
    /// Hooks for which the inbox may still hold messages, in the order in which they were dropped.
    dropped: VecDeque<Dropped>,
    /// The operations whose messages were read and wait for the next hook, with their addresses.
    aside: BTreeMap<u64, Arc<str>>,
    /// The highest number of an operation to which the replay has delivered a payload, and one: nothing is pruned before the
    /// inbox was read.
    seen: u64,
}

struct Dropped {
    op: u64,
    address: Arc<str>,
    /// The number of the next operation when it was dropped: hooks from this number on are later.
    next: u64,
    /// Whether a retry delivers its messages again: those may follow messages for later hooks.
    again: bool,
}

/// Messages for a dropped hook that are forwarded to the next generation of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// The operation in this generation.
    pub op: u64,
    /// The address that they were sent to.
    pub address: Arc<str>,
    /// The placeholder for the operation in the next generation.
    pub to: u64,
}

/// The recipient of a payload whose hook was dropped.
pub(crate) enum Heir {
    /// Another hook, if the payload fits its type.
    Hook(fn(&Payload) -> Result<(), Error>),
    /// The next hook with the token.
    Next,
}

impl State {
    /// Leaves the payloads that a dropped hook has not yielded to the next one, if it has yielded any.
    pub(super) fn leave(&mut self, op: u64, hook: &mut HookRequest) {
        if hook.once || !hook.yielded {
            return;
        }
        let next = self.next_op;
        let surplus = self.surplus.get_or_insert_default();
        surplus.dropped.push_back(Dropped { op, address: hook.address.clone(), next, again: false });
        let left = std::mem::take(&mut hook.received).into_iter().filter_map(|received| match received {
            Received::Payload(payload) => Some(payload),
            Received::Conflict(_) => None,
        });
        let left: Vec<Payload> = left.collect();
        if !left.is_empty() {
            surplus.payloads.entry(hook.address.clone()).or_default().extend(left);
        }
    }

    fn dropped(&self, op: u64) -> Option<&Dropped> {
        self.surplus.as_ref()?.dropped.iter().find(|dropped| dropped.op == op)
    }

    /// The open hook that receives the payloads of a dropped one: a later one, or an earlier one that waits.
    fn heir(&self, dropped: &Dropped) -> Option<u64> {
        let takes = |(op, slot): (&u64, &super::Slot)| match &slot.kind {
            Kind::Hook(hook) if hook.address == dropped.address && !hook.once => {
                let takes = match *op >= dropped.next {
                    true => !hook.is_refused(),
                    false => slot.waker.is_some() && hook.received.is_empty(),
                };
                takes.then_some(*op)
            }
            _ => None,
        };
        self.ops.iter().filter_map(takes).min()
    }

    /// The address of a hook that is open, or was dropped.
    fn address(&self, op: u64) -> Option<&Arc<str>> {
        match self.ops.get(&op) {
            Some(super::Slot { kind: Kind::Hook(hook), .. }) => Some(&hook.address),
            _ => self.dropped(op).map(|dropped| &dropped.address),
        }
    }

    /// Passes a payload to the recipient of a dropped hook: returns its waker, or `None` if the hook has left nothing.
    pub(super) fn pass_on(&mut self, op: u64, payload: Payload) -> Option<Option<Waker>> {
        let dropped = self.dropped(op)?;
        let (address, next, heir) = (dropped.address.clone(), dropped.next, self.heir(dropped));
        if let Some(heir) = heir
            && let Some(super::Slot { kind: Kind::Hook(hook), waker, .. }) = self.ops.get_mut(&heir)
        {
            hook.received.push_back(Received::Payload(payload));
            hook.yielded |= heir < next;
            return Some(waker.take());
        }
        self.surplus.get_or_insert_default().payloads.entry(address).or_default().push(payload);
        Some(None)
    }

    /// Inbox messages arrive in order: after a message for an operation, no more arrive for a hook that was dropped before
    /// that operation was issued. Those that have arrived may still wait for the next hook.
    pub(super) fn prune_dropped(&mut self, op: u64) {
        let is_replayed = self.expected.is_some();
        let Some(surplus) = &mut self.surplus else { return };
        if is_inherited(op) {
            return;
        }
        if is_replayed {
            surplus.seen = surplus.seen.max(op + 1);
        } else {
            let waits = |dropped: &Dropped| dropped.again || surplus.aside.contains_key(&dropped.op);
            surplus.dropped.retain(|dropped| dropped.next > op || waits(dropped));
        }
    }

    /// The data for the next generation: payloads that no hook has taken, and messages that have not arrived yet.
    pub(super) fn bequeath(&mut self) -> (BTreeMap<Box<str>, Vec<Payload>>, Vec<Forward>) {
        let Some(Surplus { payloads, dropped, .. }) = self.surplus.take().map(|surplus| *surplus) else {
            return (BTreeMap::new(), Vec::new());
        };
        let payloads = payloads.into_iter().map(|(address, payloads)| ((*address).into(), payloads)).collect();
        let forward = |(dropped, to): (Dropped, u64)| Forward { op: dropped.op, address: dropped.address, to };
        (payloads, dropped.into_iter().zip(placeholders()).map(forward).collect())
    }

    /// Expects messages for hooks that an earlier generation had opened after this point: they are for later hooks.
    pub(super) fn expect_forwards(&mut self, forwards: &[(u64, Box<str>)]) {
        let next = self.next_op;
        self.surplus.iter_mut().flat_map(|surplus| &mut surplus.dropped).for_each(|dropped| dropped.again = true);
        for (op, address) in forwards {
            let expected = Dropped { op: *op, address: (**address).into(), next, again: true };
            self.surplus.get_or_insert_default().dropped.push_back(expected);
        }
    }

    /// Restores the payloads and placeholders of the previous generation.
    pub(super) fn inherit(&mut self, payloads: &BTreeMap<Box<str>, Vec<Payload>>, forwards: &BTreeMap<u64, Box<str>>) {
        if payloads.is_empty() && forwards.is_empty() {
            return;
        }
        let surplus = self.surplus.get_or_insert_default();
        surplus.payloads = payloads.iter().map(|(address, payloads)| ((**address).into(), payloads.clone())).collect();
        let dropped = forwards.iter().rev();
        surplus.dropped = dropped
            .map(|(op, address)| Dropped { op: *op, address: (**address).into(), next: 0, again: false })
            .collect();
    }
}

fn is_inherited(op: u64) -> bool {
    op > u64::MAX / 2
}

impl Shared {
    /// Forgets the hooks, after a replay, for which neither the inbox holds a message nor one can arrive. `about` has the
    /// operations of the messages in the inbox.
    pub(crate) fn prune_replayed(&self, about: &BTreeSet<u64>) {
        let mut state = self.state();
        let Some(surplus) = &mut state.surplus else { return };
        let seen = surplus.seen;
        surplus.dropped.retain(|dropped| dropped.next >= seen || about.contains(&dropped.op));
    }

    /// Whether a message for an operation cannot be delivered now: no hook takes it, or an earlier one with its address waits.
    pub(crate) fn has_to_wait(&self, op: u64) -> bool {
        if self.is_unwinding() {
            return false;
        }
        let state = self.state();
        let Some(surplus) = &state.surplus else { return false };
        let Some(address) = state.address(op) else { return false };
        let is_next = || state.dropped(op).is_some_and(|dropped| state.heir(dropped).is_none());
        surplus.aside.values().any(|aside| aside == address) || is_next()
    }

    /// Notes that a message for an operation waits.
    pub(crate) fn put_aside(&self, op: u64) {
        let mut state = self.state();
        let Some(address) = state.address(op).cloned() else { return };
        state.surplus.get_or_insert_default().aside.insert(op, address);
    }

    /// If a hook takes one of the messages that were put aside, forgets all of them and returns true: the caller delivers them again,
    /// in their order.
    pub(crate) fn take_back(&self) -> bool {
        let mut state = self.state();
        let Some(surplus) = &state.surplus else { return false };
        let mut dropped = surplus.aside.keys().filter_map(|op| state.dropped(*op));
        let takes = dropped.any(|dropped| state.heir(dropped).is_some());
        if takes && let Some(surplus) = &mut state.surplus {
            surplus.aside.clear();
        }
        takes
    }

    /// Whether an unread message for an operation may wait for a hook.
    pub(crate) fn may_wait(&self, op: u64) -> bool {
        if self.is_unwinding() {
            return false;
        }
        let state = self.state();
        let Some(address) = state.address(op) else { return false };
        let mut dropped = state.surplus.iter().flat_map(|surplus| &surplus.dropped);
        dropped.any(|dropped| dropped.address == *address)
    }

    /// The recipient of a payload whose hook was dropped. `None` if there is no recipient.
    pub(crate) fn heir(&self, op: u64) -> Option<Heir> {
        if self.is_unwinding() {
            return None;
        }
        let state = self.state();
        let dropped = state.dropped(op)?;
        Some(match state.heir(dropped).and_then(|heir| state.ops.get(&heir)) {
            Some(super::Slot { kind: Kind::Hook(hook), .. }) => Heir::Hook(hook.check),
            _ => Heir::Next,
        })
    }

    /// Moves the payloads of the previous hook to a hook that is issued next.
    pub(super) fn take_surplus(&self, hook: &mut HookRequest) {
        if hook.once {
            return;
        }
        let (left, live) = {
            let mut state = self.state();
            let live = state.expected.is_none();
            let Some(surplus) = &mut state.surplus else { return };
            let Some(left) = surplus.payloads.remove(&hook.address) else { return };
            (left, live)
        };
        // Outside the lock: the check runs code of the user's type.
        for payload in left {
            match (hook.check)(&payload) {
                Ok(()) => hook.received.push_back(Received::Payload(payload)),
                Err(error) if live => {
                    tracing::warn!(run = %self.run_id(), ?error, "a payload does not fit the next hook with its token, and is not given to it");
                }
                Err(_) => {}
            }
        }
    }
}
