//! A run that is to be created: the options of its start, and the data that follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::effects::started;
use super::inner::Inner;
use super::messages;
use crate::codec::Payload;
use crate::definition::WorkflowDefinition;
use crate::environment::Random;
use crate::error::{Code, Error, Result};
use crate::model::{Deployment, IfExists, OutputWriter, RequestContext, Trace, TracingOptions};
use crate::names::{self, check_attribute, check_attributes};
use crate::replay::{Carried, Event, Inherited};
use crate::store::{Effects, RunKey, RunRow};

/// A run that is being created.
pub(super) struct New {
    pub id: Arc<str>,
    /// Whether the user has chosen the id.
    pub is_named: bool,
    pub definition: &'static WorkflowDefinition,
    pub args: Payload,
    pub args_digest: [u8; 32],
    /// Also the time of its first event, if this engine delivers it.
    pub created_at: u64,
    pub token: u128,
    pub carried: Carried,
    /// The effects that precede its first turn.
    pub ahead: Option<Box<Effects>>,
    /// The deployment that it requires.
    pub required: Option<Arc<str>>,
    /// The failed run with the same id, which this run replaces.
    pub replaced: Option<RunKey>,
}

impl New {
    /// Refuses a run with the same id that is of another workflow.
    pub(super) fn is_of(&self, row: &RunRow) -> Result<()> {
        let source = &self.definition.source;
        if *row.workflow == *source.id || self.definition.was.contains(&&*row.workflow) {
            return Ok(());
        }
        Err(exists(row)
            .expected(format!("as recorded, a run of workflow `{}`", row.workflow))
            .found(format!("this call's workflow `{}`", source.id))
            .help(format!(
                "if the workflow was renamed, add its old id: `#[workflow(was = \"{}\")]`; otherwise use another id",
                row.workflow
            )))
    }

    /// The event that starts the run.
    pub(super) fn started(&self, random: &Random) -> Event {
        started(random, &self.args, self.carried.clone().some())
    }
}

/// For which deployment a run is started.
pub(super) struct Bind {
    pub deployment: Option<Deployment>,
    pub waits: bool,
    pub unchecked: bool,
}

impl Bind {
    pub(super) fn of(asked: &Asked) -> Self {
        Bind { deployment: asked.deployment.clone(), waits: asked.waits_for_deployment, unchecked: asked.unchecked }
    }
}

/// The options of a start, besides its workflow and its arguments.
#[derive(Default)]
pub(crate) struct Asked {
    pub id: Option<String>,
    pub if_exists: IfExists,
    /// Tokens that accept payloads for the run before it has reached their hooks.
    pub opens: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub state: Option<Payload>,
    pub context: BTreeMap<Box<str>, Payload>,
    pub tracing: Option<TracingOptions>,
    pub output: Option<OutputWriter>,
    /// `None` for what the workflow says.
    pub deployment: Option<Deployment>,
    /// Whether the run may wait for the first worker of that deployment.
    pub waits_for_deployment: bool,
    /// Whether the arguments need not fit the schema that another deployment has published.
    pub unchecked: bool,
}

impl Asked {
    /// The data that the run has at its start.
    pub(super) fn carried(&self, trace: Option<Trace>) -> Carried {
        let inherited = Inherited { context: self.context.clone(), trace, depth: 0 };
        Carried {
            state: self.state.clone(),
            attributes: self.attributes.keys().map(|key| key.as_str().into()).collect(),
            inherited: inherited.some(),
            ..Carried::default()
        }
    }

    /// The effects that precede its first turn.
    pub(super) fn effects(self, now: u64) -> Result<Option<Box<Effects>>> {
        if self.opens.is_empty() && self.attributes.is_empty() && self.state.is_none() {
            return Ok(None);
        }
        check_attributes(self.attributes.len())?;
        let attribute = |(key, value): (String, String)| {
            check_attribute(&key, &value)?;
            Ok((key.into(), Some(value.into())))
        };
        Ok(Some(Box::new(Effects {
            opens: self.opens.into_iter().map(|token| messages::promise(token, now)).collect::<Result<_>>()?,
            attributes: self.attributes.into_iter().map(attribute).collect::<Result<_>>()?,
            state: self.state.map(|state| Arc::from(state.as_str())),
            ..Effects::default()
        })))
    }
}

pub(super) fn exists(row: &RunRow) -> Error {
    Error::coded(Code::RunExists, format!("run `{}` already exists", row.id)).run(&row.id)
}

impl Inner {
    pub(super) fn new_run(
        &self,
        definition: &'static WorkflowDefinition,
        args: Payload,
        id: Option<String>,
        asked: Asked,
    ) -> Result<New> {
        let is_named = id.is_some();
        let id = match id {
            None => self.new_id(),
            Some(id) => names::check("the id of a run", &id).map(|()| id)?,
        };
        let (created_at, token) = (self.clock.now(), self.random.number());
        let tracing = asked.tracing.clone().or_else(|| self.settings.telemetry.is_on().then(TracingOptions::new));
        let context = RequestContext { values: asked.context.clone() };
        let trace = tracing.map(|tracing| tracing.trace(self.random.number(), &context)).transpose()?;
        Ok(New {
            id: id.into(),
            is_named,
            definition,
            args_digest: Sha256::digest(args.as_str().as_bytes()).into(),
            args,
            created_at,
            token,
            carried: asked.carried(trace),
            ahead: asked.effects(created_at)?,
            required: None,
            replaced: None,
        })
    }
}
