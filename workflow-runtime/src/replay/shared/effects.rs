//! What a run asks the store for beside its journal: tokens, children, state.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Continued, Shared, State};
use crate::codec::{Payload, Recode};
use crate::error::Error;
use crate::limits;
use crate::queue;
use crate::replay::journal::Command;
use crate::replay::operation::{Kind, Opening, Place, StartedChild, StepRequest};

/// What a run has asked for since the engine last took it.
#[derive(Default)]
pub(crate) struct Effects {
    pub opened: Vec<Opening>,
    /// Tokens that it disposes of, by operation.
    pub closed: Vec<(u64, Arc<str>)>,
    pub children: Vec<StartedChild>,
    /// Children to be cancelled, by operation.
    pub given_up: Vec<(u64, Arc<str>)>,
    /// Runs that operations wait for.
    pub watches: Vec<(u64, Arc<str>)>,
    /// Runs that operations do not wait for any more.
    pub unwatched: Vec<(u64, Arc<str>)>,
    pub state: Option<Payload>,
    pub attributes: BTreeMap<Arc<str>, Option<Arc<str>>>,
    /// Set if the run goes on as a new generation.
    pub continued: Option<Continued>,
}

impl Effects {
    /// These, and then the later ones. What has come and gone is not known to anybody.
    pub fn then(&mut self, later: Effects) {
        for (op, token) in later.closed {
            self.close(op, token);
        }
        self.opened.extend(later.opened);
        for (op, child) in later.given_up {
            self.give_up(op, child);
        }
        self.children.extend(later.children);
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

    fn unwatch(&mut self, op: u64, run: Arc<str>) {
        match self.watches.iter().position(|(watch, _)| *watch == op) {
            Some(watch) => drop(self.watches.remove(watch)),
            None => self.unwatched.push((op, run)),
        }
    }

    fn give_up(&mut self, op: u64, child: Arc<str>) {
        match self.children.iter().position(|started| started.op == op) {
            Some(started) => drop(self.children.remove(started)),
            None => self.given_up.push((op, child)),
        }
    }

    /// What issuing an operation asks for.
    pub(super) fn issued(&mut self, op: u64, kind: &Kind, run: &Shared) -> Result<(), Error> {
        match kind {
            Kind::Hook(hook) => self.opened.push(Opening {
                op,
                token: hook.address.clone(),
                metadata: hook.metadata.clone(),
                type_name: hook.type_name,
            }),
            Kind::Child(request) => {
                self.children.push(StartedChild { op, run: run.child_id(op), request: (**request).clone() });
            }
            Kind::Step(step) => {
                if let Place::Queue(workflow) = step.place {
                    let request = queue::request(workflow, step, run.run_id(), run.identity.key(op))?;
                    self.children.push(StartedChild { op, run: run.child_id(op), request });
                }
            }
            Kind::Watch(run) => self.watches.push((op, run.clone())),
            Kind::Timer { .. } | Kind::Local(_) => {}
        }
        Ok(())
    }

    /// What giving an operation up asks for.
    pub(super) fn dropped(&mut self, op: u64, kind: &Kind, child: impl FnOnce() -> Arc<str>) {
        match kind {
            Kind::Hook(hook) => self.close(op, hook.address.clone()),
            Kind::Child(_) => self.give_up(op, child()),
            Kind::Step(step) if !step.is_here() => self.give_up(op, child()),
            Kind::Watch(run) => self.unwatch(op, run.clone()),
            Kind::Step(_) | Kind::Timer { .. } | Kind::Local(_) => {}
        }
    }
}

impl State {
    /// A step is executed where it was when it was recorded, also if the code says now that it is done elsewhere.
    pub(super) fn as_recorded(&self, step: &mut StepRequest) {
        let recorded = self.expected.as_ref().and_then(|expected| expected.as_slice().first());
        if let Some(Command::Step { run, .. }) = recorded {
            step.place = if run.is_some() { Place::Elsewhere } else { Place::Here };
        }
    }

    /// The end of the run gives up the children that it still waits for, unless they are to go on.
    pub(super) fn give_up_children(&mut self, id: impl Fn(u64) -> Arc<str>) {
        let waits = |(op, slot): (&u64, &super::Slot)| match &slot.kind {
            Kind::Child(child) if slot.completion.is_none() && !child.abandoned => Some(*op),
            Kind::Step(step) if slot.completion.is_none() && !step.is_here() => Some(*op),
            _ => None,
        };
        let mut open: Vec<u64> = self.ops.iter().filter_map(waits).collect();
        open.sort_unstable();
        open.into_iter().for_each(|op| self.effects.give_up(op, id(op)));
    }
}

impl Shared {
    /// The id of the child that an operation starts: of the same length however deep it is, and another one in another run
    /// of the same id, since children stay when their parent is deleted.
    pub(crate) fn child_id(&self, op: u64) -> Arc<str> {
        let hash = Sha256::new().chain_update(self.own_seed()).chain_update(self.identity.key(op)).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string().into()
    }

    /// What the run has asked for.
    pub(crate) fn take_effects(&self) -> Effects {
        std::mem::take(&mut self.state().effects)
    }

    /// The run's state.
    pub(crate) fn value(&self) -> Option<Payload> {
        self.state().value.clone()
    }

    pub(crate) fn set_value(&self, value: Payload, recode: Recode, site: &'static Location<'static>) {
        if !self.record(Command::State { value: value.clone() }, recode, Some(site)) {
            return;
        }
        let mut state = self.state();
        state.value = Some(value.clone());
        if state.expected.is_none() {
            state.effects.state = Some(value);
        }
    }

    /// Whether the run may have this one too.
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
