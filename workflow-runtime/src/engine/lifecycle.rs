//! Callbacks: user functions that are called when a run has ended, or is stuck.
//!
//! A notice is recorded with the run's end and removed when all its callbacks have returned: so they are called at least
//! once, even if the process dies in between. An engine claims a notice before it calls them, so that only one of several
//! engines does, and calls all of its callbacks again if one has failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::inner::Inner;
use super::parts::callbacks::call_each;
use super::parts::resend::{self, GivenUp, Sent};
use crate::error::Result;
use crate::failpoint::hit;
use crate::limits::{NOTICE_RETRY, NOTICES_CONCURRENT, NOTICES_INTERVAL, TURN_RETRY_INTERVAL};
use crate::model::{RunInfo, Status};
use crate::registry::queue;
use crate::store::{ClaimNotices, ClaimNoticesAnswer, Effects, Notice, Noticed, Request, ReturnNotice, RowChange};

/// How long after its release a notice is looked for.
const RETRY_MARGIN: Duration = Duration::from_millis(5);

/// The delay before the next call for a notice that was claimed `tries` times.
fn retry_delay(tries: u32) -> Duration {
    let (first, longest) = NOTICE_RETRY;
    first.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1))).min(longest)
}

impl Inner {
    /// Adds a notice to the effects of the change, if there are callbacks for its status.
    pub(super) fn notify(&self, effects: &mut Option<Box<Effects>>, change: Option<&RowChange>) {
        if let Some(RowChange { status, .. }) = change
            && self.settings.callbacks.of(*status).next().is_some()
        {
            effects.get_or_insert_default().notify = Some((*status, self.clock.now()));
        }
    }

    /// Calls all callbacks for a notice, one after the other.
    async fn call(&self, notice: &Notice) -> Result<()> {
        // The run may have another status by now.
        let run = RunInfo { status: notice.status, ..self.run_info(notice.run.clone()) };
        // A run that executes a step of a queue is internal: no callback is called for it.
        let is_step = queue::parse_id(&run.workflow).is_some();
        let callbacks = self.settings.callbacks.of(notice.status).filter(|_| !is_step);
        let calls = callbacks.map(|callback| || callback(run.clone()));
        let late = ("the callbacks for a run", "let a callback spawn what takes long, or start a run for it");
        let called = call_each(&*self.environment, late, calls).await;
        called.map_err(|error| error.run(&notice.run.id))
    }

    /// Calls the callbacks for a claimed notice, and settles it. Returns the delay of the next call if one has failed.
    async fn call_and_settle(&self, owner: u64, notice: Notice) -> Option<Duration> {
        let sequence = notice.sequence;
        let Err(error) = self.call(&notice).await else {
            hit("the callbacks for a notice are called");
            self.settle_notice(&notice.run.id, Noticed { sequence }).await;
            return None;
        };
        let delay = retry_delay(notice.tries);
        tracing::warn!(run = &*notice.run.id, status = %notice.status, ?delay, ?error, "a callback has failed; it is called again");
        let until = self.clock.now().saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.settle_notice(&notice.run.id, ReturnNotice { sequence, owner, until }).await;
        Some(delay)
    }

    /// Sends the write until the store accepts it: otherwise the callbacks are called again when the claim expires, as after
    /// a crash of this process.
    async fn settle_notice<R: Request + Clone>(&self, run: &str, settled: R) {
        // Also after the right to execute was lost: the store takes it from any engine.
        let sent = Sent { run, what: "the record that callbacks were called", owner: None };
        match resend::until_taken(self, sent, || self.batcher.send(settled.clone())).await {
            Ok(_) => {}
            Err(GivenUp::Closed(failed) | GivenUp::Lost(failed)) => {
                tracing::warn!(run, error = ?failed.error, "it is not recorded that callbacks were called; they may be called again");
            }
        }
    }

    /// Claims notices that are free.
    async fn claim_notices(&self, owner: u64, now: u64, statuses: &Arc<[Status]>, limit: usize) -> Result<Vec<Notice>> {
        let claim = ClaimNotices { owner, now, statuses: statuses.clone(), limit };
        match self.batcher.send(claim).await.map_err(|failed| failed.error)? {
            ClaimNoticesAnswer::Claimed(notices) => Ok(notices),
            ClaimNoticesAnswer::Fenced => Ok(Vec::new()),
        }
    }
}

/// Calls callbacks while the engine is open. A failed callback does not block the others.
pub(super) async fn run(engine: Arc<Inner>) {
    let statuses = engine.settings.callbacks.statuses();
    if statuses.is_empty() || !engine.settings.executes {
        return;
    }
    let after = |time: Duration| engine.environment.monotonic().saturating_add(time.as_millis() as u64);
    // On a paused clock no other process can leave a notice, and time would pass in steps of the interval.
    let regularly = || if engine.environment.is_paused() { u64::MAX } else { after(NOTICES_INTERVAL) };
    let mut calls = FuturesUnordered::new();
    // Whether a notice may be free; when the notices of failed callbacks are free again; and the time of the last claim.
    let (mut look, mut retries, mut last) = (true, BTreeSet::new(), 0);
    let mut next = 0;
    loop {
        if calls.len() < NOTICES_CONCURRENT && look {
            retries.retain(|at| *at > engine.environment.monotonic());
            next = retries.first().map_or_else(regularly, |at| regularly().min(*at));
            if engine.is_executing() {
                let (owner, limit) = (engine.owner(), NOTICES_CONCURRENT - calls.len());
                // Each claim has a distinct time.
                last = engine.clock.now().max(last + 1);
                match engine.claim_notices(owner, last, &statuses, limit).await {
                    Ok(claimed) => {
                        look = claimed.len() >= limit;
                        calls.extend(claimed.into_iter().map(|notice| engine.call_and_settle(owner, notice)));
                    }
                    Err(error) => {
                        tracing::warn!(?error, "the ends of runs could not be read, for callbacks; trying again");
                        (look, next) = (false, after(TURN_RETRY_INTERVAL));
                    }
                }
            } else {
                look = false;
            }
        }
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => break,
            Some(again_after) = calls.next(), if !calls.is_empty() => {
                // A little later, since the store measures milliseconds on another clock.
                let again_at = again_after.map(|delay| after(delay + RETRY_MARGIN));
                retries.extend(again_at);
                next = again_at.unwrap_or(next).min(next);
            }
            () = engine.notices.notified() => look = true,
            () = engine.environment.sleep_until(next), if calls.len() < NOTICES_CONCURRENT => look = true,
        }
    }
    // A shutdown waits for running callbacks; otherwise they are dropped, as if the process had been killed.
    loop {
        tokio::select! {
            biased;
            () = engine.stopped.cancelled() => return,
            called = calls.next() => if called.is_none() { return },
        }
    }
}
