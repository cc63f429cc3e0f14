//! Retries runs that have ended, and forks new runs from their history.

mod payloads;
mod point;
mod rewrite;
mod shown;
mod suspended;
mod tree;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::point::{Deliveries, Ending, ForkPoint, forked, succeeds};
use self::rewrite::{Beginning, Changes};
use super::create::not_created;
use super::inner::Inner;
use super::parts::missing::{events_removed, not_found};
use super::parts::pages::Pages;
use crate::codec::Payload;
use crate::error::{Code, Error, Result};
use crate::history::{HistoryReader, RunEventKind};
use crate::model::{Deployment, Status};
use crate::names;
use crate::registry::registry;
use crate::replay::{Command, Delivery, End, Event, Identity, NONDETERMINISTIC, Reopening, TurnRecord};
use crate::store::{CreateAnswer, Effects, First, NewRun, RunKey, RunRow, UnstickRun, UnstickRunAnswer};
use crate::text::excerpt;

const RETRY_AGAIN: &str = "look at the run's status, and retry it again if it has not changed";
const FORK_AGAIN: &str =
    "fork it again with the same id: `.fork(event).id(..)` gives the existing fork if there is one";

/// The point at which a run is forked.
pub(crate) struct At {
    /// The index of the first event that is not kept; the call of a step is kept.
    pub event: u64,
    /// The input that replaces that of the step called there.
    pub input: Option<Payload>,
    /// The id of the new run.
    pub id: Option<String>,
    /// Whether the kept steps are rolled back as well if the new run does not succeed.
    pub undo_inherited: bool,
    /// Which deployments may execute the new run; any, if it is not set.
    pub deployment: Option<Deployment>,
    /// Whether the arguments need not fit the schemas that another deployment has published.
    pub unchecked: bool,
}

/// A part of a run's history.
struct Cut {
    kept: Deliveries,
    /// The event that is delivered again, if there is one.
    again: Option<Event>,
    /// The generations before that.
    earlier: Vec<Deliveries>,
    /// The event at which the history was cut.
    named: RunEventKind,
    /// The first event of the generation.
    first: Option<Event>,
}

impl Inner {
    /// Continues a run that has failed, was cancelled or is stuck.
    pub(crate) async fn retry(&self, id: &Arc<str>) -> Result<()> {
        self.check_open()?;
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        match row.status {
            Status::Stuck => match self.batcher.send(UnstickRun { run: id.clone() }).await {
                Ok(UnstickRunAnswer::Committed) => {}
                Ok(UnstickRunAnswer::Unknown) => return Err(not_found(id)),
                Err(failed) => return Err(failed.explain("the run", "retried", RETRY_AGAIN).run(id)),
            },
            Status::Failed | Status::Cancelled => self.reopen(row).await?,
            status => return Err(not_retried(id, status)),
        }
        self.activations.miss();
        Ok(())
    }

    /// Starts a run from the history of another one. Returns its id.
    pub(crate) async fn fork(&self, source: &Arc<str>, at: At) -> Result<Arc<str>> {
        self.check_open()?;
        let mut row = self.row(source).await?.ok_or_else(|| not_found(source))?;
        let id: Arc<str> = match &at.id {
            Some(id) => names::check("the id of a run", id).map(|()| (&**id).into())?,
            None => self.new_id().into(),
        };
        let not_forked = |error: Error| error.run(source).context("the run was not forked");
        let asked = digest_of_fork(&row, &at);
        // The fork exists already, whatever has happened to its source since.
        if at.id.is_some() && self.row(&id).await?.is_some_and(|row| row.args_digest == asked) {
            return Ok(id);
        }
        let Cut { mut kept, mut again, earlier, named, first } = loop {
            let cut = self.cut(&row, at.event).await.map_err(not_forked);
            let now = self.row(source).await?.ok_or_else(|| not_found(source))?;
            if now.first_generation == row.first_generation {
                break cut?;
            }
            // A part of the rows that were read may have been removed meanwhile.
            row = now;
        };
        if let Some(input) = at.input.clone() {
            give(&mut kept, &named, at.event, input).map_err(not_forked)?;
        }
        if at.undo_inherited {
            self.check_undoes(&row).await.map_err(not_forked)?;
        }
        if kept.is_empty() {
            again = self.start_of(row.key, first.clone()).await?;
        }
        let required = self.fork_for(&row, &at, again.as_ref().or(first.as_ref()), &named).await.map_err(not_forked)?;
        let (attributes, chunks) = self.shown(&row, &earlier, &kept, again.as_ref()).await?;
        let state = shown::state(&kept, again.as_ref());
        let identity = Identity { run: id.clone(), workflow: "", generation: 0 };
        let reopening = Reopening {
            source: Some(source.to_string()),
            again: again.as_ref().and_then(succeeds),
            undo_inherited: at.undo_inherited,
            ..Reopening::default()
        };
        let changes = Changes { reopening, ..Changes::default() };
        let Beginning { rows, messages } =
            self.beginning(kept, again, &identity, source, changes).map_err(not_forked)?;
        let now = self.clock.now();
        let attributes = attributes.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let new = NewRun {
            id: id.clone(),
            workflow: row.workflow,
            fingerprint: row.fingerprint,
            args_digest: asked,
            created_at: now,
            token: self.random.number(),
            required_deployment: required,
            depth: row.depth,
            effects: Some(Box::new(Effects { attributes, state, ..Effects::default() })),
            chunks,
            first: First::Journal { rows, messages },
        };
        match self
            .batcher
            .send_when_room(new)
            .await
            .map_err(|failed| failed.explain("the run", "forked", FORK_AGAIN).run(source))?
        {
            CreateAnswer::Exists(row) if row.args_digest == asked => Ok(id),
            CreateAnswer::Exists(row) => {
                Err(Error::coded(Code::RunExists, format!("run `{}` already exists", row.id)).run(&row.id))
            }
            CreateAnswer::Created(_) => {
                self.activations.miss();
                Ok(id)
            }
            CreateAnswer::Fenced | CreateAnswer::Unknown => Err(not_created(&id)),
        }
    }

    /// The deployment that a fork requires. It has to take the arguments that the generation began with, and those that the
    /// fork gives to a step.
    async fn fork_for(
        &self,
        row: &RunRow,
        at: &At,
        begun: Option<&Event>,
        named: &RunEventKind,
    ) -> Result<Option<Arc<str>>> {
        let Some(deployment) = &at.deployment else { return Ok(None) };
        let definition = registry().workflow(&row.workflow)?;
        let required = self.required(definition, Some(deployment), false).await?;
        if let (Deployment::Latest | Deployment::Id(_), Some(required)) = (deployment, &required)
            && !at.unchecked
        {
            let args = match begun {
                Some(Event::Started { args, .. }) => Some(args),
                _ => None,
            };
            let step = match (named, &at.input) {
                (RunEventKind::StepStarted { step, .. }, Some(input)) => Some((&**step, input)),
                _ => None,
            };
            self.check_arguments(definition, required, args, step).await?;
        }
        Ok(required)
    }

    async fn deliveries(&self, key: RunKey, generation: u64) -> Result<Deliveries> {
        let mut deliveries = Deliveries::new();
        let mut pages = Pages::of(key, generation);
        while let Some(rows) = pages.next(&*self.store).await? {
            for row in rows {
                let turn = TurnRecord::decode(row.format, row.checksum, &row.body)?;
                deliveries.extend(turn.deliveries.into_iter().map(|delivery| (row.index, delivery)));
            }
        }
        Ok(deliveries)
    }

    /// The kept part of a run's history, up to an event.
    async fn cut(&self, row: &RunRow, event: u64) -> Result<Cut> {
        if event < row.first_event {
            return Err(events_removed(&row.id, event, row.first_event));
        }
        let (mut reader, mut earlier) = (HistoryReader::new(row), Vec::new());
        for generation in row.first_generation..=row.generation {
            reader.begin_generation(generation);
            let deliveries = self.deliveries(row.key, generation).await?;
            for (at, (_, delivery)) in deliveries.iter().enumerate() {
                let begins = reader.next();
                let mut events = Vec::new();
                reader.read(delivery, &mut events)?;
                if event >= reader.next() {
                    continue;
                }
                let named = events.into_iter().find(|events| events.index == event).map(|events| events.kind);
                let named =
                    named.ok_or_else(|| Error::coded(Code::Damaged, format!("the run has no event {event}")))?;
                let first = deliveries.first().map(|(_, delivery)| delivery.event.clone());
                let (kept, again) = forked(deliveries, &ForkPoint { at, first: event == begins })?;
                return Ok(Cut { kept, again, earlier, named, first });
            }
            // A retry has replaced a generation that has not continued as new.
            if matches!(deliveries.last(), Some((_, Delivery { end: Some(End::Continued(_)), .. }))) {
                earlier.push(deliveries);
            }
        }
        Err(Error::coded(Code::NotRepairable, format!("the run has no event {event} (yet)"))
            .expected(format!("less than {}", reader.next()))
            .help("`run.events().so_far()` gives its events, each with its index")
            .into_fatal())
    }

    /// The event that starts a run again: the first of its journal, or that in its inbox if it was cancelled before it began.
    async fn start_of(&self, key: RunKey, first: Option<Event>) -> Result<Option<Event>> {
        if let Some(Event::Started { .. }) = &first {
            return Ok(first);
        }
        let (_, messages) = self.store.inbox(key).await?;
        let mut events = messages.iter().map(|message| Event::decode(message.format, message.checksum, &message.body));
        Ok(events.find_map(|event| event.ok().filter(|event| matches!(event, Event::Started { .. }))))
    }

    /// Refuses to roll back in a fork the steps of a run that rolls them back itself, has rolled them back, or keeps them.
    async fn check_undoes(&self, row: &RunRow) -> Result<()> {
        let refused = |why: &str| {
            Err(Error::coded(Code::NotRepairable, format!("a fork cannot undo what the run has done: {why}"))
                .expected("a run that has failed or was cancelled and has not been rolled back")
                .help("remove `.undo_inherited()`: the fork still undoes the steps that it executes itself")
                .into_fatal())
        };
        match row.status {
            Status::Failed | Status::Cancelled => {}
            Status::Completed => return refused("it has completed, and keeps it"),
            status => return refused(&format!("it is {status}, and undoes it itself if it fails")),
        }
        let deliveries = self.deliveries(row.key, row.generation).await?;
        match Ending::of(&deliveries) {
            Some(ending) if ending.undoes() => refused("it was rolled back"),
            _ => Ok(()),
        }
    }
}

fn not_retried(id: &Arc<str>, status: Status) -> Error {
    Error::coded(Code::NotRepairable, format!("the run is {status}: there is nothing to be retried"))
        .run(id)
        .expected("a run that has failed, was cancelled or is stuck")
        .into_fatal()
}

/// The value that a fork has as the digest of its arguments, so that a repeated request finds it. A start that
/// finds the fork under its id compares the arguments themselves.
fn digest_of_fork(source: &RunRow, at: &At) -> [u8; 32] {
    let At { event, input, undo_inherited, .. } = at;
    let input = input.as_ref().map_or("", Payload::as_str);
    let undoes = if *undo_inherited { "undo_inherited " } else { "" };
    Sha256::digest(format!("fork {} {event} {undoes}{input}", source.key)).into()
}

/// Replaces the input of the step that is called at an event.
fn give(kept: &mut Deliveries, named: &RunEventKind, event: u64, input: Payload) -> Result<()> {
    let help = "give the index of the event at which the step was called: `StepOutcome::event`";
    let RunEventKind::StepStarted { operation, step, .. } = named else {
        let named = serde_json::to_value(named).ok();
        let named = named.as_ref().and_then(|named| named["type"].as_str()).unwrap_or_default();
        return Err(Error::coded(
            Code::NotRepairable,
            format!("event {event} is no call of a step, and takes no input"),
        )
        .expected("a `step_started`")
        .found(format!("a `{named}`"))
        .help(help)
        .into_fatal());
    };
    if step == NONDETERMINISTIC {
        let text = format!("event {event} is a future that was wrapped with `nondeterministic`, and takes no input");
        return Err(Error::coded(Code::NotRepairable, text).help(help).into_fatal());
    }
    let commands = kept.last_mut().map(|(_, delivery)| &mut delivery.commands);
    let dropped = |command: &Command| matches!(command, Command::Cancel { op } if op == operation);
    let called = commands.filter(|commands| !commands.iter().any(dropped)).and_then(|commands| {
        commands.iter_mut().find_map(|command| match command {
            Command::Step { op, given, .. } if op == operation => Some(given),
            _ => None,
        })
    });
    let Some(given) = called else {
        let text =
            format!("step `{step}` is not executed: the workflow dropped the call at event {event}, or ended with it");
        return Err(Error::coded(Code::NotRepairable, text).help(help).into_fatal());
    };
    let definition = registry().step(step)?;
    (definition.check_args)(&input).map_err(|error| {
        Error::coded(Code::InvalidArguments, format!("the input does not fit the arguments of step `{step}`"))
            .because(error)
            .operation(format!("operation {operation}: step `{step}`"))
            .expected(format!("a tuple of its arguments: `{}`", (definition.args_name)()))
            .found(excerpt(input.as_str()))
            .into_fatal()
    })?;
    *given = Some(input);
    Ok(())
}
