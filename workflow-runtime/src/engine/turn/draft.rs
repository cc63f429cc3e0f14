//! The content of a turn before its commit: arrivals are delivered to the run, or kept for later.

use std::collections::VecDeque;

use super::super::inner::Inner;
use super::super::parts::active_run::{ActiveRun, DriverState, IDLE};
use super::super::parts::mailbox::{Arrival, What};
use super::super::{events, messages};
use crate::error::Error;
use crate::keys;
use crate::limits::TURN_RESULTS_BYTES;
use crate::replay::{Begins, Chunk, Command, Effects, End, Event, Kind, TurnRecord};
use crate::store::{Message, Settle};

/// The content of a turn before its commit.
pub(super) struct Draft {
    pub record: TurnRecord,
    /// The numbers of the recorded events that came from inbox messages.
    pub from_inbox: Vec<usize>,
    /// The sequences of the inbox messages that can be deleted.
    pub delivered: Vec<u64>,
    pub unread: Vec<u64>,
    pub returned: Vec<Message>,
    pub effects: Effects,
    pub chunks: Vec<Chunk>,
    pub settles: Vec<Settle>,
    /// Steps whose next attempt is due: these are not recorded.
    pub due: Vec<u64>,
    /// The run has waited for so long that it may leave memory.
    pub idle: bool,
    pub fault: Option<Error>,
}

pub(super) fn deliver(
    engine: &Inner,
    live: &ActiveRun,
    driver: &mut DriverState,
    mut arrivals: VecDeque<Arrival>,
) -> Draft {
    let span = tracing::debug_span!(parent: &live.span, "turn", index = driver.next_index);
    let _entered = span.enter();
    let mut draft = Draft {
        record: TurnRecord::default(),
        from_inbox: Vec::new(),
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
    let mut bytes = 0;
    while bytes < TURN_RESULTS_BYTES {
        let Some(arrival) = arrivals.pop_front() else { break };
        let (event, message) = match arrival.what {
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
            What::Message { sequence, event: Event::WakeUp } => {
                end_backoffs(engine, live, driver, &mut draft);
                // One event for each sleep: an event ends one operation.
                driver.wake_at = Some(0);
                draft.delivered.push(sequence);
                let at = arrival.at;
                let sleeps = driver.core.shared().sleeps().into_iter();
                let mut woken: VecDeque<_> =
                    sleeps.map(|op| Arrival { at, what: What::Woken { op, message: sequence } }).collect();
                woken.append(&mut arrivals);
                arrivals = woken;
                continue;
            }
            What::Woken { op, message } => {
                let sleeps = driver.core.shared().with_open(op, |_| ()).is_some();
                (sleeps.then_some(Event::Woken { op }), Some(message))
            }
            What::Idle => {
                driver.armed.remove(&IDLE);
                draft.idle = true;
                continue;
            }
            What::Message { sequence, event } => {
                // The message has moved `wake_at` of the stored row forward; this turn corrects it.
                driver.wake_at = Some(0);
                // The message of an attempt that was recorded by its own transaction.
                if let Event::Completed { op, .. } = &event {
                    live.attempt_ended(*op);
                    draft.settles.extend(live.settle(*op, true));
                }
                if let Event::Payload { op, .. } = &event
                    && driver.core.shared().has_to_wait(*op)
                {
                    draft.unread.push(sequence);
                    driver.core.shared().put_aside(*op);
                    driver.surplus.push(Arrival { at: arrival.at, what: What::Message { sequence, event } });
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
            What::EndedEarly { op, end } => {
                live.attempt_ended(op);
                draft.settles.extend(live.settle(op, false));
                (events::early_end(driver, op, end), None)
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
                let due = driver.core.shared().with_open(op, |kind| match kind.begins() {
                    Begins::At(_) => true,
                    Begins::Request => false,
                    Begins::Attempt => {
                        if kind.step().is_none_or(|request| request.not_before <= arrival.at) {
                            draft.due.push(op);
                        }
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
                if !driver.surplus.is_empty() && driver.core.shared().take_back() {
                    let mut surplus = VecDeque::from(std::mem::take(&mut driver.surplus));
                    surplus.append(&mut arrivals);
                    arrivals = surplus;
                }
                let deliveries = &mut draft.record.deliveries;
                // Usually there is only one.
                deliveries.reserve_exact(if deliveries.is_empty() { arrivals.len() + 1 } else { 0 });
                draft.from_inbox.extend(message.map(|_| deliveries.len()));
                deliveries.push(delivery);
                if ended {
                    if !goes_on {
                        draft.delivered.extend(arrivals.into_iter().filter_map(spent));
                    }
                    return draft;
                }
            }
            Err(fault) => {
                give_back(engine, &mut draft, event, message);
                draft.fault = Some(fault);
                break;
            }
        }
    }
    live.put_back(arrivals);
    draft
}

/// Makes the attempts due that wait for their backoff. After a crash before their end they wait for it again: the earliest
/// time of an attempt is recorded, and that it was moved forward is not.
fn end_backoffs(engine: &Inner, live: &ActiveRun, driver: &mut DriverState, draft: &mut Draft) {
    let (shared, armed) = (driver.core.shared(), &mut driver.armed);
    armed.retain(|op, deadline| {
        let is_step = shared.with_open(*op, |kind| matches!(kind, Kind::Step(_))) == Some(true);
        // One that has just come has an arrival of its own.
        let ends = is_step && engine.timers.disarm(live, *op, *deadline);
        draft.due.extend(ends.then_some(*op));
        !ends
    });
}

/// The inbox message of an arrival that an ended run does not need. A payload stays unread, and so does the start of a run
/// that was cancelled before it: a retry begins with that start.
fn spent(arrival: Arrival) -> Option<u64> {
    match arrival.what {
        What::Message { event: Event::Payload { .. } | Event::Started { .. }, .. } => None,
        What::Message { sequence, .. } => Some(sequence),
        _ => None,
    }
}

/// Rule 10: keeps undelivered results for the time when the run resumes. Its messages are still in the inbox, and
/// its timers are armed again by the replay.
pub(super) fn keep_undelivered(engine: &Inner, live: &ActiveRun, driver: &DriverState, draft: &mut Draft) {
    for arrival in live.close_and_drain() {
        // Also if the panic has dropped the operation: the code that resumes will issue it again.
        let (op, event) = match arrival.what {
            What::Attempt { op, result: Ok(value) } => (op, Some(Event::Completed { op, value })),
            What::Attempt { op, result } => (op, events::attempt(engine, live, driver, op, result)),
            What::EndedEarly { op, end } if driver.core.shared().with_open(op, |_| ()).is_none() => {
                (op, Some(events::ended_early(op, end)))
            }
            What::EndedEarly { op, end } => (op, events::early_end(driver, op, end)),
            _ => continue,
        };
        draft.settles.extend(live.settle(op, matches!(event, Some(Event::Completed { .. }))));
        if let Some(event) = event {
            give_back(engine, draft, event, None);
        }
    }
}

/// Keeps an event that could not be delivered. A timer event is not kept: its timer becomes due again.
fn give_back(engine: &Inner, draft: &mut Draft, event: Event, message: Option<u64>) {
    if let Some(message) = message {
        draft.delivered.retain(|delivered| *delivered != message);
    } else if !matches!(event, Event::Timer { .. } | Event::Woken { .. })
        // The key prevents that a turn which is sent again stores the message twice.
        && let dedupe = keys::returned(engine.random.number())
        && let Ok(message) = messages::message(&event, engine.clock.now(), messages::for_resending(dedupe))
    {
        draft.returned.push(message);
    }
}

/// Discards the content of the turn and records a fault.
pub(super) fn reject(engine: &Inner, draft: &mut Draft, fault: Error) {
    // The inbox messages stay in the inbox; all other events are added to it.
    draft.delivered.clear();
    draft.unread.clear();
    draft.effects = Effects::default();
    draft.chunks.clear();
    let from_inbox = std::mem::take(&mut draft.from_inbox);
    for (number, delivery) in std::mem::take(&mut draft.record.deliveries).into_iter().enumerate() {
        if from_inbox.binary_search(&number).is_err() {
            give_back(engine, draft, delivery.event, None);
        }
    }
    draft.fault = Some(fault);
}
