//! The requests of a run to the store beside its journal: tokens, children, state.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use chacha20::ChaCha12Rng;
use rand::SeedableRng;
use sha2::{Digest, Sha256};

use super::{Continued, Shared, State};
use crate::codec::Payload;
use crate::error::Error;
use crate::keys::{self, KeyBase};
use crate::limits;
use crate::replay::carried::{Inherited, Reopening};
use crate::replay::identity::Target;
use crate::replay::journal::Command;
use crate::replay::kind::Kind;
use crate::replay::request::{Opening, Place, StartedChild};

/// The requests of a run since the engine last took them.
#[derive(Default)]
pub(crate) struct Effects {
    pub opened: Vec<Opening>,
    /// Tokens that it closes, by operation.
    pub closed: Vec<(u64, Arc<str>)>,
    pub children: Vec<StartedChild>,
    /// Children to cancel, by operation.
    pub given_up: Vec<(u64, Target)>,
    /// Children, and runs of steps, to cancel, whose ends the run waits for. A child of the same turn is
    /// still started, since otherwise it would never end.
    pub stopped: Vec<Target>,
    /// Runs that operations wait for.
    pub watches: Vec<(u64, Target)>,
    /// Runs that operations no longer wait for.
    pub unwatched: Vec<(u64, Arc<str>)>,
    pub state: Option<Payload>,
    pub attributes: BTreeMap<Arc<str>, Option<Arc<str>>>,
    /// Set if the run continues as a new generation.
    pub continued: Option<Continued>,
}

impl Effects {
    /// Appends later requests. Requests that cancel each other out are removed.
    pub fn then(&mut self, later: Effects) {
        for (op, token) in later.closed {
            self.close(op, token);
        }
        self.opened.extend(later.opened);
        for (op, child) in later.given_up {
            self.give_up(op, child);
        }
        self.children.extend(later.children);
        self.stopped.extend(later.stopped);
        for (op, run) in later.unwatched {
            self.unwatch(op, run);
        }
        self.watches.extend(later.watches);
        self.state = later.state.or(self.state.take());
        self.attributes.extend(later.attributes);
        self.continued = later.continued;
    }

    fn close(&mut self, op: u64, token: Arc<str>) {
        match self.opened.iter().position(|opening| opening.op == op) {
            Some(opening) => drop(self.opened.remove(opening)),
            None => self.closed.push((op, token)),
        }
    }

    pub(super) fn unwatch(&mut self, op: u64, run: Arc<str>) {
        match self.watches.iter().position(|(watch, _)| *watch == op) {
            Some(watch) => drop(self.watches.remove(watch)),
            None => self.unwatched.push((op, run)),
        }
    }

    fn give_up(&mut self, op: u64, child: Target) {
        match self.children.iter().position(|started| started.op == op) {
            Some(started) => drop(self.children.remove(started)),
            None => self.given_up.push((op, child)),
        }
    }

    /// Adds the requests of issuing an operation.
    pub(super) fn issued(
        &mut self,
        op: u64,
        base: KeyBase,
        kind: &Kind,
        run: &Shared,
        inherited: Option<Arc<Inherited>>,
    ) -> Result<(), Error> {
        let own = inherited.as_deref().map_or(0, |inherited| inherited.depth);
        let inherited = |depth: u32| {
            let none = Inherited::default();
            let inherited = inherited.as_deref().unwrap_or(&none);
            inherited.of_child(&run.identity.key(op), depth).some().map(Arc::new)
        };
        match kind {
            Kind::Hook(hook) => self.opened.push(hook.opening(op, &run.identity)),
            Kind::Child(request) => {
                self.children.push(StartedChild {
                    op,
                    run: run.target(op, kind).run,
                    is_itself: request.named.as_ref().is_some_and(|named| named.id == run.identity.run),
                    known_digest: None,
                    request: (**request).clone(),
                    // A run that is not awaited starts at depth 0: an endless chain of such runs is no recursion.
                    inherited: inherited(if request.detached { 0 } else { own.saturating_add(1) }),
                });
            }
            Kind::Step(step) => {
                if let Place::Queue(workflow) = step.place {
                    let key = keys::operation(run.run_id(), base, op);
                    let request = (run.host.queue_call)(workflow, step, &run.identity, op, key)?;
                    self.children.push(StartedChild {
                        op,
                        run: run.child_id(op),
                        request,
                        inherited: inherited(own),
                        is_itself: false,
                        known_digest: None,
                    });
                }
            }
            Kind::Watch(watched) => self.watches.push((op, watched.clone())),
            Kind::Timer { .. } | Kind::Local(_) => {}
        }
        Ok(())
    }

    /// Adds the requests of dropping an operation.
    pub(super) fn dropped(&mut self, op: u64, kind: &Kind, run: &Shared) {
        match kind {
            Kind::Hook(hook) => self.close(op, hook.address.clone()),
            Kind::Child(child) if child.is_bound() => self.give_up(op, run.target(op, kind)),
            // It continues, or is still started.
            Kind::Child(_) => {}
            Kind::Step(step) if !step.is_here() => self.give_up(op, run.target(op, kind)),
            Kind::Step(step) => {
                if let Some(opening) = step.opening(op, &run.identity) {
                    self.close(op, opening.token);
                }
            }
            Kind::Watch(watched) => self.unwatch(op, watched.run.clone()),
            Kind::Timer { .. } | Kind::Local(_) => {}
        }
    }
}

impl State {
    /// Applies recorded decisions, which override the code, even if it was changed since: a step
    /// is executed where it was when it was recorded, and a timer has the recorded deadline.
    pub(super) fn as_recorded(&self, kind: &mut Kind) {
        match (kind, self.next_recorded()) {
            (Kind::Step(step), Some(Command::Step { run, .. })) => {
                step.place = if run.is_some() { Place::Elsewhere } else { Place::Here };
            }
            (Kind::Timer { until, .. }, Some(Command::Timer { until: recorded, .. })) => *until = *recorded,
            (Kind::Child(child), Some(Command::Child { own: Some(own), .. })) => {
                if let Some(named) = &mut child.named {
                    named.token = own.as_u128();
                }
            }
            _ => {}
        }
    }

    /// The command with the former id that is recorded, if its step or workflow had that id.
    pub(super) fn under_recorded_id(&self, kind: &Kind, mut command: Command) -> Command {
        match (&mut command, self.next_recorded()) {
            (Command::Step { step: id, .. }, Some(Command::Step { step: recorded, .. }))
            | (Command::Child { workflow: id, .. }, Some(Command::Child { workflow: recorded, .. }))
                if kind.definition().is_some_and(|(_, was)| was.contains(&&**recorded)) =>
            {
                id.clone_from(recorded);
            }
            _ => {}
        }
        command
    }

    /// The recorded id of a child, if the operation that is issued next would start another one.
    pub(super) fn earlier_child(&self, issued: &Command) -> Option<Arc<str>> {
        let recorded = self.next_recorded()?.child()?;
        (issued.child() != Some(recorded)).then(|| recorded.into())
    }

    /// The base of the idempotency key of the operation that is issued next.
    pub(super) fn key_base(&self) -> KeyBase {
        match self.next_recorded() {
            Some(Command::Step { key: Some(key), .. }) => *key,
            _ => self.base,
        }
    }

    /// The arguments of a step, if a fork has replaced those of the workflow.
    pub(super) fn given(&self) -> Option<Payload> {
        match self.next_recorded() {
            Some(Command::Step { given, .. }) => given.clone(),
            _ => None,
        }
    }

    /// At the end of the run, cancels the children that it still waits for, unless they were abandoned.
    pub(super) fn give_up_children(&mut self, run: &Shared) {
        let waits = |(op, slot): (&u64, &super::Slot)| match &slot.kind {
            Kind::Child(child) if slot.completion.is_none() && child.is_own() => {
                Some((*op, run.target(*op, &slot.kind)))
            }
            Kind::Step(step) if slot.completion.is_none() && !step.is_here() => {
                Some((*op, run.target(*op, &slot.kind)))
            }
            _ => None,
        };
        let mut open: Vec<(u64, Target)> = self.ops.iter().filter_map(waits).collect();
        open.sort_unstable_by_key(|(op, _)| *op);
        open.into_iter().for_each(|(op, child)| self.effects.give_up(op, child));
    }
}

impl Shared {
    /// The id of the child that an operation starts, or has started in an earlier generation.
    pub(crate) fn child_id(&self, op: u64) -> Arc<str> {
        if let Some(child) = self.earlier_children().get(&op) {
            return child.clone();
        }
        self.identity.child_id(&self.own_seed(), op)
    }

    /// The run that an operation starts, or waits for.
    pub(crate) fn target(&self, op: u64, kind: &Kind) -> Target {
        match kind {
            Kind::Child(child) => match &child.named {
                Some(named) => Target { run: named.id.clone(), token: Some(named.token) },
                None => self.child_id(op).into(),
            },
            Kind::Watch(watched) => watched.clone(),
            _ => self.child_id(op).into(),
        }
    }

    /// The token of the run that an operation starts under an id of the workflow's choice. A retry does not change it.
    pub(super) fn child_token(&self, base: KeyBase, op: u64) -> u128 {
        keys::child_token(&self.own_seed(), &self.identity.run, base.generation, op)
    }

    /// Continues from the journal of another run or an earlier generation: requests to the store are
    /// repeated. An existing child that an earlier generation has started is only awaited: see
    /// [`store::Child`](crate::store::Child). The caller must drop the returned value outside every lock.
    pub(in crate::replay) fn reopen(&self, seed: &str, reopening: &Reopening) -> impl Sized + use<> {
        let mut state = self.state();
        let state = &mut *state;
        state.rng = Some(Box::new(ChaCha12Rng::from_seed(Sha256::digest(seed.as_bytes()).into())));
        state.base = reopening.base;
        state.expect_forwards(&reopening.forwards);
        // The source undoes the steps that the source has executed.
        let disarmed = reopening.disarms().then(|| {
            let again = reopening.again.and_then(|op| state.ops.get_mut(&op));
            let again = again.and_then(|slot| match &mut slot.kind {
                Kind::Step(step) => step.rollback.take(),
                _ => None,
            });
            // The fork does not wait for children that its source has dropped.
            state.rollbacks.forget_dropped_children();
            (again, state.disarm())
        });
        for (op, slot) in &mut state.ops {
            let since = reopening.suspended.iter().find(|(of, _)| of == op).map(|(_, since)| *since);
            match &mut slot.kind {
                Kind::Hook(hook) => hook.since = since,
                Kind::Step(step) => step.suspensions.iter_mut().for_each(|suspensions| suspensions.since = since),
                _ => {}
            }
        }
        if state.expected.is_some() {
            return disarmed;
        }
        let mut open: Vec<u64> =
            state.ops.iter().filter(|(_, slot)| slot.completion.is_none()).map(|(op, _)| *op).collect();
        open.sort_unstable();
        for op in open {
            let Some(slot) = state.ops.get_mut(&op) else { continue };
            let takes_none = matches!(&slot.kind, Kind::Hook(hook) if hook.is_answered() || hook.is_refused());
            if takes_none || reopening.answered.contains(&op) {
                continue;
            }
            if let Kind::Step(step) = &mut slot.kind {
                if let Some(opening) = step.opening(op, &self.identity) {
                    state.effects.opened.push(opening);
                }
                if let (Place::Elsewhere, Some(workflow)) = (step.place, (self.host.queued)(step.definition)) {
                    step.place = Place::Queue(workflow);
                }
            }
            if let Err(error) = state.effects.issued(op, slot.base, &slot.kind, self, state.inherited.clone()) {
                state.fault.get_or_insert(error);
            }
        }
        disarmed
    }

    /// Takes the requests of the run.
    pub(crate) fn take_effects(&self) -> Effects {
        std::mem::take(&mut self.state().effects)
    }

    /// The run's state.
    pub(crate) fn value(&self) -> Option<Payload> {
        self.state().value.clone()
    }

    pub(crate) fn set_value(&self, value: Payload, site: &'static Location<'static>) {
        if !self.record(Command::State { value: value.clone() }, |_| None, Some(site)) {
            return;
        }
        let mut state = self.state();
        state.value = Some(value.clone());
        if state.expected.is_none() {
            state.effects.state = Some(value);
        }
    }

    /// Sets or removes an attribute: returns whether the run may have it.
    pub(crate) fn set_attribute(&self, key: &str, value: Option<&str>, site: &'static Location<'static>) -> bool {
        {
            let keys = &self.state().keys;
            if value.is_some() && !keys.contains(key) && keys.len() >= limits::ATTRIBUTES_MAX {
                return false;
            }
        }
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let command = Command::Attribute { key: owned(key), value: value.map(owned) };
        if !self.record(command, |_| None, Some(site)) {
            return true;
        }
        let mut state = self.state();
        match value {
            Some(_) => state.keys.insert(key.into()),
            None => state.keys.remove(key),
        };
        if state.expected.is_none() {
            state.effects.attributes.insert(key.into(), value.map(Into::into));
        }
        true
    }
}
