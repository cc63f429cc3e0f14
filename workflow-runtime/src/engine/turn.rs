//! A run's turn: deliver, poll, commit, act.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::Inner;
use super::active_run::{ActiveRun, Arrival, DriverState, IDLE, What};
use super::attempt::{self, Begin};
use super::end::Finished;
use super::load::{self, Replay, Stuck};
use super::resend::{self, GivenUp, Sent, Taken};
use super::telemetry::Spans;
use super::timers::Deadline;
use super::wait::Done;
use super::{effects, events, eviction, letters};
use crate::definition::adopted;
use crate::error::{Code, Error};
use crate::keys;
use crate::limits::{EVENTS_PER_TURN_MAX, ROW_BYTES_MAX, TURN_RESULTS_BYTES};
use crate::model::Status;
use crate::panics::panic_text;
use crate::replay::{Action, Chunk, Command, Effects, Encoded, End, Event, Heir, Kind, TurnRecord};
use crate::store::{self, JournalRow, Letter, NEVER, RowChange, Settle, Turn, TurnAnswer};

/// Executes turns until the mailbox is empty.
pub(super) async fn drive(engine: Arc<Inner>, live: Arc<ActiveRun>) {
    while let Some((mut driver, arrivals)) = live.take(EVENTS_PER_TURN_MAX) {
        let stays = AssertUnwindSafe(turn(&engine, &live, &mut driver, arrivals)).catch_unwind().await;
        if matches!(stays, Ok(true)) {
            live.put(driver);
        } else {
            let panic = stays.err();
            live.close();
            engine.forget(&live, &driver);
            // Only after `forget`, or a claim would find the run still in memory.
            live.let_go();
            let end = driver.end.take();
            if let Some(panic) = panic {
                // The panicked turn is not committed, and its inbox messages are still stored.
                let text = format!("the run's turn panicked: {}", panic_text(&*panic));
                let error = Error::coded(Code::Panic, text);
                load::park(&engine, live.key, live.generation, live.fence, &live.id, error).await;
            } else if driver.status == Status::Stuck {
                load::end_if_cancelled(&engine, live.key, live.generation, live.fence, &live.id).await;
            }
            drop(driver);
            engine.waiters.wake(&live.id, Done::Left(end.and_then(Finished::of)));
        }
    }
}

/// The content of a turn before its commit.
struct Draft {
    record: TurnRecord,
    /// The sequence of the inbox message behind each recorded event, if there is one.
    letters: Vec<Option<u64>>,
    /// The sequences of the inbox messages that can be deleted.
    delivered: Vec<u64>,
    unread: Vec<u64>,
    returned: Vec<Letter>,
    effects: Effects,
    chunks: Vec<Chunk>,
    settles: Vec<Settle>,
    /// Steps whose next attempt is due: these are not recorded.
    due: Vec<u64>,
    /// The run has waited for so long that it may leave memory.
    idle: bool,
    fault: Option<Error>,
}

/// Executes one turn. Returns whether the run stays in memory.
async fn turn(engine: &Arc<Inner>, live: &Arc<ActiveRun>, driver: &mut DriverState, arrivals: Vec<Arrival>) -> bool {
    let mut draft = deliver(engine, live, driver, arrivals);
    if engine.settings.replay_every_turn && draft.fault.is_none() && !draft.record.deliveries.is_empty() {
        verify(engine, live, &mut draft).await;
    }
    engine.find_children(&mut draft.effects.children).await;
    let (row, effects) = match encode(engine, driver.next_index, &draft) {
        Ok(encoded) => encoded,
        Err(error) => {
            reject(engine, &mut draft, error);
            (None, None)
        }
    };
    if draft.fault.is_some() {
        keep_what_comes_no_more(engine, live, driver, &mut draft);
    }
    let end = draft.record.deliveries.last_mut().and_then(|delivery| delivery.end.take());
    let over = end.is_some() || draft.fault.is_some();
    let change = row_change(engine, driver, &draft, end.as_ref());
    let mut effects = effects;
    engine.notify(&mut effects, change.as_ref().filter(|_| over));
    let notify = effects.as_ref().is_some_and(|effects| effects.notify.is_some());
    let idle = draft.idle && row.is_none() && draft.delivered.is_empty();
    let recorded = row.is_some() || change.is_some();
    if recorded || !draft.delivered.is_empty() || !draft.unread.is_empty() || !draft.settles.is_empty() {
        driver.next_index += u64::from(row.is_some());
        let may_have_news = effects::may_have_news(effects.as_deref());
        let may_be_read = !draft.chunks.is_empty();
        let turn = Turn {
            run: live.key,
            generation: live.generation,
            fence: live.fence,
            row,
            change: change.clone(),
            effects,
            delivered: draft.delivered,
            unread: draft.unread,
            returned: draft.returned,
            chunks: draft.chunks.into_iter().map(|chunk| engine.new_chunk(chunk)).collect(),
            settles: draft.settles,
        };
        let Some(told) = commit(engine, &live.id, turn).await else { return false };
        // Before any waiter is woken: the run's own span is exported after the spans of its parts.
        driver.spans.recorded(&draft.record, end.is_some());
        if may_have_news || told {
            engine.news.posted();
        }
        if notify {
            engine.notices.hint();
        }
        if may_be_read {
            engine.waiters.wake(&live.id, Done::Chunk);
        } else if recorded && engine.waiters.any_tails() {
            engine.waiters.wake(&live.id, Done::Row);
        }
        if let Some(change) = change {
            (driver.status, driver.wake_at) = (change.status, change.wake_at);
        }
        if begins(&draft.record, live.generation) {
            engine.metrics.started(live.definition.source.id);
        }
    }
    if over {
        let status = driver.status;
        engine.metrics.ended(live.definition.source.id, status);
        tracing::debug!(run = %live.id, workflow = live.definition.source.id, %status, "the run has ended its last turn");
        driver.end = end;
        engine.export_end(&live.id, live.generation, status);
        return false;
    }
    if idle && draft.due.is_empty() && !eviction::wakes_soon(engine, driver) && eviction::evict(engine, live).await {
        return false;
    }
    act(engine, live, driver, draft.due);
    eviction::doze(engine, live, driver);
    true
}

/// Whether the run began in this turn, or was reopened after its end.
fn begins(record: &TurnRecord, generation: u64) -> bool {
    record.deliveries.iter().any(|delivery| match delivery.event {
        Event::Started { .. } => generation == 0,
        Event::Reopened { .. } => true,
        _ => false,
    })
}

/// The journal's row, if any event was delivered, and the effects of the turn.
fn encode(
    engine: &Inner,
    index: u64,
    draft: &Draft,
) -> Result<(Option<JournalRow>, Option<Box<store::Effects>>), Error> {
    let recorded = !draft.record.deliveries.is_empty();
    let row = recorded.then(|| journal_row(engine, index, &draft.record)).transpose()?;
    Ok((row, engine.effects(&draft.effects)?))
}

fn deliver(engine: &Inner, live: &ActiveRun, driver: &mut DriverState, arrivals: Vec<Arrival>) -> Draft {
    let span = tracing::debug_span!(parent: &live.span, "turn", index = driver.next_index);
    let _entered = span.enter();
    let mut draft = Draft {
        record: TurnRecord::default(),
        letters: Vec::new(),
        delivered: Vec::new(),
        unread: Vec::new(),
        returned: Vec::new(),
        effects: Effects::default(),
        chunks: Vec::new(),
        settles: Vec::new(),
        due: Vec::new(),
        idle: false,
        fault: None,
    };
    let mut arrivals = arrivals.into_iter();
    let mut bytes = 0;
    while bytes < TURN_RESULTS_BYTES {
        let Some(arrival) = arrivals.next() else { break };
        let (event, letter) = match arrival.what {
            What::Alarm => {
                draft.fault = driver.core.shared().take_fault();
                if draft.fault.is_some() {
                    break;
                }
                continue;
            }
            What::Fault(fault) => {
                draft.fault = Some(fault);
                break;
            }
            What::Letter { sequence, event: Event::WakeUp } => {
                // One event for each sleep: an event ends one operation.
                driver.wake_at = Some(0);
                draft.delivered.push(sequence);
                let at = arrival.at;
                let sleeps = driver.core.shared().sleeps().into_iter();
                let woken: Vec<_> =
                    sleeps.map(|op| Arrival { at, what: What::Woken { op, letter: sequence } }).collect();
                arrivals = woken.into_iter().chain(arrivals).collect::<Vec<_>>().into_iter();
                continue;
            }
            What::Woken { op, letter } => {
                let sleeps = driver.core.shared().with_open(op, |_| ()).is_some();
                (sleeps.then_some(Event::Woken { op }), Some(letter))
            }
            What::Idle => {
                driver.armed.remove(&IDLE);
                draft.idle = true;
                continue;
            }
            What::Letter { sequence, event } => {
                // The message has moved `wake_at` of the stored row forward; this turn corrects it.
                driver.wake_at = Some(0);
                // The message of an attempt that was recorded by its own transaction.
                if let Event::Completed { op, .. } = &event {
                    live.attempt_ended(*op);
                    draft.settles.extend(live.settle(*op, true));
                }
                if let Event::Payload { op, .. } = &event
                    && matches!(driver.core.shared().heir(*op), Some(Heir::Next))
                {
                    draft.unread.push(sequence);
                    driver.surplus.push(Arrival { at: arrival.at, what: What::Letter { sequence, event } });
                    continue;
                }
                let first = driver.next_index == 0 && draft.record.deliveries.is_empty();
                let wanted = events::wanted(driver, first, &event);
                if !wanted
                    && matches!(event, Event::Payload { .. } | Event::Cancel { .. })
                    && driver.core.shared().is_continuing()
                {
                    // The message stays in the inbox, for the next generation.
                    continue;
                }
                // A payload whose hook was dropped stays in the inbox, unread.
                match (wanted, &event) {
                    (false, Event::Payload { op, .. }) => {
                        draft.unread.push(sequence);
                        // A payload that does not fit has closed the token of a hook that takes only one; reopen it.
                        draft.effects.opened.extend(driver.core.shared().opening_once(*op));
                    }
                    _ => draft.delivered.push(sequence),
                }
                (wanted.then(|| events::refused_step(driver, event)), Some(sequence))
            }
            What::Parted { op, parting } => {
                live.attempt_ended(op);
                draft.settles.extend(live.settle(op, false));
                (events::parted(driver, op, parting), None)
            }
            What::Attempt { op, result } => {
                live.attempt_ended(op);
                let event = events::attempt(engine, live, driver, op, result);
                if let Some(Event::Attempt { not_before, .. }) = &event {
                    let delay = not_before.saturating_sub(engine.clock.now());
                    driver.backoffs.insert(op, engine.clock.monotonic().saturating_add(delay));
                }
                draft.settles.extend(live.settle(op, matches!(event, Some(Event::Completed { .. }))));
                (event, None)
            }
            What::Due { op } => {
                driver.armed.remove(&op);
                // A later attempt may have been recorded after this timer was armed.
                let due = driver.core.shared().with_open(op, |kind| match kind {
                    Kind::Timer { .. } => true,
                    Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => false,
                    Kind::Step(request) if request.not_before > arrival.at => false,
                    Kind::Step(_) | Kind::Local(_) => {
                        draft.due.push(op);
                        false
                    }
                });
                (due.unwrap_or(false).then_some(Event::Timer { op }), None)
            }
        };
        let Some(event) = event else { continue };
        bytes += event.bytes();
        match driver.core.deliver(engine.clock.now(), event.clone()) {
            Ok(delivery) => {
                let ended = delivery.end.is_some();
                let goes_on = matches!(delivery.end, Some(End::Continued(_)));
                draft.effects.then(driver.core.shared().take_effects());
                draft.chunks.extend(driver.core.shared().take_chunks());
                for command in &delivery.commands {
                    // A step that can be rolled back continues.
                    if let Command::Cancel { op } = command
                        && driver.core.shared().with_open(*op, |_| ()).is_none()
                    {
                        draft.settles.extend(live.settle(*op, false));
                    }
                }
                if !driver.surplus.is_empty()
                    && delivery.commands.iter().any(|command| matches!(command, Command::Hook { .. }))
                {
                    let surplus = std::mem::take(&mut driver.surplus).into_iter();
                    arrivals = surplus.chain(arrivals).collect::<Vec<_>>().into_iter();
                }
                draft.record.deliveries.push(delivery);
                draft.letters.push(letter);
                if ended {
                    if !goes_on {
                        draft.delivered.extend(arrivals.filter_map(spent));
                    }
                    return draft;
                }
            }
            Err(fault) => {
                give_back(engine, &mut draft, event, letter);
                draft.fault = Some(fault);
                break;
            }
        }
    }
    live.put_back(arrivals.collect());
    draft
}

/// The inbox message of an arrival that an ended run does not need. A payload stays unread, and so does the start of a run
/// that was cancelled before it: a retry begins with that start.
fn spent(arrival: Arrival) -> Option<u64> {
    match arrival.what {
        What::Letter { event: Event::Payload { .. } | Event::Started { .. }, .. } => None,
        What::Letter { sequence, .. } => Some(sequence),
        _ => None,
    }
}

/// Rule 10: keeps undelivered results for the time when the run resumes. Its messages are still in the inbox, and
/// its timers are armed again by the replay.
fn keep_what_comes_no_more(engine: &Inner, live: &ActiveRun, driver: &DriverState, draft: &mut Draft) {
    for arrival in live.close_and_drain() {
        let (op, result) = match arrival.what {
            What::Attempt { op, result } => (op, result),
            What::Parted { op, parting } => {
                draft.settles.extend(live.settle(op, false));
                if let Some(event) = events::parted(driver, op, parting) {
                    give_back(engine, draft, event, None);
                }
                continue;
            }
            _ => continue,
        };
        let event = match result {
            // Also if the panic has dropped the operation: the code that resumes will issue it again.
            Ok(value) => Some(Event::Completed { op, value }),
            failed => events::attempt(engine, live, driver, op, failed),
        };
        draft.settles.extend(live.settle(op, matches!(event, Some(Event::Completed { .. }))));
        if let Some(event) = event {
            give_back(engine, draft, event, None);
        }
    }
}

/// Keeps an event that could not be delivered. A timer event is not kept: its timer becomes due again.
fn give_back(engine: &Inner, draft: &mut Draft, event: Event, letter: Option<u64>) {
    if let Some(letter) = letter {
        draft.delivered.retain(|delivered| *delivered != letter);
    } else if !matches!(event, Event::Timer { .. } | Event::Woken { .. })
        // The key prevents that a turn which is sent again stores the message twice.
        && let dedupe = keys::returned(engine.random.number())
        && let Ok(letter) = letters::letter(&event, engine.clock.now(), letters::for_resending(dedupe))
    {
        draft.returned.push(letter);
    }
}

/// The change of the run's row by the turn, if there is one.
fn row_change(engine: &Inner, driver: &DriverState, draft: &Draft, end: Option<&End>) -> Option<RowChange> {
    if let Some(fault) = &draft.fault {
        tracing::error!(run = %driver.core.shared().run_id(), error = ?fault, "the run is stuck");
        return Some(Stuck::park(fault.clone().run(driver.core.shared().run_id()), engine.build()));
    }
    let first = driver.next_index == 0;
    let change = row_after(driver.core.shared(), end, first);
    let same = !first && end.is_none() && (change.status, change.wake_at) == (driver.status, driver.wake_at);
    (!same).then_some(change)
}

/// The run's row after a turn.
pub(super) fn row_after(run: &crate::replay::Shared, end: Option<&End>, first: bool) -> RowChange {
    // The time of the event, so that a run does not begin before its creation, and does not end before its beginning.
    let now = run.now();
    let (status, wake_at) = match end {
        Some(End::Completed(_)) => (Status::Completed, None),
        Some(End::Failed(_)) => (Status::Failed, None),
        Some(End::Cancelled(_)) => (Status::Cancelled, None),
        Some(End::Continued(_)) => (Status::Running, Some(0)),
        None if run.has_steps() => (Status::Running, run.wake_at().or(Some(NEVER))),
        None => (Status::Suspended, run.wake_at().or(Some(NEVER))),
    };
    RowChange {
        status,
        wake_at,
        started_at: first.then_some(now),
        completed_at: status.is_terminal().then_some(now),
        stuck: None,
    }
}

/// The journal's row of the delivered events.
pub(super) fn journal_row(engine: &Inner, index: u64, record: &TurnRecord) -> Result<JournalRow, Error> {
    let Encoded { format, checksum, body } = record.encode()?;
    if body.len() > ROW_BYTES_MAX {
        return Err(Error::coded(
            Code::Limit,
            "what the workflow asks for after one event is too large to be recorded",
        )
        .expected(format!("at most {ROW_BYTES_MAX} bytes"))
        .found(format!("{} bytes", body.len()))
        .help("start fewer steps at once, or pass them the address of the data instead of the data"));
    }
    Ok(JournalRow { index, turn: engine.random.number(), format, checksum, body: body.into() })
}

/// Commits a turn, however long that takes: sends it again, unchanged, until the store accepts it. `None` if it is not
/// recorded by this engine, else whether other runs may have received inbox messages.
pub(super) async fn commit(engine: &Inner, id: &str, turn: Turn) -> Option<bool> {
    let sent = Sent { run: id, what: "the run's turn", owner: Some(turn.fence.owner) };
    match resend::until_taken(engine, sent, || engine.batcher.turn(&turn)).await {
        Ok(Taken { answer: TurnAnswer::Committed, again }) => Some(again),
        Ok(Taken { answer: TurnAnswer::CommittedAndNotified, .. }) => Some(true),
        Ok(Taken { answer: TurnAnswer::Fenced, .. }) => {
            tracing::warn!(run = id, "the run is another engine's now");
            // Or this engine's, under a later claim.
            engine.activations.miss();
            None
        }
        // The next engine executes the turn again.
        Err(GivenUp::Closed(failed)) => {
            tracing::warn!(run = id, error = ?failed.error, "the run's last turn is not recorded");
            None
        }
        // The next owner finds the run as it was before this turn, or with this turn.
        Err(GivenUp::Lost(failed)) => {
            tracing::warn!(run = id, error = ?failed.error, "the right to execute the run was lost before its turn was recorded");
            None
        }
    }
}

/// Replays the stored run and then this turn; if the replay differs, the turn becomes a fault only.
async fn verify(engine: &Arc<Inner>, live: &ActiveRun, draft: &mut Draft) {
    let mut spans = Spans::default();
    let replayed = match load::replay(engine, live.definition, &live.id, live.key, live.generation, &mut spans).await {
        Ok((mut core, _)) => replay_again(&mut core, &draft.record),
        Err(Replay::Fault(error)) => Err(error),
        Err(Replay::Store(_)) => Ok(()),
    };
    if let Err(fault) = replayed {
        reject(engine, draft, fault);
    }
}

/// Discards the content of the turn and records a fault.
fn reject(engine: &Inner, draft: &mut Draft, fault: Error) {
    // The inbox messages stay in the inbox; all other events are added to it.
    draft.delivered.clear();
    draft.unread.clear();
    draft.effects = Effects::default();
    draft.chunks.clear();
    let letters = std::mem::take(&mut draft.letters);
    for (delivery, letter) in std::mem::take(&mut draft.record.deliveries).into_iter().zip(letters) {
        if letter.is_none() {
            give_back(engine, draft, delivery.event, None);
        }
    }
    draft.fault = Some(fault);
}

/// Replays a turn that is not committed yet.
pub(super) fn replay_again(core: &mut crate::replay::Core, record: &TurnRecord) -> Result<(), Error> {
    tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
        record.deliveries.iter().try_for_each(|delivery| core.replay(delivery.clone()))
    })
    .map_err(|error| {
        error.context("replaying this turn at once did something else, as replay_every_turn() found").help(
            "something differs between two executions of the workflow: the order of a hash map, a clock, a static, a \
             file; move it into a #[step]",
        )
    })
}

/// Performs the actions of the committed turn.
fn act(engine: &Arc<Inner>, live: &Arc<ActiveRun>, driver: &mut DriverState, due: Vec<u64>) {
    let mut actions = driver.core.shared().take_actions();
    // An attempt that became due in the turn that began the rollback has not started: decline it.
    actions.extend(due.into_iter().map(|op| match driver.core.shared().is_last_attempt(op) {
        true => Action::Decline(op),
        false => Action::Dispatch(op),
    }));
    let mut arrivals = Vec::new();
    if let [Action::Dispatch(op)] = actions[..] {
        // The only action: the attempt starts in this task, and often ends in it.
        arrivals.extend(attempt::dispatch(engine, live, driver, op, Begin::Here));
    } else {
        arrivals = perform(engine, live, driver, actions);
    }
    live.post(engine, arrivals);
}

/// Dispatches, arms and aborts. Returns the timers that are due already.
fn perform(engine: &Arc<Inner>, live: &Arc<ActiveRun>, driver: &mut DriverState, actions: Vec<Action>) -> Vec<Arrival> {
    let mut overdue = Vec::new();
    for action in actions {
        match action {
            Action::Dispatch(op) => overdue.extend(attempt::dispatch(engine, live, driver, op, Begin::Elsewhere)),
            Action::Repeat(op) => overdue.extend(attempt::dispatch(engine, live, driver, op, Begin::Again)),
            Action::Arm { op, at } => {
                if driver.core.shared().with_open(op, |_| ()).is_none() {
                    continue;
                }
                if driver.core.shared().is_last_attempt(op) {
                    overdue.extend(given_up(engine, driver, op));
                } else if engine.draining.is_cancelled() {
                    // The next engine arms it.
                } else if at != NEVER {
                    let deadline = deadline(engine, driver, op, at);
                    if engine.clock.has_come(deadline) {
                        overdue.push(Arrival { at, what: What::Due { op } });
                    } else {
                        driver.armed.insert(op, deadline);
                        engine.timers.arm(live, op, deadline, at);
                    }
                }
            }
            Action::GiveUp(op) => {
                let armed = driver.armed.remove(&op);
                if let Some(deadline) = armed {
                    engine.timers.disarm(live.key, op, deadline);
                }
                if armed.is_some() || (driver.core.shared().is_failing() && live.give_up_attempt(op)) {
                    overdue.extend(given_up(engine, driver, op));
                }
            }
            Action::Decline(op) => overdue.extend(given_up(engine, driver, op)),
            Action::Abort(op) => {
                live.abort_attempt(op);
                driver.backoffs.remove(&op);
                if let Some(deadline) = driver.armed.remove(&op) {
                    engine.timers.disarm(live.key, op, deadline);
                }
            }
        }
    }
    overdue
}

/// The deadline of an operation for which `at` is recorded.
fn deadline(engine: &Inner, driver: &mut DriverState, op: u64, at: u64) -> Deadline {
    if let Some(monotonic) = driver.backoffs.remove(&op) {
        return Deadline::Monotonic(monotonic);
    }
    let since = driver.core.shared().with_open(op, |kind| match kind {
        Kind::Timer { since, .. } => *since,
        _ => None,
    });
    // For an operation that was issued before this engine was opened, only the store time is known.
    let called = since.flatten().and_then(|since| Some((since, engine.clock.elapsed_at(since)?)));
    match called {
        // A run whose last event came from a clock that was ahead may have issued it in the future.
        Some((since, elapsed)) => {
            Deadline::Elapsed(elapsed.min(engine.clock.elapsed()).saturating_add(at.saturating_sub(since)))
        }
        None => Deadline::Store(at),
    }
}

/// Fails a step that had no running attempt when the rollback of the run began.
fn given_up(engine: &Inner, driver: &DriverState, op: u64) -> Option<Arrival> {
    let error = Error::coded(Code::Cancelled, "the run is being rolled back; the step is not attempted any more");
    let adopt = driver.core.shared().with_open(op, |kind| match kind {
        Kind::Step(step) => Some(step.definition.adopt),
        _ => None,
    })??;
    let error = error.into_fatal();
    let result = Err(adopted(adopt, error));
    Some(Arrival { at: engine.clock.now(), what: What::Attempt { op, result } })
}

/// Activates a run that was replayed or created: performs `actions`, and delivers overdue timers together
/// with its inbox messages, in their order.
pub(super) fn activate(
    engine: &Arc<Inner>,
    live: &Arc<ActiveRun>,
    mut driver: DriverState,
    actions: Vec<Action>,
    letters: Vec<Arrival>,
) {
    let alarmed = (Arc::downgrade(engine), Arc::downgrade(live));
    driver.core.shared().on_alarm(move || {
        if let (Some(engine), Some(live)) = (alarmed.0.upgrade(), alarmed.1.upgrade()) {
            let at = engine.clock.now();
            live.post(&engine, [Arrival { at, what: What::Alarm }]);
        }
    });
    engine.remember(live);
    engine.news.run_is_here(live.key);
    let alarm = driver.core.shared().has_fault().then(|| Arrival { at: engine.clock.now(), what: What::Alarm });
    let mut arrivals = perform(engine, live, &mut driver, actions);
    eviction::doze(engine, live, &mut driver);
    arrivals.extend(letters);
    // An alarm that was raised before `on_alarm` was set.
    arrivals.extend(alarm);
    live.start(engine, Box::new(driver), arrivals);
    if engine.stopped.is_cancelled() || !engine.holds(live) {
        engine.retire(live);
    }
}
