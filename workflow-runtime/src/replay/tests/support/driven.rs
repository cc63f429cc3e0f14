//! A run that a test drives, and its replays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use super::{Body, RUN, SEED, STARTED_AT, WORKFLOW, child_request, json, queue_workflow, source, workflow};
use crate::codec::Payload;
use crate::definition::{Bodies, WorkflowDefinition};
use crate::error::Error;
use crate::replay::{
    Action, Carried, ChildRequest, Command, Core, Delivery, Effects, Event, Host, Identity, Kind, Outstanding, Shared,
    TurnRecord, outstanding,
};

/// The parameters of a run other than its code.
#[derive(Clone)]
pub(in crate::replay::tests) struct Setting {
    pub generation: u64,
    pub args: Payload,
    pub carried: Carried,
    pub seed: &'static str,
    /// The random number of the host.
    pub draw: u128,
    pub long_after: u64,
}

impl Default for Setting {
    fn default() -> Self {
        let (args, carried, seed) = (json(()), Carried::default(), SEED);
        Setting { generation: 0, args, carried, seed, draw: 7, long_after: u64::MAX }
    }
}

impl Setting {
    fn core(&self, definition: &'static WorkflowDefinition) -> Core {
        let draw = self.draw;
        let host = Host {
            bodies: Bodies::default(),
            draw: Arc::new(move || draw),
            known: |command| match command {
                Command::Step { step, .. } if !step.starts_with("gone") => Some(source("known")),
                _ => None,
            },
            queued: |step| (step.source.id == "queued").then(queue_workflow),
            queue_call: |definition, step, _, _, key| {
                Ok(ChildRequest { definition, input: json((&step.input, key)), ..child_request("unused", ()) })
            },
            long_after: self.long_after,
        };
        Core::new(definition, Identity { run: RUN.into(), workflow: WORKFLOW, generation: self.generation }, host)
    }
}

/// A run that a test drives. When it is dropped, the run is replayed from its stored form: for each number of turns, a
/// new core replays this many and then receives the events of the others for the first time. It must issue the same
/// commands and ends.
pub(in crate::replay::tests) struct Driven {
    definition: &'static WorkflowDefinition,
    setting: Setting,
    core: Core,
    turns: Vec<Delivery>,
    /// The observable facts of the core after each turn.
    observed: Vec<String>,
    /// The number of turns that were replayed, and not driven by the test.
    repeated: usize,
}

impl Driven {
    /// A run after its first event.
    #[track_caller]
    pub fn start(body: Body) -> Self {
        Self::start_as(body, Setting::default())
    }

    #[track_caller]
    pub fn start_as(body: Body, setting: Setting) -> Self {
        Self::try_start(body, setting).unwrap_or_else(|error| panic!("the run begins: {error:?}"))
    }

    pub fn try_start(body: Body, setting: Setting) -> Result<Self, Error> {
        Self::start_of(workflow(WORKFLOW, body), setting)
    }

    pub fn start_of(definition: WorkflowDefinition, setting: Setting) -> Result<Self, Error> {
        let mut driven = Self::before_start(Box::leak(Box::new(definition)), setting);
        let Setting { args, carried, seed, .. } = driven.setting.clone();
        driven.try_deliver(Event::Started { seed: seed.into(), args, carried: carried.some().map(Box::new) })?;
        Ok(driven)
    }

    fn before_start(definition: &'static WorkflowDefinition, setting: Setting) -> Self {
        let core = setting.core(definition);
        Driven { definition, setting, core, turns: Vec::new(), observed: Vec::new(), repeated: 0 }
    }

    pub fn try_deliver_at(&mut self, at: u64, event: Event) -> Result<Vec<Command>, Error> {
        let delivery = self.core.deliver(at, event)?;
        let commands = delivery.commands.to_vec();
        self.turns.push(delivery);
        self.observed.push(observed(&self.core));
        Ok(commands)
    }

    pub fn try_deliver(&mut self, event: Event) -> Result<Vec<Command>, Error> {
        self.try_deliver_at(self.turns.last().map_or(STARTED_AT, |last| last.at + 1), event)
    }

    /// Delivers an event, and returns the commands of the run.
    #[track_caller]
    pub fn deliver(&mut self, event: Event) -> Vec<Command> {
        self.try_deliver(event).unwrap_or_else(|error| panic!("the event is refused: {error:?}"))
    }

    #[track_caller]
    pub fn deliver_at(&mut self, at: u64, event: Event) -> Vec<Command> {
        self.try_deliver_at(at, event).unwrap_or_else(|error| panic!("the event is refused: {error:?}"))
    }

    /// Delivers an event, and returns the error with which the run refuses it.
    #[track_caller]
    pub fn refuse(&mut self, event: Event) -> Error {
        match self.try_deliver(event) {
            Ok(commands) => panic!("the event is delivered: {commands:?}"),
            Err(error) => error,
        }
    }

    pub fn core(&self) -> &Core {
        &self.core
    }

    pub fn shared(&self) -> &Shared {
        self.core.shared()
    }

    pub fn turns(&self) -> &[Delivery] {
        &self.turns
    }

    pub fn last(&self) -> &Delivery {
        self.turns.last().expect("the run has begun")
    }

    /// The commands after the last event.
    pub fn commands(&self) -> &[Command] {
        &self.last().commands
    }

    /// The end of the run, as text. Empty while the run is unfinished.
    pub fn end(&self) -> String {
        self.last().end.as_ref().map_or(String::new(), |end| format!("{end:?}"))
    }

    pub fn actions(&self) -> Vec<Action> {
        self.shared().take_actions().into_vec()
    }

    pub fn effects(&self) -> Effects {
        self.shared().take_effects()
    }

    /// Replays the turns with other code.
    pub fn replayed_by(&self, body: Body) -> Result<Driven, Error> {
        self.replayed_as(body, self.setting.clone(), self.turns.clone())
    }

    /// Replays stored turns with some code.
    pub fn replayed_as(&self, body: Body, setting: Setting, turns: Vec<Delivery>) -> Result<Driven, Error> {
        self.replayed_of(workflow(WORKFLOW, body), setting, turns)
    }

    pub fn replayed_of(
        &self,
        definition: WorkflowDefinition,
        setting: Setting,
        turns: Vec<Delivery>,
    ) -> Result<Driven, Error> {
        let mut driven = Self::before_start(Box::leak(Box::new(definition)), setting);
        for (at, delivery) in stored(turns.clone()).into_iter().enumerate() {
            let later = || turns[at + 1..].iter().flat_map(|turn| turn.commands.clone()).collect();
            driven.core.replay(delivery, later)?;
            driven.observed.push(observed(&driven.core));
        }
        (driven.turns, driven.repeated) = (turns.clone(), turns.len());
        Ok(driven)
    }

    fn repeat_from_each_turn(&self) {
        for repeated in self.repeated..=self.turns.len() {
            let mut core = self.setting.core(self.definition);
            let mut open = BTreeMap::new();
            for (number, delivery) in stored(self.turns.clone()).into_iter().enumerate() {
                let what = format!("turn {number} of {}, of which {repeated} are repeated", self.turns.len());
                outstanding(&mut open, &delivery.clone().into());
                if number < repeated {
                    core.replay(delivery, Vec::new).unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert!(core.shared().take_actions().is_empty(), "{what}: a replay asks for nothing to be done");
                } else {
                    let again = core.deliver(delivery.at, delivery.event.clone());
                    let again = again.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert_eq!(text(&again), text(&delivery), "{what}");
                }
                assert_eq!(observed(&core), self.observed[number], "{what}");
                compare_outstanding(&core, &open);
            }
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.repeat_from_each_turn();
        }
    }
}

/// Asserts that the operations which are open by the journal alone are those of the core, except dropped steps that may
/// have to be undone.
fn compare_outstanding(core: &Core, open: &BTreeMap<u64, Outstanding>) {
    if core.has_ended() || core.shared().is_unwinding() {
        return;
    }
    let is_kept = |op: &u64| core.shared().can_be_undone(*op) && !open.contains_key(op);
    let by_core: BTreeSet<u64> = open_ops(core).into_iter().filter(|op| !is_kept(op)).collect();
    assert_eq!(by_core, open.keys().copied().collect());
}

/// Stores turns and reads them back.
fn stored(turns: Vec<Delivery>) -> Vec<Delivery> {
    let row = TurnRecord { deliveries: turns.into() }.encode().expect("the turns are stored");
    TurnRecord::decode(row.format, row.checksum, &row.body).expect("the turns are read back").deliveries.into_vec()
}

fn text(delivery: &Delivery) -> String {
    serde_json::to_string(delivery).expect("a turn can be stored")
}

fn open_ops(core: &Core) -> BTreeSet<u64> {
    (0..100).filter(|op| core.shared().with_open(*op, |_| ()).is_some()).collect()
}

/// The observable facts of a core, which a replay must reproduce.
fn observed(core: &Core) -> String {
    let run = core.shared();
    let open = open_ops(core);
    let keys: Vec<_> = open.iter().map(|op| run.key_base(*op)).collect();
    let openings: Vec<_> = open.iter().map(|op| run.opening_once(*op)).collect();
    let steps: Vec<_> = open
        .iter()
        .filter_map(|op| {
            run.with_open(*op, |kind| match kind {
                Kind::Step(step) => Some((step.attempt, step.counted(), step.not_before, step.input.clone())),
                _ => None,
            })?
        })
        .collect();
    let facts: [&dyn Debug; 13] = [
        &run.now(),
        &core.has_ended(),
        &open,
        &keys,
        &openings,
        &steps,
        &run.sleeps(),
        &run.wake_at(),
        &run.has_steps(),
        &run.value(),
        &(run.is_unwinding(), run.is_failing(), run.is_continuing()),
        &(run.depth(), run.inherited()),
        &run.resume_actions(STARTED_AT),
    ];
    format!("{facts:#?}")
}
