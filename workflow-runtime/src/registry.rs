//! The workflows and steps of this build, collected at link time.
//!
//! `inventory` finds every definition in every crate that is linked into the program, wherever it is defined: private, in a
//! nested module, in a function, in a test. It does not find a crate that no path of the program mentions, since that
//! crate is not linked: `use that_crate as _;` mentions it.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::definition::{Item, Source, StepDefinition, WorkflowDefinition};
use crate::error::{Code, Error};
use crate::names;
use crate::replay::Command;
use crate::text::{excerpt, hex};

pub(crate) mod catalogue;
mod payloads;
pub(crate) mod queue;

#[cfg(feature = "schema")]
pub use self::payloads::payload_key;
pub(crate) use self::payloads::{check_payload, payload_type};

impl StepDefinition {
    /// Refuses a step whose id is reserved, or is that of another step too.
    pub(crate) fn check(&self) -> Result<(), Error> {
        registry().refused_steps.get(self.source.id).map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Every definition of this build by its id.
pub(crate) struct Registry {
    workflows: HashMap<&'static str, Vec<&'static WorkflowDefinition>>,
    steps: HashMap<&'static str, Vec<&'static StepDefinition>>,
    /// The errors of calls, by the ids of the steps that cannot be called: reserved ids, and those that several steps have, as
    /// local steps of tests may.
    refused_steps: HashMap<&'static str, Error>,
    /// The workflows that execute the steps of queues, by their ids.
    queued: HashMap<&'static str, &'static WorkflowDefinition>,
    /// The schemas of payloads, by the keys of their types.
    #[cfg(feature = "schema")]
    payloads: HashMap<&'static str, fn() -> serde_json::Value>,
    /// SHA-256 over all ids and fingerprints, and the program's file: another value means another build.
    pub(crate) build: String,
}

/// The registry, built at its first use.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::collect)
}

impl Registry {
    fn collect() -> Self {
        let mut workflows: HashMap<_, Vec<&'static WorkflowDefinition>> = HashMap::new();
        let mut steps: HashMap<_, Vec<&'static StepDefinition>> = HashMap::new();
        #[cfg(feature = "schema")]
        let mut payloads = HashMap::new();
        let mut sources = Vec::new();
        for item in inventory::iter::<Item> {
            match item {
                Item::Workflow(definition) => {
                    workflows.entry(definition.source.id).or_default().push(definition);
                    for was in definition.was.iter().filter(|was| **was != definition.source.id) {
                        workflows.entry(was).or_default().push(definition);
                    }
                    sources.push(definition.source);
                }
                Item::Step(definition) => {
                    steps.entry(definition.source.id).or_default().push(definition);
                    for was in definition.was.iter().filter(|was| **was != definition.source.id) {
                        steps.entry(was).or_default().push(definition);
                    }
                    sources.push(definition.source);
                }
                #[cfg(feature = "schema")]
                Item::Payload(definition) => {
                    payloads.insert((definition.key)(), definition.schema);
                }
            }
        }
        sources.sort_by_key(|source| (source.id, source.fingerprint));
        let mut hash = Sha256::new();
        for source in sources {
            hash.update(source.id);
            hash.update(source.fingerprint);
        }
        // Helpers and constants have no fingerprint: the program's file shows that they may have changed.
        if let Ok(program) = std::env::current_exe().and_then(std::fs::metadata) {
            hash.update(program.len().to_le_bytes());
            let modified = program.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            hash.update(modified.unwrap_or_default().as_nanos().to_le_bytes());
        }
        let refused_steps = steps.iter().filter_map(|(id, all)| Some((*id, refused_step(id, all)?))).collect();
        let queued = current(&steps).filter_map(queue::workflow);
        // Calls that are recorded under a former id are executed too.
        let ids = |workflow: &'static WorkflowDefinition| workflow.was.iter().chain([&workflow.source.id]);
        let queued = queued.flat_map(|workflow| ids(workflow).map(move |id| (*id, workflow))).collect();
        Registry {
            workflows,
            steps,
            refused_steps,
            queued,
            #[cfg(feature = "schema")]
            payloads,
            build: hex(&hash.finalize()),
        }
    }

    /// The workflow with this id, current or former.
    pub(crate) fn workflow(&self, id: &str) -> Result<&'static WorkflowDefinition, Error> {
        let found = self.workflows.get(id).map(Vec::as_slice).unwrap_or_default();
        if !found.is_empty() {
            names::not_reserved("the id of a workflow", id).map_err(Error::into_fatal)?;
        }
        if let Some(queued) = self.queued.get(id) {
            return Ok(queued);
        }
        match found {
            [one] => Ok(one),
            [] => Err(unknown("workflow", id, self.workflows.keys().copied())),
            several => Err(duplicate("workflows", id, several.iter().map(|definition| definition.source))),
        }
    }

    /// Refuses a build in which two definitions have one id, unless all of them are parts of tests: there a local function
    /// often has the name of one of another test, and only its use is an error.
    pub(crate) fn check_ids(&self) -> Result<(), Error> {
        let workflows = self.workflows.iter().map(|(id, all)| ("workflows", *id, sources(all, |it| it.source)));
        let steps = self.steps.iter().map(|(id, all)| ("steps", *id, sources(all, |it| it.source)));
        let several = workflows.chain(steps).filter(|(.., sources)| sources.len() > 1);
        let refused = several.filter(|(.., sources)| sources.iter().any(|source| !source.test));
        match refused.min_by_key(|(kind, id, _)| (*kind, *id)) {
            Some((kind, id, sources)) => Err(duplicate(kind, id, sources.into_iter())),
            None => Ok(()),
        }
    }

    /// Every workflow, by its current id.
    pub(crate) fn workflows(&self) -> impl Iterator<Item = &'static WorkflowDefinition> {
        let definitions =
            self.workflows.iter().flat_map(|(id, definitions)| definitions.iter().map(move |it| (id, it)));
        definitions.filter(|(id, definition)| **id == definition.source.id).map(|(_, definition)| *definition)
    }

    /// The schema of the type of payloads with this key, if the build has it.
    pub(crate) fn payload_schema(&self, key: &str) -> Option<serde_json::Value> {
        #[cfg(feature = "schema")]
        return self.payloads.get(key).map(|schema| schema());
        #[cfg(not(feature = "schema"))]
        {
            let _ = key;
            None
        }
    }

    /// The schemas of all payloads of this build, by the keys of their types.
    fn payload_schemas(&self) -> Vec<(String, serde_json::Value)> {
        #[cfg(feature = "schema")]
        {
            let mut schemas: Vec<_> = self.payloads.iter().map(|(key, schema)| ((*key).to_owned(), schema())).collect();
            schemas.sort_by(|(a, _), (b, _)| a.cmp(b));
            schemas
        }
        #[cfg(not(feature = "schema"))]
        Vec::new()
    }

    /// The ids of all workflows, former ones included.
    pub(crate) fn workflow_ids(&self) -> impl Iterator<Item = &'static str> {
        self.workflows.keys().copied()
    }

    /// The workflow that executes a step of a queue.
    pub(crate) fn queued(&self, step: &StepDefinition) -> Option<&'static WorkflowDefinition> {
        let id = queue::workflow_id(step.queue?, step.source.id);
        self.queued.get(&*id).copied()
    }

    /// The ids of the workflows that execute the steps of a queue.
    pub(crate) fn queued_in(&self, queue: &str) -> impl Iterator<Item = &'static str> {
        self.queued.keys().copied().filter(move |id| queue::parse_id(id).is_some_and(|(name, _)| name == queue))
    }

    /// Whether steps of this build have queues.
    pub(crate) fn has_queues(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The queues that steps of this build have.
    pub(crate) fn queues(&self) -> Vec<&'static str> {
        let queues = self.steps.values().flatten().filter_map(|step| step.queue);
        queues.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The step with this id.
    pub(crate) fn step(&self, id: &str) -> Result<&'static StepDefinition, Error> {
        let found = self.steps.get(id).map(Vec::as_slice).unwrap_or_default();
        match found {
            [one] => Ok(one),
            [] => Err(unknown("step", id, self.steps.keys().copied())),
            several => Err(duplicate("steps", id, several.iter().map(|definition| definition.source))),
        }
    }

    /// Every step.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &'static StepDefinition> {
        current(&self.steps)
    }
}

/// The steps, each once, and not by its former ids.
fn current(
    steps: &HashMap<&'static str, Vec<&'static StepDefinition>>,
) -> impl Iterator<Item = &'static StepDefinition> {
    let definitions = steps.iter().flat_map(|(id, definitions)| definitions.iter().map(move |it| (id, it)));
    definitions.filter(|(id, definition)| **id == definition.source.id).map(|(_, definition)| *definition)
}

/// Where the definition that a recorded command names is in the source, if this build has one.
pub(crate) fn known(command: &Command) -> Option<Source> {
    match command {
        Command::Step { step, .. } => registry().steps.get(&**step)?.first().map(|step| step.source),
        Command::Child { workflow, .. } => {
            registry().workflows.get(&**workflow)?.first().map(|workflow| workflow.source)
        }
        _ => None,
    }
}

fn refused_step(id: &str, definitions: &[&'static StepDefinition]) -> Option<Error> {
    if let Err(error) = names::not_reserved("the id of a step", id) {
        return Some(error.into_fatal());
    }
    let is_several = definitions.len() > 1;
    is_several.then(|| duplicate("steps", id, definitions.iter().map(|definition| definition.source)))
}

fn sources<T>(definitions: &[&'static T], source: fn(&'static T) -> Source) -> Vec<Source> {
    definitions.iter().map(|definition| source(definition)).collect()
}

fn unknown(kind: &str, id: &str, known: impl Iterator<Item = &'static str>) -> Error {
    let name = id.rsplit("::").next().unwrap_or(id);
    let near: Vec<_> = known.filter(|known| known.rsplit("::").next() == Some(name)).collect();
    let within_crate = id.split_once("::").map(|(_, path)| path);
    let is_elsewhere = |known: &&str| known.split_once("::").map(|(_, path)| path) == within_crate;
    let elsewhere = near.iter().copied().find(|known| within_crate.is_some() && is_elsewhere(known));
    let near = near.join(", ");
    let error = Error::coded(Code::NotRegistered, format!("no {kind} with the id `{}` is in this build", excerpt(id)));
    if let Some(elsewhere) = elsewhere {
        // A module that two programs include is part of two crates.
        error.found(near).help(format!(
            "an id begins with the crate, so a function of a module that two programs share has an id in each: put it into \
             a library, or pin its id with `id = \"…\"` in both; `was = \"{id}\"` lets `{elsewhere}` continue its runs"
        ))
    } else if near.is_empty() {
        error.help(
            "link the crate that defines it (`use that_crate as _;` if nothing else mentions it), or keep a moved or \
             renamed function alive with `was = \"…\"`",
        )
    } else {
        error.found(near).help(format!("if the function moved, add `was = \"{id}\"` to its attribute"))
    }
}

fn duplicate(kind: &str, id: &str, sources: impl Iterator<Item = Source>) -> Error {
    let places = sources.map(|source| format!("{}:{}", source.file, source.line)).collect::<Vec<_>>().join(" and ");
    Error::coded(Code::DuplicateId, format!("several {kind} have the id `{id}`"))
        .found(places)
        .help(
            "give one of them an id of its own: `id = \"…\"` in its attribute; an id is the path of the module and the name of \
             the function, so functions in two `impl`s or in two functions of one module can share it",
        )
        .into_fatal()
}
