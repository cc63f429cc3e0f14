//! Activates a claimed run: replays its journal, or parks it as stuck.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::inner::Inner;
use super::park::{open_operations, park};
use super::parts::active_run::{ActiveRun, Claimed, DriverState, run_span};
use super::parts::mailbox::{Arrival, InboxRead, What};
use super::parts::pages::Pages;
use super::parts::queues::Slot;
use super::parts::resend::{self, GivenUp, Sender as _, Sent, Taken};
use super::replay_journal::{Replay, replay};
use super::{messages, turn};
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::panics::panic_text;
use crate::registry::registry;
use crate::replay::{Action, Actions, Core, Event};
use crate::store::{About, InboxRow, Release, ReleaseAnswer, RunRow};

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
    let replayed = match replay(
        &engine,
        definition,
        &row.id,
        row.generation,
        Pages::of(row.key, row.generation),
        &mut spans,
    )
    .await
    {
        Ok(replayed) => replayed,
        Err(Replay::Fault(error)) => {
            return park(&engine, row.key, row.generation, row.fence, &row.id, error).await;
        }
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
    core.shared().prune_replayed(&messages.iter().filter_map(|message| about(&core, message)).collect());
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

/// The operation of this generation that a message is about.
fn about(core: &Core, message: &InboxRow) -> Option<u64> {
    match message.about {
        Some(About::Operation(op)) if message.generation == core.shared().identity().generation => Some(op),
        _ => None,
    }
}

/// Whether an unread message may wait for a hook with its token.
fn is_surplus(core: &Core, message: &InboxRow) -> bool {
    about(core, message).is_some_and(|op| core.shared().may_wait(op))
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
    let actions: Actions = run
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
    let live = ActiveRun::new(claim, row.id.clone(), definition, span, inbox);
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

async fn too_many_recoveries(engine: &Inner, row: &RunRow) -> Error {
    let (open, _) = open_operations(engine, row.key, row.generation).await.unwrap_or_default();
    let open: Vec<String> = open.iter().take(10).map(|(op, open)| format!("operation {op}: {}", open.what)).collect();
    Error::coded(Code::Recoveries, "the process died repeatedly while it executed the run")
        .run(&row.id)
        .expected(format!("a commit of the run after at most {} recoveries", engine.settings.recoveries_max))
        .found(format!("{} recoveries without one; outstanding: {}", row.recoveries, open.join(", ")))
        .help("find out whether one of these steps kills the process (memory, stack, abort); the run continues with another build, or with a larger Engine::builder().recoveries(..)")
}

/// Releases the run to the store, to be claimed again.
async fn give_back(engine: &Inner, row: &RunRow, error: Error) {
    tracing::warn!(run = %row.id, ?error, "could not read the journal of the run; the engine releases the run");
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
