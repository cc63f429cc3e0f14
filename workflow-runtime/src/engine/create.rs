//! The start of a run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::environment::Random;
use super::live::{InboxRead, Live, Seat, run_span};
use super::{Inner, effects, letters, turn};
use crate::codec::{Payload, excerpt};
use crate::context::check_attribute;
use crate::error::{Code, Error, Result};
use crate::limits::ATTRIBUTES_MAX;
use crate::names;
use crate::registry::{WorkflowDefinition, hex, registry};
use crate::replay::{Carried, Core, Event, Identity, TurnRecord};
use crate::store::{
    Effects, Failed, Fence, First, Letter, NewChunk, NewRun, Outcome, RowChange, RunKey, RunRow, Write,
};

/// The epoch of a run that its engine has created.
const FIRST_EPOCH: u64 = 1;

/// A run that is to be.
struct New {
    id: Arc<str>,
    definition: &'static WorkflowDefinition,
    args: Payload,
    args_digest: [u8; 32],
    /// Also the time of its first event, if that is delivered here.
    created_at: u64,
    token: u128,
    /// What is done ahead of its first turn.
    ahead: Option<Box<Effects>>,
}

impl New {
    /// The event that begins it.
    fn started(&self, random: &Random) -> Event {
        let attributes = self.ahead.iter().flat_map(|ahead| &ahead.attributes).map(|(key, _)| (**key).into());
        let carried = Carried { attributes: attributes.collect(), ..Carried::default() };
        started(random, &self.args, (!carried.attributes.is_empty()).then_some(carried))
    }
}

/// What a start does beside starting the run.
#[derive(Default)]
pub(crate) struct Ahead {
    /// Tokens that it takes payloads by before it has come to their hooks.
    pub opens: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

impl Ahead {
    fn effects(self, now: u64) -> Result<Option<Box<Effects>>> {
        if self.opens.is_empty() && self.attributes.is_empty() {
            return Ok(None);
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(Error::coded(Code::Limit, "the run has too many attributes")
                .expected(format!("at most {ATTRIBUTES_MAX}"))
                .found(self.attributes.len()));
        }
        let attribute = |(key, value): (String, String)| {
            check_attribute(&key, &value)?;
            Ok((key.into(), Some(value.into())))
        };
        Ok(Some(Box::new(Effects {
            opens: self.opens.into_iter().map(|token| letters::promise(token, now)).collect::<Result<_>>()?,
            attributes: self.attributes.into_iter().map(attribute).collect::<Result<_>>()?,
            ..Effects::default()
        })))
    }
}

/// The event that begins a run or its next generation.
pub(super) fn started(random: &Random, args: &Payload, carried: Option<Carried>) -> Event {
    let seed = random.number().to_le_bytes();
    Event::Started { seed: Cow::Owned(hex(&seed)), args: args.clone(), carried: carried.map(Box::new) }
}

/// What is done ahead of a turn and by it.
fn both(ahead: Option<Box<Effects>>, turn: Option<Box<Effects>>) -> Option<Box<Effects>> {
    let (Some(mut both), Some(turn)) = (ahead.clone(), turn.clone()) else { return ahead.or(turn) };
    both.opens.extend(turn.opens);
    both.attributes.extend(turn.attributes);
    Some(Box::new(Effects { opens: both.opens, attributes: both.attributes, ..*turn }))
}

impl Inner {
    /// Creates a run, or finds the one that has this id already: its id.
    pub(crate) async fn create(
        self: &Arc<Self>,
        definition: &'static WorkflowDefinition,
        args: Payload,
        id: Option<String>,
        ahead: Ahead,
    ) -> Result<Arc<str>> {
        self.check_open()?;
        registry().workflow(definition.source.id)?;
        let args_digest = Sha256::digest(args.as_str().as_bytes()).into();
        let id: Arc<str> = match id {
            None => Arc::from(self.new_id()),
            Some(id) => {
                names::check("the id of a run", &id)?;
                let id: Arc<str> = Arc::from(id);
                // Before the workflow is polled: what it does at its beginning is no concern of a run that is there.
                if let Some(row) = self.row(&id).await? {
                    return self.settle(Box::new(row), definition, &args, args_digest).await;
                }
                id
            }
        };
        let (created_at, token) = (self.environment.now(), self.random.number());
        let ahead = ahead.effects(created_at)?;
        let new = New { id, definition, args, args_digest, created_at, token, ahead };
        if self.is_executing()
            && let Some(outcome) = self.create_here(&new).await?
        {
            return match outcome {
                Outcome::Exists(row) => self.settle(row, definition, &new.args, args_digest).await,
                _ => Ok(new.id),
            };
        }
        // Another engine executes in this store: it finds the arguments in the run's inbox.
        let first = First::Letter(self.letter(&new)?);
        match self.send(&new, first, new.ahead.clone(), Vec::new()).await? {
            Outcome::Exists(row) => self.settle(row, definition, &new.args, args_digest).await,
            _ => {
                // It may be this engine by now, which does not see its own letter as somebody's change.
                self.taking.miss();
                Ok(new.id)
            }
        }
    }

    /// Takes the first turn and creates the run with it. Nothing if this engine must not.
    async fn create_here(self: &Arc<Self>, new: &New) -> Result<Option<Outcome>> {
        let taking = self.taking.begin(&new.id);
        let identity = Identity { run: new.id.clone(), workflow: new.definition.source.id, generation: 0 };
        let mut core = Core::new(new.definition, identity, self.host.clone());
        let span = run_span(&new.id, new.definition);
        let first = span.in_scope(|| self.first_turn(&mut core, new));
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                taking.settle();
                return Err(error.run(&new.id).context("the run was not started"));
            }
        };
        let ended = first.deliveries.last().and_then(|delivery| delivery.end.as_ref());
        let change = turn::row_after(core.shared(), ended, true);
        let ended = ended.is_some();
        let row = turn::journal_row(self, 0, &first)?;
        let owner = self.owner();
        let first = First::Turn { owner, row, change: change.clone() };
        let effects = self.effects(&core.shared().take_effects())?;
        let may_have_news = effects::may_have_news(effects.as_deref());
        let chunks = core.shared().take_chunks().into_iter().map(|chunk| self.new_chunk(chunk)).collect();
        let mut effects = both(new.ahead.clone(), effects);
        self.notify(&mut effects, Some(&change).filter(|_| ended));
        let outcome = self.send(new, first, effects, chunks).await?;
        if ended {
            self.notices.hint();
        }
        if let Outcome::Created(key) = outcome
            && !ended
        {
            self.live_from_start(core, key, owner, new, &change, span);
        }
        if may_have_news {
            self.news.posted();
        }
        taking.settle();
        Ok((!matches!(outcome, Outcome::Fenced)).then_some(outcome))
    }

    fn first_turn(&self, core: &mut Core, new: &New) -> Result<TurnRecord> {
        let delivery = core.deliver(new.created_at, new.started(&self.random))?;
        let record = TurnRecord { deliveries: vec![delivery] };
        if self.settings.replay_every_turn {
            let mut again = Core::new(core.definition(), core.shared().identity().clone(), self.host.clone());
            turn::replay_again(&mut again, &record)?;
        }
        Ok(record)
    }

    fn live_from_start(
        self: &Arc<Self>,
        core: Core,
        key: RunKey,
        owner: u64,
        new: &New,
        change: &RowChange,
        span: tracing::Span,
    ) {
        let fence = Fence { owner, epoch: FIRST_EPOCH };
        let actions = core.shared().take_actions();
        let seat = Seat::new(core, 1, change.status, change.wake_at);
        let live = Live::new(key, new.id.clone(), new.definition, 0, fence, span, InboxRead::default());
        turn::take_up(self, &live, seat, actions, Vec::new());
    }

    async fn send(
        &self,
        new: &New,
        first: First,
        effects: Option<Box<Effects>>,
        chunks: Vec<NewChunk>,
    ) -> Result<Outcome> {
        let run = NewRun {
            id: new.id.clone(),
            workflow: Arc::from(new.definition.source.id),
            fingerprint: Arc::from(new.definition.source.fingerprint),
            args_digest: new.args_digest,
            created_at: new.created_at,
            token: new.token,
            effects,
            chunks,
            first,
        };
        self.batcher.send(Write::Create(run)).await.map_err(|Failed { error, in_doubt }| {
            let error = error.run(&new.id);
            if in_doubt {
                error
                    .context("it is not known whether the run was started")
                    .with_code(Code::InDoubt)
                    .help("start it again with the same id: `start(..).id(..)` gives the existing run if there is one")
            } else {
                error.context("the run was not started")
            }
        })
    }

    /// The id of the run that was there, if it is the same.
    async fn settle(
        &self,
        row: Box<RunRow>,
        definition: &WorkflowDefinition,
        args: &Payload,
        args_digest: [u8; 32],
    ) -> Result<Arc<str>> {
        let exists = || Error::coded(Code::RunExists, format!("there is a run `{}` already", row.id)).run(&row.id);
        if *row.workflow != *definition.source.id && !definition.was.contains(&&*row.workflow) {
            return Err(exists()
                .expected(format!("as recorded, a run of workflow `{}`", row.workflow))
                .found(format!("this call's workflow `{}`", definition.source.id))
                .help(format!(
                    "if that is the same workflow under another name, say so: `#[workflow(was = \"{}\")]`; if not, use \
                     another id",
                    row.workflow
                )));
        }
        if row.args_digest != args_digest {
            let stored = self.stored_args(&row).await?;
            // The keys of a map may have been encoded in another order.
            if !stored.as_ref().is_some_and(|stored| args.same_value(stored, definition.recode_args)) {
                let stored = stored.map_or_else(|| "others".to_owned(), |stored| excerpt(stored.as_str()));
                return Err(exists()
                    .expected(format!("the recorded arguments {stored}"))
                    .found(format!("this call's arguments {}", excerpt(args.as_str())))
                    .help("use another id, or get_run(id) for the run that is there"));
            }
        }
        Ok(row.id.clone())
    }

    async fn stored_args(&self, row: &RunRow) -> Result<Option<Payload>> {
        let first = self.store.journal(row.key, 0, 0, 1).await?.into_iter().next();
        let event = match first {
            Some(first) => {
                let turn = TurnRecord::decode(first.format, first.checksum, &first.body)?;
                turn.deliveries.into_iter().next().map(|delivery| delivery.event)
            }
            None => {
                let letter = self.store.inbox(row.key).await?.1.into_iter().next();
                letter.map(|letter| Event::decode(letter.format, letter.checksum, &letter.body)).transpose()?
            }
        };
        Ok(match event {
            Some(Event::Started { args, .. }) => Some(args),
            _ => None,
        })
    }

    fn letter(&self, new: &New) -> Result<Letter> {
        letters::letter(&new.started(&self.random), new.created_at, None)
    }

    /// A UUID of version 7: ids that are made one after the other are neighbours in the store's index.
    fn new_id(&self) -> String {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(self.environment.now(), &random).into_uuid().to_string()
    }
}
