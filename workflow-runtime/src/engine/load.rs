//! Activates a claimed run: replays its journal, or parks it as stuck.

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use super::Inner;
use super::active_run::{ActiveRun, Claimed, DriverState, run_span};
use super::mailbox::{Arrival, InboxRead, What};
use super::pages::Pages;
use super::queues::Slot;
use super::resend::{self, GivenUp, Sender as _, Sent, Taken};
use super::telemetry::Spans;
use super::wait::Done;
use super::{effects, messages, row_error, turn};
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::limits::{EXPLAINED_RECORDED_MAX, JOURNAL_FIRST_PAGE_ROWS};
use crate::model::{Status, Waiting};
use crate::panics::panic_text;
use crate::registry::registry;
use crate::replay::{
    Action, Command, Core, Delivery, End, Event, Identity, Outstanding, TurnRecord, outstanding, owes_rollback,
};
use crate::store::{
    About, Effects, Fence, InboxRow, JournalRow, Release, ReleaseAnswer, RowChange, RunKey, RunRow, Turn,
};

/// Why a run is stuck, as it is stored in its row.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stuck {
    pub error: Error,
}

impl Stuck {
    /// The change of the row that parks a run.
    pub fn park(error: Error) -> RowChange {
        let stuck = Stuck { error };
        // A struct of texts always encodes; if it did not, the status would still say that the run is stuck.
        let stuck = serde_json::to_string(&stuck).unwrap_or_default();
        RowChange {
            status: Status::Stuck,
            wake_at: None,
            started_at: None,
            completed_at: None,
            stuck: Some(stuck.into()),
            error: None,
            refused_by: None,
        }
    }

    /// The reason that a stuck run's row gives.
    pub fn reason(row: &RunRow) -> Waiting {
        let error = Stuck::cause(row);
        let details = format!("{:?}", Stuck::error(row));
        Waiting::Stuck { code: error.code().as_str().to_owned(), error: error.to_string(), details }
    }

    /// The error in a stuck run's row.
    pub fn error(row: &RunRow) -> Error {
        Stuck::cause(row).context("the run is stuck").with_code(Code::Stuck).run(&row.id)
    }

    fn cause(row: &RunRow) -> Error {
        let stuck = row.stuck.as_deref().and_then(|stuck| serde_json::from_str::<Stuck>(stuck).ok());
        stuck.map_or_else(|| Error::coded(Code::Stuck, "the reason is not readable"), |stuck| stuck.error)
    }
}

/// Loads a run that this engine has claimed.
pub(super) async fn load(engine: Arc<Inner>, row: RunRow, slot: Option<Slot>) {
    let (key, generation, fence, id) = (row.key, row.generation, row.fence, row.id.clone());
    if let Err(panic) = AssertUnwindSafe(try_to_load(engine.clone(), row, slot)).catch_unwind().await {
        let text = format!("the run's replay panicked: {}", panic_text(&*panic));
        park(&engine, key, generation, fence, &id, Error::coded(Code::Panic, text)).await;
    }
}

async fn try_to_load(engine: Arc<Inner>, row: RunRow, slot: Option<Slot>) {
    let definition = match registry().workflow(&row.workflow) {
        Ok(definition) => definition,
        Err(error) => return park(&engine, row.key, row.generation, row.fence, &row.id, error).await,
    };
    if row.recoveries > engine.settings.recoveries_max {
        let error = too_many_recoveries(&engine, &row).await;
        return park(&engine, row.key, row.generation, row.fence, &row.id, error).await;
    }
    // Spans that the dead process had exported may have been lost with it.
    let mut spans = engine.settings.telemetry.spans(&row.id, row.generation, row.recoveries > 0);
    let replayed = match replay(&engine, definition, &row.id, row.key, row.generation, &mut spans).await {
        Ok(replayed) => replayed,
        Err(Replay::Fault(error)) => return park(&engine, row.key, row.generation, row.fence, &row.id, error).await,
        Err(Replay::Store(error)) if error.code() == Code::Damaged => {
            return park(&engine, row.key, row.generation, row.fence, &row.id, error).await;
        }
        Err(Replay::Store(error)) => return give_back(&engine, &row, error).await,
    };
    let (core, next_index) = replayed;
    if core.has_ended() {
        return;
    }
    let (inbox_seq, messages) = match engine.store.inbox(row.key).await {
        Ok(inbox) => inbox,
        Err(error) if error.code() == Code::Damaged => {
            return park(&engine, row.key, row.generation, row.fence, &row.id, error).await;
        }
        Err(error) => return give_back(&engine, &row, error).await,
    };
    // Unread messages count as read, too.
    let last = messages.last().map_or(0, |message| message.sequence);
    let messages = messages.into_iter().filter(|message| !message.unread || is_surplus(&core, message));
    let mut messages = match messages.map(|message| messages::open(message, row.generation)).collect::<Result<Vec<_>>>()
    {
        Ok(messages) => messages,
        Err(error) => return park(&engine, row.key, row.generation, row.fence, &row.id, error).await,
    };
    let mut inbox = InboxRead { inbox_seq, ..InboxRead::default() };
    inbox.read(&mut messages);
    inbox.sequence = last;
    let messages: Vec<Arrival> = messages.into_iter().map(cancel_first).collect();
    // A run that was cancelled before it was started has no start.
    let starts = |message: &Arrival| {
        matches!(message.what, What::Message { event: Event::Started { .. } | Event::Cancel { .. }, .. })
    };
    if next_index == 0 && !messages.iter().any(starts) {
        let error = Error::coded(Code::Damaged, "the run's journal is missing, and no start is in its inbox")
            .help("restore the database from a backup");
        return park(&engine, row.key, row.generation, row.fence, &row.id, error).await;
    }
    let mut driver = DriverState::new(core, next_index, row.status, row.wake_at, spans);
    driver.error.clone_from(&row.error);
    driver.is_refused = row.refused_by.is_some();
    driver.slot = slot.map(Arc::new);
    install(&engine, &row, definition, driver, inbox, messages);
}

/// Whether an unread message waits for the next hook with its token.
fn is_surplus(core: &Core, message: &InboxRow) -> bool {
    match message.about {
        Some(About::Operation(op)) if message.generation == core.shared().identity().generation => {
            core.shared().heir(op).is_some()
        }
        _ => false,
    }
}

/// Moves a cancel before the event at which the run may have got stuck and would again, even before its start.
fn cancel_first(message: Arrival) -> Arrival {
    match message.what {
        What::Message { event: Event::Cancel { .. }, .. } => Arrival { at: 0, ..message },
        _ => message,
    }
}

fn install(
    engine: &Arc<Inner>,
    row: &RunRow,
    definition: &'static WorkflowDefinition,
    driver: DriverState,
    inbox: InboxRead,
    messages: Vec<Arrival>,
) {
    // An operation whose result is in the inbox is not executed again.
    let is_cancelled =
        messages.iter().any(|message| matches!(message.what, What::Message { event: Event::Cancel { .. }, .. }));
    // A run that is being rolled back ignores the cancel.
    let is_cancelled = is_cancelled && !driver.core.shared().is_unwinding();
    let answered: HashSet<u64> = messages.iter().filter_map(|message| answers(&message.what)).collect();
    let run = driver.core.shared();
    let actions: Vec<Action> = run
        .resume_actions(engine.clock.now())
        .into_iter()
        // If a cancel of the run is in the inbox, only operations that may have to be rolled back are executed.
        .filter(|action| match action {
            Action::Dispatch(op) | Action::Repeat(op) | Action::Arm { op, .. } => {
                !is_cancelled || run.can_be_undone(*op)
            }
            Action::Abort(_) | Action::GiveUp(_) | Action::Decline(_) => true,
        })
        .filter(|action| match action {
            Action::Dispatch(op) | Action::Repeat(op) | Action::Arm { op, .. } => !answered.contains(op),
            Action::Abort(_) | Action::GiveUp(_) | Action::Decline(_) => true,
        })
        .collect();
    let span = run_span(&row.id, definition);
    let claim = Claimed { key: row.key, generation: row.generation, fence: row.fence };
    let live = ActiveRun::new(engine, claim, row.id.clone(), definition, span, inbox);
    turn::activate(engine, &live, driver, actions, messages);
}

fn answers(what: &What) -> Option<u64> {
    match what {
        // The step continues elsewhere, or has yet to receive what it waits for.
        What::Message { event: Event::Payload { .. } | Event::Conflict { .. }, .. } => None,
        What::Message { event, .. } => event.op(),
        _ => None,
    }
}

/// Why a replay failed.
pub(super) enum Replay {
    /// The journal could not be read this time.
    Store(Error),
    /// The run cannot continue with this build.
    Fault(Error),
}

/// Replays a journal, and updates the spans. Returns the core and the index of the next row.
pub(super) async fn replay(
    engine: &Inner,
    definition: &'static WorkflowDefinition,
    id: &Arc<str>,
    key: RunKey,
    generation: u64,
    spans: &mut Spans,
) -> Result<(Core, u64), Replay> {
    let identity = Identity { run: id.clone(), workflow: definition.source.id, generation };
    let mut core = Core::new(definition, identity, engine.host.clone());
    let (mut next, mut pages) = (0, Pages::of(key, generation));
    let mut page = pages.next(&*engine.store).await.map_err(Replay::Store)?;
    while let Some(rows) = page {
        // The next page is read while this one is replayed.
        let following = (!pages.have_ended()).then(|| {
            let (store, mut pages) = (engine.store.clone(), pages.clone());
            let read = async move { (pages.next(&*store).await, pages) };
            AbortOnDropHandle::new(engine.runtime.spawn(read))
        });
        for (part, rows) in rows.chunks(JOURNAL_FIRST_PAGE_ROWS).enumerate() {
            // A long journal must not block other tasks of the thread.
            if part > 0 {
                tokio::task::yield_now().await;
            }
            // The logs of the workflow are suppressed: they were written when it was first executed.
            tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
                for (at, row) in rows.iter().enumerate() {
                    let following = &rows[at + 1..];
                    replay_row(&mut core, spans, next, row, following).map_err(|error| Replay::Fault(error.run(id)))?;
                    next += 1;
                }
                Ok(())
            })?;
        }
        let Some(following) = following else { break };
        (page, pages) = match following.await {
            Ok((page, pages)) => (page.map_err(Replay::Store)?, pages),
            Err(error) => return Err(Replay::Store(error.into())),
        };
    }
    Ok((core, next))
}

fn replay_row(
    core: &mut Core,
    spans: &mut Spans,
    expected: u64,
    row: &JournalRow,
    following: &[JournalRow],
) -> Result<()> {
    let index = row.index;
    if index != expected {
        return Err(Error::coded(Code::Damaged, "a row of the run's journal is missing")
            .expected(format!("row {expected}"))
            .found(format!("row {index}"))
            .help("restore the database from a backup"));
    }
    let turn = TurnRecord::decode(row.format, row.checksum, &row.body)
        .map_err(|error| error.context(format!("row {index} of the run's journal cannot be read")))?;
    let mut deliveries = turn.deliveries.into_iter().enumerate();
    while let Some((event, delivery)) = deliveries.next() {
        spans.replayed(&delivery);
        core.replay(delivery, || commands(deliveries.by_ref().map(|(_, delivery)| delivery), following))
            .map_err(|error| error.because(format!("at event {event} of row {index} of its journal")))?;
    }
    Ok(())
}

/// The first commands of these deliveries and of the rows that follow them.
fn commands(deliveries: impl Iterator<Item = Delivery>, following: &[JournalRow]) -> Vec<Command> {
    let rows = following.iter().map_while(|row| TurnRecord::decode(row.format, row.checksum, &row.body).ok());
    let deliveries = deliveries.chain(rows.flat_map(|turn| turn.deliveries));
    deliveries.flat_map(|delivery| delivery.commands).take(EXPLAINED_RECORDED_MAX).collect()
}

async fn too_many_recoveries(engine: &Inner, row: &RunRow) -> Error {
    let (open, _) = open_operations(engine, row.key, row.generation).await.unwrap_or_default();
    let open: Vec<String> = open.iter().take(10).map(|(op, open)| format!("operation {op}: {}", open.what)).collect();
    Error::coded(Code::Recoveries, "its process died again and again while the run was in it")
        .run(&row.id)
        .expected(format!("a commit of the run after at most {} recoveries", engine.settings.recoveries_max))
        .found(format!("{} recoveries without one; outstanding: {}", row.recoveries, open.join(", ")))
        .help("find out whether one of these steps kills the process (memory, stack, abort); the run continues with another build, or with a larger Engine::builder().recoveries(..)")
}

/// Releases the run to the store, to be claimed again.
async fn give_back(engine: &Inner, row: &RunRow, error: Error) {
    tracing::warn!(run = %row.id, ?error, "the run's journal could not be read; it is given back");
    let mut inbox_seq = row.inbox_seq;
    while !engine.draining.is_cancelled() && engine.is_owner(row.fence.owner) && engine.before_next_attempt().await {
        let sent = Sent { run: &row.id, what: "the release of the run", owner: Some(row.fence.owner) };
        let release = || engine.batcher.send(Release { run: row.key, fence: row.fence, inbox_seq });
        match resend::until_taken(engine, sent, release).await {
            Ok(Taken { answer: ReleaseAnswer::Unread, .. }) => {
                if let Ok(Some(row)) = engine.store.run(&row.id).await {
                    inbox_seq = row.inbox_seq;
                }
            }
            Ok(Taken { answer: ReleaseAnswer::Committed | ReleaseAnswer::Fenced, .. }) => {
                return engine.activations.miss();
            }
            // The next owner activates it.
            Err(GivenUp::Closed(failed) | GivenUp::Lost(failed)) => {
                return tracing::warn!(run = %row.id, error = ?failed.error, "the run was not given back");
            }
        }
    }
}

/// Gives up a run that is not in memory and that this build cannot continue, or ends it if it was cancelled.
pub(super) async fn park(engine: &Arc<Inner>, run: RunKey, generation: u64, fence: Fence, id: &Arc<str>, error: Error) {
    if end_if_cancelled(engine, run, generation, fence, id).await {
        return;
    }
    let change = engine.refuse(id, error, false).await;
    let refused = Last { row: None, change, effects: None, delivered: Vec::new() };
    end(engine, id, refused.turn(run, generation, fence)).await;
    end_if_cancelled(engine, run, generation, fence, id).await;
}

/// Ends a run that cannot continue if it was cancelled, and returns whether it was. Also called after the run was parked:
/// a cancel that arrived just before that made no run due.
pub(super) async fn end_if_cancelled(
    engine: &Arc<Inner>,
    run: RunKey,
    generation: u64,
    fence: Fence,
    id: &Arc<str>,
) -> bool {
    match cancelled(engine, run, generation).await {
        Ok(Some(last)) => {
            end(engine, id, last.turn(run, generation, fence)).await;
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(run = %id, ?error, "it could not be looked up whether the run is cancelled");
            false
        }
    }
}

/// Commits the turn after which a run that is not in memory is refused or has ended.
async fn end(engine: &Arc<Inner>, id: &Arc<str>, turn: Turn) {
    let mut turn = turn;
    let generation = turn.generation;
    engine.notify(&mut turn.effects, turn.change.as_ref());
    let may_have_news = effects::may_have_news(turn.effects.as_deref());
    let status = turn.change.as_ref().map(|change| change.status);
    let committed = turn::commit(engine, id, turn).await;
    if committed.is_some_and(|notified| notified || may_have_news) {
        engine.news.sent();
    }
    if let Some(status) = status.filter(|_| committed.is_some()) {
        engine.export_end(id, generation, status);
        engine.count_end(id, status).await;
    }
    engine.waiters.wake(id, Done::Left(None));
    engine.notices.hint();
}

/// The last turn of a run that is not in memory.
struct Last {
    row: Option<JournalRow>,
    change: RowChange,
    effects: Option<Box<Effects>>,
    delivered: Vec<u64>,
}

impl Last {
    fn turn(self, run: RunKey, generation: u64, fence: Fence) -> Turn {
        let Last { row, change, effects, delivered } = self;
        Turn {
            run,
            generation,
            fence,
            row,
            change: Some(change),
            effects,
            delivered,
            unread: Vec::new(),
            returned: Vec::new(),
            chunks: Vec::new(),
            settles: Vec::new(),
        }
    }
}

/// Reads the journal without running the workflow: the open operations, and the steps that may have to be rolled back.
async fn open_operations(
    engine: &Inner,
    run: RunKey,
    generation: u64,
) -> Result<(BTreeMap<u64, Outstanding>, BTreeMap<u64, bool>)> {
    let (mut open, mut owed) = (BTreeMap::new(), BTreeMap::new());
    let mut pages = Pages::of(run, generation);
    while let Some(rows) = pages.next(&*engine.store).await? {
        for row in &rows {
            match TurnRecord::decode(row.format, row.checksum, &row.body) {
                Ok(turn) => {
                    outstanding(&mut open, &turn);
                    owes_rollback(&mut owed, &turn);
                }
                // Another build can read the row, and may have to roll back its steps.
                Err(error) if error.code() == Code::NewerFormat => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok((open, owed))
}

/// The last turn of a run that cannot be replayed, if the run was cancelled.
async fn cancelled(engine: &Inner, run: RunKey, generation: u64) -> Result<Option<Last>> {
    let (_, messages) = engine.store.inbox(run).await?;
    let (mut cancel, mut reopened) = (None, None);
    for message in messages.into_iter().filter_map(|message| messages::open(message, generation).ok()) {
        match message.what {
            What::Message { sequence, event: Event::Cancel { reason } } if cancel.is_none() => {
                cancel = Some((message.at, sequence, reason));
            }
            What::Message { event: Event::Reopened { reopening, .. }, .. } => reopened = Some(reopening),
            _ => {}
        }
    }
    let Some((at, sequence, reason)) = cancel else { return Ok(None) };
    let index = engine.store.last(run, generation).await?.map_or(0, |last| last.index + 1);
    let (open, mut owed) = open_operations(engine, run, generation).await?;
    if let Some(reopening) = reopened {
        reopening.disarm(&mut owed);
    }
    if !owed.is_empty() {
        // Ending the run would skip its rollbacks: it waits for a build that can execute them.
        return Ok(None);
    }
    let now = engine.clock.now();
    let children = open.into_values().filter_map(|open| open.child);
    let messages = children.map(|child| engine.cancel_message(&child, now)).collect::<Result<Vec<_>>>()?;
    let effects = (!messages.is_empty()).then(|| Box::new(Effects { messages, ..Effects::default() }));
    let end = End::Cancelled(reason.clone());
    let error = row_error::of_end(&end);
    let end = Some(end);
    let delivery =
        Delivery { at, event: Event::Cancel { reason }, commands: Vec::new(), unwinds: None, undoes: Vec::new(), end };
    let row = turn::journal_row(engine, index, &TurnRecord { deliveries: vec![delivery] })?;
    let change = RowChange {
        status: Status::Cancelled,
        wake_at: None,
        started_at: None,
        completed_at: Some(now),
        stuck: None,
        error,
        refused_by: None,
    };
    Ok(Some(Last { row: Some(row), change, effects, delivered: vec![sequence] }))
}
