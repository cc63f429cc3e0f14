//! Converts arrivals at a run to events.

use std::time::Duration;

use super::inner::Inner;
use super::parts::active_run::{ActiveRun, DriverState};
use super::parts::mailbox::EarlyEnd;
use crate::definition::{AttemptFailure, AttemptResult, Policy, adopted};
use crate::error::{Code, Error};
use crate::registry;
use crate::replay::{Event, Heir, Kind, Suspension};

/// Whether the run still waits for the event of a message; `first` if no event was ever delivered to it.
pub(super) fn wanted(driver: &DriverState, first: bool, event: &Event) -> bool {
    match event {
        Event::Started { .. } => first,
        Event::Cancel { .. } => !driver.core.shared().is_unwinding(),
        Event::Conflict { op, .. } => driver.core.shared().with_open(*op, |kind| kind.opens_token()) == Some(true),
        Event::Payload { op, value } => {
            let check = driver.core.shared().with_open(*op, |kind| match kind {
                Kind::Hook(hook) => Some(Ok(hook.check)),
                Kind::Step(step) => step.suspension().map(|suspension| Err(suspension.type_name.clone())),
                _ => None,
            });
            // Outside the run's lock: this calls code of the user's type.
            let fits = check.flatten().map(|check| match check {
                Ok(check) => check(value),
                Err(type_name) => registry::check_payload(&type_name, value),
            });
            let fits = fits.or_else(|| match driver.core.shared().heir(*op)? {
                Heir::Hook(check) => Some(check(value)),
                Heir::Next => None,
            });
            let Some(fits) = fits else { return false };
            if let Err(error) = &fits {
                tracing::warn!(run = %driver.core.shared().run_id(), ?error, "a payload does not fit its hook, and stays unread");
            }
            fits.is_ok()
        }
        other => other.op().is_none_or(|op| driver.core.shared().with_open(op, |_| ()).is_some()),
    }
}

/// Fails a step that cannot suspend, since its label is in use.
pub(super) fn refused_step(driver: &DriverState, event: Event) -> Event {
    let Event::Conflict { op, owner } = &event else { return event };
    let adopt = driver.core.shared().with_open(*op, |kind| match kind {
        Kind::Step(step) => Some((step.definition.adopt, step.suspension()?.label.clone())),
        _ => None,
    });
    let Some((adopt, label)) = adopt.flatten() else { return event };
    let error = Error::coded(Code::HookConflict, format!("another suspension of the run has the label `{label}`"))
        .run(owner)
        .help("give each suspension a label of its own: `suspend(&payload).label(..)`");
    Event::Failed { op: *op, error: adopted(adopt, error.into_fatal()).error }
}

/// The event for an attempt that has ended by a request. `None` if the run has dropped the step.
pub(super) fn early_end(driver: &DriverState, op: u64, end: EarlyEnd) -> Option<Event> {
    let run = driver.core.shared();
    let adopt = run.with_open(op, |kind| match kind {
        Kind::Step(step) => Some(step.definition.adopt),
        _ => None,
    })?;
    // A step cannot end a run that is being rolled back. A step that was running when that began is not attempted again, so
    // it cannot suspend either.
    let is_refused = match &end {
        EarlyEnd::Finished(_) => run.is_unwinding(),
        EarlyEnd::Suspended(_) => run.is_last_attempt(op),
    };
    if let (true, Some(adopt)) = (is_refused, adopt) {
        let error =
            Error::coded(Code::Cancelled, "the run is being rolled back: its steps can neither end it nor suspend it");
        return Some(Event::Failed { op, error: adopted(adopt, error.into_fatal()).error });
    }
    Some(ended_early(op, end))
}

/// The event for an attempt that has ended by a request, if the step may request it.
pub(super) fn ended_early(op: u64, end: EarlyEnd) -> Event {
    match end {
        EarlyEnd::Suspended(Suspension { label, payload, type_name }) => {
            Event::Suspended { op, label, payload, type_name: (*type_name).into() }
        }
        EarlyEnd::Finished(value) => Event::Finished { op, value },
    }
}

/// The event for the end of an attempt. `None` if the run has dropped the step.
pub(super) fn attempt(
    engine: &Inner,
    live: &ActiveRun,
    driver: &DriverState,
    op: u64,
    result: AttemptResult,
) -> Option<Event> {
    let (attempt, counted, policy, step) = driver.core.shared().with_open(op, |kind| match kind.step() {
        Some(request) => {
            let (counted, policy) = (request.counted(), Some(request.policy.clone()));
            (request.attempt, counted, policy, request.definition.source.id)
        }
        None => (1, 1, None, crate::replay::NONDETERMINISTIC),
    })?;
    let failure = match result {
        Ok(value) => return Some(Event::Completed { op, value }),
        Err(failure) => failure,
    };
    let last = failure.fatal || driver.core.shared().is_last_attempt(op);
    let retry = policy.filter(|policy| !last && counted <= policy.retries);
    let Some(policy) = retry else {
        tracing::debug!(run = %live.id, step, attempt, error = ?failure.error, "the step failed");
        return Some(Event::Failed { op, error: failure.error });
    };
    let delay = retry_delay(engine, &policy, counted, &failure);
    tracing::warn!(run = %live.id, step, attempt, ?delay, error = ?failure.error, "an attempt failed and is repeated");
    let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let not_before = engine.clock.now().saturating_add(milliseconds).clamp(1, crate::store::NEVER);
    let attempts_max = Some(attempt.saturating_add(policy.retries - counted).saturating_add(1));
    Some(Event::Attempt { op, attempt, error: failure.error, not_before, attempts_max })
}

/// Exponential backoff with full jitter: uniform in 0 to min(max, min * 2^n), as in Marc Brooker's "Exponential Backoff
/// And Jitter" (AWS Architecture Blog, 2015).
fn retry_delay(engine: &Inner, policy: &Policy, counted: u32, failure: &AttemptFailure) -> Duration {
    if let Some(delay) = failure.retry_after {
        return delay;
    }
    let doubled = 2u32.saturating_pow(counted.saturating_sub(1));
    let bound = policy.backoff_min.saturating_mul(doubled).min(policy.backoff_max);
    let fraction = (engine.random.number() as u32) as f64 / f64::from(u32::MAX);
    bound.mul_f64(fraction)
}
