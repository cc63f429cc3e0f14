//! The start of a run.

use std::sync::Arc;

use super::commit::journal_row;
use super::effects;
use super::inner::Inner;
use super::new_run::{Asked, Bind, New, exists};
use super::parts::active_run::{ActiveRun, Claimed, DriverState, run_span};
use super::parts::mailbox::InboxRead;
use super::parts::outputs::Output;
use super::removal::CLEANING;
use super::{messages, turn};
use crate::codec::Payload;
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::model::{Deployment, IfExists, OutputWriter, Status};
use crate::registry::registry;
use crate::replay::{Core, Event, Identity, TurnRecord};
use crate::store::{CreateAnswer, Effects, Fence, First, Message, NewChunk, NewRun, Replace, RunKey, RunRow};
use crate::text::excerpt;

/// The epoch of a run that its engine has created.
const FIRST_EPOCH: u64 = 1;

const START_AGAIN: &str = "start it again with the same id: `start(..).id(..)` gives the existing run if there is one";
const CREATE_AGAIN: &str =
    "create it again with the same id: `create_run(..).id(..)` gives the existing run if there is one";
const BEGIN_AGAIN: &str = "start it again by its handle; if it was started, that fails with `Code::AlreadyStarted`";

/// The output function of a run that is being started; removed on drop unless it is kept.
pub(super) struct TakesOutput {
    engine: Arc<Inner>,
    run: Arc<str>,
    output: Option<Arc<Output>>,
}

impl TakesOutput {
    pub(super) fn keep(mut self, key: RunKey) {
        if let Some(output) = self.output.take() {
            let (engine, run) = (self.engine.clone(), self.run.clone());
            engine.outputs.keep(&run, output.clone());
            self.engine.runtime.spawn(engine.tail_output(run, key, output));
        }
    }
}

impl Drop for TakesOutput {
    fn drop(&mut self) {
        if let Some(output) = &self.output {
            self.engine.outputs.remove(&self.run, output);
        }
    }
}

/// The store has refused a run for a reason that does not apply to a run without a first turn.
pub(super) fn not_created(id: &Arc<str>) -> Error {
    Error::coded(Code::Store, "the store refused the run without naming another one that has its id")
        .run(id)
        .help("start it again; if the store refuses it again, the implementation of the store has a fault")
}

/// Merges the effects that precede a turn with those of the turn.
fn both(ahead: Option<Box<Effects>>, turn: Option<Box<Effects>>) -> Option<Box<Effects>> {
    let (Some(mut both), Some(turn)) = (ahead.clone(), turn.clone()) else { return ahead.or(turn) };
    both.opens.extend(turn.opens);
    both.attributes.extend(turn.attributes);
    let state = turn.state.or(both.state);
    Some(Box::new(Effects { opens: both.opens, attributes: both.attributes, state, ..*turn }))
}

impl Inner {
    /// Creates a run, or finds the run that has this id already. Returns its id.
    pub(crate) async fn create(
        self: &Arc<Self>,
        definition: &'static WorkflowDefinition,
        args: Payload,
        asked: Asked,
    ) -> Result<Arc<str>> {
        self.check_open()?;
        if !definition.is_published {
            registry().workflow(definition.source.id)?;
        }
        let (if_exists, id, output) = (asked.if_exists, asked.id.clone(), asked.output.clone());
        let bind = Bind::of(&asked);
        let mut new = self.new_run(definition, args, id, asked)?;
        // What few starts do is boxed, here and below: each start in progress has the size of this future.
        // Before the workflow is polled: a run that exists must not execute the beginning of the workflow again.
        if new.is_named
            && let Some(row) = Box::pin(self.row(&new.id)).await?
        {
            let has_failed = matches!(row.status, Status::Failed | Status::Cancelled);
            if if_exists != IfExists::ReplaceFailed || !has_failed {
                return Box::pin(self.settle(Box::new(row), &new, if_exists)).await;
            }
            new.replaced = Some(row.key);
        }
        // After the look-up: a run that exists is the same run, whatever its deployment.
        if definition.pinned || bind.deployment.is_some() {
            Box::pin(self.bind(&mut new, bind)).await?;
        }
        let output = self.takes_output(&new.id, output);
        match self.create_anywhere(&new).await? {
            CreateAnswer::Exists(row) => Box::pin(self.settle(row, &new, if_exists)).await,
            CreateAnswer::Created(key) => {
                if new.replaced.is_some() {
                    self.has_deleted(&new.id);
                }
                output.keep(key);
                Ok(new.id)
            }
            CreateAnswer::Fenced | CreateAnswer::Unknown => Err(not_created(&new.id)),
        }
    }

    /// Determines the deployment of a new run, which has to take its arguments if it is of another build.
    pub(super) async fn bind(&self, new: &mut New, bind: Bind) -> Result<()> {
        let Bind { deployment, waits, unchecked } = bind;
        new.required = self.required(new.definition, deployment.as_ref(), waits).await?;
        match (&deployment, &new.required) {
            (Some(Deployment::Latest | Deployment::Id(_)), Some(required)) if !unchecked => {
                self.check_arguments(new.definition, required, Some(&new.args), None).await
            }
            _ => Ok(()),
        }
    }

    async fn create_anywhere(self: &Arc<Self>, new: &New) -> Result<CreateAnswer> {
        if self.is_executing()
            && self.may_begin(new.required.as_deref())
            && let Some(answer) = self.create_here(new).await?
        {
            return Ok(answer);
        }
        // Another engine executes in this store: it reads the arguments from the run's inbox.
        let first = First::Message(self.message(new)?);
        let answer = Box::pin(self.send(new, first, new.ahead.clone(), Vec::new())).await?;
        // This engine may execute by now, and does not see its own message as a change by another engine.
        self.activations.miss();
        Ok(answer)
    }

    /// Registers an output function before the run is created, and removes it unless the start succeeds.
    pub(super) fn takes_output(self: &Arc<Self>, run: &Arc<str>, writer: Option<OutputWriter>) -> TakesOutput {
        let output = writer.map(|writer| Arc::new(Output::new(writer)));
        if let Some(output) = &output {
            self.outputs.add(run, output);
        }
        TakesOutput { engine: self.clone(), run: run.clone(), output }
    }

    /// Executes the first turn and creates the run with it. `None` if this engine must not.
    async fn create_here(self: &Arc<Self>, new: &New) -> Result<Option<CreateAnswer>> {
        let activation = self.activations.begin(&new.id);
        let identity = Identity { run: new.id.clone(), workflow: new.definition.source.id, generation: 0 };
        let mut core = Core::new(new.definition, identity, self.host.clone());
        let span = run_span(&new.id, new.definition);
        let first = span.in_scope(|| self.first_turn(&mut core, new));
        let record = match first {
            Ok(record) => record,
            // The run gets stuck, as after any other turn: it has begun, and another build may be able to continue it.
            Err(_) if core.shared().is_over_limit() => {
                activation.settle();
                return Ok(None);
            }
            Err(error) => {
                activation.settle();
                return Err(error.run(&new.id).context("the run was not started"));
            }
        };
        let ended = record.deliveries.last().and_then(|delivery| delivery.end.as_ref());
        let change = turn::row_after(core.shared(), ended, true);
        let ended = ended.is_some();
        let row = match journal_row(self, 0, &record) {
            Ok(row) => row,
            Err(error) => {
                activation.settle();
                return if error.code() == Code::Limit { Ok(None) } else { Err(error.run(&new.id)) };
            }
        };
        let owner = self.owner();
        let first = First::Turn { owner, row, change: change.clone() };
        let mut effects = core.shared().take_effects();
        if !effects.children.is_empty() {
            Box::pin(self.find_children(&mut effects.children)).await;
        }
        if effects.continued.is_some() {
            Box::pin(self.find_latest(new.definition, &mut effects.continued)).await;
        }
        let effects = self.effects(&effects)?;
        let may_have_news = effects::may_have_news(effects.as_deref());
        let chunks = core.shared().take_chunks().into_iter().map(|chunk| self.new_chunk(chunk)).collect();
        let mut effects = both(new.ahead.clone(), effects);
        self.notify(&mut effects, Some(&change).filter(|_| ended));
        let answer = self.send(new, first, effects, chunks).await?;
        if let CreateAnswer::Created(key) = answer {
            let workflow = new.definition.source.id;
            self.metrics.started(workflow);
            self.metrics.ended(workflow, change.status);
            let mut spans = self.settings.telemetry.spans(&new.id, 0, false);
            spans.recorded(&record, ended);
            if ended {
                self.export_end(&new.id, 0, change.status);
            } else {
                // It has made no attempt, so its row has no error.
                let driver = DriverState::new(core, 1, change.status, change.wake_at, spans);
                self.live_from_start(driver, key, owner, new, span);
            }
        }
        if ended {
            self.notices.notify_one();
        }
        if may_have_news {
            self.news.sent();
        }
        activation.settle();
        Ok(Some(answer).filter(|answer| *answer != CreateAnswer::Fenced))
    }

    fn first_turn(&self, core: &mut Core, new: &New) -> Result<TurnRecord> {
        let delivery = core.deliver(new.created_at, new.started(&self.random))?;
        let record = TurnRecord::from(delivery);
        if self.settings.replay_every_turn {
            let mut again = Core::new(core.definition(), core.shared().identity().clone(), self.host.clone());
            turn::replay_again(&mut again, &record)?;
        }
        Ok(record)
    }

    fn live_from_start(self: &Arc<Self>, driver: DriverState, key: RunKey, owner: u64, new: &New, span: tracing::Span) {
        let claim = Claimed { key, generation: 0, fence: Fence { owner, epoch: FIRST_EPOCH } };
        let actions = driver.core.shared().take_actions();
        let live = ActiveRun::new(claim, new.id.clone(), new.definition, span, InboxRead::default());
        turn::activate(self, &live, driver, actions, Vec::new());
        self.waiters.touch();
    }

    pub(super) async fn send(
        &self,
        new: &New,
        first: First,
        effects: Option<Box<Effects>>,
        chunks: Vec<NewChunk>,
    ) -> Result<CreateAnswer> {
        let (done, again) = match first {
            First::Later => ("created", CREATE_AGAIN),
            First::Begin(_) => ("started", BEGIN_AGAIN),
            First::Turn { .. } | First::Message(_) | First::Journal { .. } => ("started", START_AGAIN),
        };
        let run = NewRun {
            id: new.id.clone(),
            workflow: Arc::from(new.definition.source.id),
            fingerprint: Arc::from(new.definition.source.fingerprint),
            args_digest: new.args_digest,
            created_at: new.created_at,
            token: new.token,
            required_deployment: new.required.clone(),
            depth: 0,
            effects,
            chunks,
            first,
        };
        let sent = match new.replaced {
            Some(failed) => {
                let replace = Replace { run: failed, most: CLEANING, new: run };
                Box::pin(self.batcher.send_when_room(replace)).await
            }
            None => self.batcher.send_when_room(run).await,
        };
        sent.map_err(|failed| failed.explain("the run", done, again).run(&new.id))
    }

    /// The id of the run that exists, if it matches the request.
    async fn settle(&self, row: Box<RunRow>, new: &New, if_exists: IfExists) -> Result<Arc<str>> {
        new.is_of(&row)?;
        let status = row.status;
        match if_exists {
            IfExists::Reject => return Err(exists(&row).found(format!("it is {status}"))),
            IfExists::ReuseUnfinished if status.is_terminal() => {
                let error = exists(&row).expected("a run that has not ended").found(format!("it is {status}"));
                return Err(error.help("use another id for another run"));
            }
            IfExists::Reuse | IfExists::ReuseUnfinished | IfExists::ReplaceFailed => {}
        }
        if row.has_not_begun() {
            let error = exists(&row).found("it was created by `create_run`, and is not started yet");
            return Err(error.help("start it by its handle: `create_run(the_workflow).id(..).await?.start(..)`"));
        }
        if row.args_digest != new.args_digest {
            let stored = self.stored_args(&row).await?;
            // The keys of a map may have been encoded in another order.
            let recode = new.definition.recode_args;
            if !stored.as_ref().is_some_and(|stored| new.args.same_value(stored, recode)) {
                let stored = stored.map_or_else(|| "others".to_owned(), |stored| excerpt(stored.as_str()));
                return Err(exists(&row)
                    .expected(format!("the recorded arguments {stored}"))
                    .found(format!("this call's arguments {}", excerpt(new.args.as_str())))
                    .help("use another id, or await the existing run: `get_run(id)`"));
            }
        }
        Ok(row.id.clone())
    }

    pub(super) async fn stored_args(&self, row: &RunRow) -> Result<Option<Payload>> {
        let first = self.store.journal(row.key, 0, 0, 1).await?.into_iter().next();
        let event = match first {
            Some(first) => {
                let turn = TurnRecord::decode(first.format, first.checksum, &first.body)?;
                turn.deliveries.into_iter().next().map(|delivery| delivery.event)
            }
            None => {
                let message = self.store.inbox(row.key).await?.1.into_iter().next();
                message.map(|message| Event::decode(message.format, message.checksum, &message.body)).transpose()?
            }
        };
        Ok(match event {
            Some(Event::Started { args, .. }) => Some(args),
            _ => None,
        })
    }

    pub(super) fn message(&self, new: &New) -> Result<Message> {
        messages::message(&new.started(&self.random), new.created_at, None)
    }

    /// A UUID of version 7: ids that are created in sequence are neighbours in the store's index.
    pub(super) fn new_id(&self) -> String {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(self.clock.now(), &random).into_uuid().to_string()
    }
}
