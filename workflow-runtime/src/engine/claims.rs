//! Claims the runs that are due and that no engine owns.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::inner::Inner;
use super::parts::resend::Sender as _;
use super::parts::roster::Has;
use super::parts::waiters::Done;
use super::refusals::Taken;
use super::replays;
use crate::error::Result;
use crate::limits::{
    CLAIM_AHEAD, CLAIM_INTERVAL, CLAIM_RUNS, LACKING_INTERVAL, OWNERSHIP_INTERVAL, OWNERSHIP_RETRY_INTERVAL_MAX,
    TURN_RETRY_INTERVAL, YIELD_REST,
};
use crate::registry::queue;
use crate::store::{Claim, ClaimAnswer, Followed};
use crate::text::excerpt;

/// Acquires the right to execute in this store, if it is available.
pub(super) async fn try_to_execute(engine: &Arc<Inner>) -> Result<()> {
    if !engine.settings.executes {
        return Ok(());
    }
    let owner = engine.owner();
    let Some(ownership) = engine.store.acquire(owner).await? else {
        engine.register().await;
        return Ok(());
    };
    let lost = ownership.lost();
    // Before the other builds look whether anyone may still take what they have refused.
    engine.register().await;
    // This build may be able to continue runs that others could not. If this fails, the right is given up, and requested again
    // later.
    let claimable = engine.store.claimable(&engine.settings.deployment).await?;
    engine.unstick(&claimable.refused).await?;
    engine.right.set(ownership);
    if engine.stopped.is_cancelled() {
        // The batcher may have ended before, and would not give the right up.
        drop(engine.right.take());
        return Ok(());
    }
    engine.executing.store(true, Ordering::Release);
    tracing::info!(process = std::process::id(), "the engine executes runs");
    engine.notices.notify_one();
    // A task of its own: it must not wait behind other accesses to the store.
    let losing = engine.clone();
    engine.runtime.spawn(async move {
        tokio::select! {
            biased;
            () = losing.stopped.cancelled() => {}
            () = lost => {
                tracing::error!("the engine lost the right to execute; it releases its runs and requests the right again");
                losing.lose(owner);
            }
        }
    });
    Ok(())
}

/// Like [`try_to_execute`], while the engine opens, since `begun`: retries a store that cannot be reached.
pub(super) async fn begin_to_execute(engine: &Arc<Inner>, begun: Instant) -> Result<()> {
    loop {
        match try_to_execute(engine).await {
            Err(error) if error.is_outage() && begun.elapsed() + TURN_RETRY_INTERVAL <= engine.store.patience() => {
                tracing::warn!(?error, "the right to execute could not be requested; trying again");
                engine.environment.sleep(TURN_RETRY_INTERVAL).await;
            }
            decided => return decided,
        }
    }
}

/// Claims due runs, until the engine stops.
pub(super) async fn run(engine: Arc<Inner>) {
    let (mut lacking, mut pause, mut refused) = (Lacking::default(), OWNERSHIP_INTERVAL, Taken::default());
    // Until this monotonic time the right to execute is left to others.
    let mut rests_until = 0;
    if engine.settings.executes && !engine.is_executing() {
        engine.name_who_executes().await;
    }
    loop {
        let until = if engine.is_executing() {
            engine.wake_followers(true);
            match claim(&engine, &mut lacking, &mut refused).await {
                Ok(Next::At(next)) => next,
                Ok(Next::Yielded) => {
                    rests_until = engine.clock.monotonic().saturating_add(YIELD_REST.as_millis() as u64);
                    continue;
                }
                Err(error) if engine.fail(&error) => return,
                Err(error) => {
                    tracing::warn!(?error, "due runs could not be claimed; trying again");
                    after(&engine, TURN_RETRY_INTERVAL)
                }
            }
        } else {
            // Backs off, so that the workers do not overload a database that has just come back.
            let rests = engine.clock.monotonic() < rests_until;
            let requested = if rests { Ok(()) } else { try_to_execute(&engine).await };
            pause = match requested {
                Ok(()) => OWNERSHIP_INTERVAL,
                Err(error) if engine.fail(&error) => return,
                Err(error) => {
                    tracing::warn!(?error, "the right to execute could not be requested; trying again");
                    (pause * 2).min(OWNERSHIP_RETRY_INTERVAL_MAX)
                }
            };
            // After it: once this engine executes, no later look finds what the previous owner has written before its end.
            engine.wake_followers(false);
            if engine.is_executing() {
                continue;
            }
            after(&engine, pause)
        };
        // Biased, here and elsewhere: a simulation could not reproduce a branch that is picked at random.
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => return,
            () = engine.clock.sleep_until(until) => {}
            () = engine.activations.missing() => {}
            () = engine.news.recounting() => {}
            () = engine.queues.freed() => {}
            () = engine.replays.room() => {}
            () = engine.store.changed(&*engine.environment) => {}
        }
    }
}

fn after(engine: &Inner, pause: Duration) -> u64 {
    engine.clock.now().saturating_add(pause.as_millis() as u64)
}

impl Inner {
    /// Wakes the waiters of runs that other engines may have changed.
    fn wake_followers(&self, executing: bool) {
        match self.store.followed() {
            Followed::Runs(runs) => runs.iter().for_each(|run| self.waiters.wake(run, Done::Left(None))),
            // An engine that executes alone makes all changes itself.
            Followed::Unsaid if executing => {}
            Followed::Unsaid | Followed::Any => self.waiters.wake_all(),
        }
    }
}

/// What the claims do next.
enum Next {
    /// Look again at this time.
    At(u64),
    /// The engine has yielded the right to execute.
    Yielded,
}

/// Claims until no run is due, or yields the right to execute if it was asked to.
async fn claim(engine: &Arc<Inner>, lacking: &mut Lacking, refused: &mut Taken) -> Result<Next> {
    let mut room = true;
    let claimable = loop {
        // Other engines may have written messages, and the claims may take a while.
        engine.news.hint();
        let mut full = false;
        let all = std::iter::once((engine.workflows.clone(), CLAIM_RUNS));
        for (workflows, limit) in all.chain(engine.queues.free()) {
            let most = limit.min(engine.replays.free());
            room = most > 0;
            if !room {
                break;
            }
            let claimed = claim_some(engine, workflows, refused, most).await?;
            // Further steps of a queue have to wait for a free slot.
            full |= claimed >= most && (most < limit || limit == CLAIM_RUNS);
        }
        if full && room {
            continue;
        }
        let claimable = engine.store.claimable(&engine.settings.deployment).await?;
        engine.is_drained.store(claimable.draining, Ordering::Release);
        let before = refused.clone();
        engine.take_refused(&claimable.refused, refused).await?;
        if !room || refused.is_within(&before) {
            break claimable;
        }
    };
    if claimable.yields && engine.yield_to_another().await? {
        return Ok(Next::Yielded);
    }
    let claimable = claimable.due;
    let check = after(engine, engine.clock.interval(CLAIM_INTERVAL)).min(lacking.warn(engine, &claimable).await);
    if !room {
        return Ok(Next::At(check));
    }
    let takes = engine.queues.with_free(&engine.workflows);
    let next = takes.iter().filter_map(|workflow| claimable.get(*workflow).copied()).min();
    Ok(Next::At(next.map_or(check, |at| at.saturating_sub(CLAIM_AHEAD.as_millis() as u64).min(check))))
}

/// The workflows that unfinished runs have and this build lacks, as far as the engine has warned of them.
#[derive(Default)]
struct Lacking {
    /// Of which a run was due.
    due: HashSet<Arc<str>>,
    /// Which a live worker has that could execute instead of this one.
    elsewhere: HashSet<Arc<str>>,
    /// The next look at the workers, on the monotonic clock.
    looks_at: u64,
}

impl Lacking {
    /// Warns of each workflow once, and once more if a live worker has it that could execute. Returns when to look again.
    async fn warn(&mut self, engine: &Inner, claimable: &BTreeMap<Arc<str>, u64>) -> u64 {
        let (now, monotonic) = (engine.clock.now(), engine.clock.monotonic());
        let known = engine.queues.with(&engine.workflows);
        let is_lacking = |workflow: &Arc<str>| !known.contains(&&**workflow) && !self.elsewhere.contains(workflow);
        let lacking: Vec<(&Arc<str>, &u64)> = claimable.iter().filter(|(workflow, _)| is_lacking(workflow)).collect();
        if lacking.is_empty() {
            return u64::MAX;
        }
        if monotonic < self.looks_at {
            return now.saturating_add(self.looks_at - monotonic);
        }
        self.looks_at = monotonic.saturating_add(LACKING_INTERVAL.as_millis() as u64);
        let Ok(roster) = engine.roster().await else { return now.saturating_add(LACKING_INTERVAL.as_millis() as u64) };
        for (workflow, at) in lacking {
            if let Has::Others { candidates, .. } = roster.has(workflow, None) {
                tracing::warn!(
                    workflow = %excerpt(workflow),
                    process = std::process::id(),
                    candidates = ?candidates,
                    help = "`workflow yield` lets another process execute",
                    "this process executes and does not have a workflow of unfinished runs; another live process has it"
                );
                self.elsewhere.insert(workflow.clone());
                continue;
            }
            if *at > now || !self.due.insert(workflow.clone()) {
                continue;
            }
            match queue::parse_id(workflow) {
                Some((queue, step)) => {
                    tracing::info!(queue, step, "a step waits for a process that serves its queue; this one does not");
                }
                None => tracing::warn!(
                    %workflow,
                    process = std::process::id(),
                    "a run is due whose workflow is not in this build; it waits for a build that has it"
                ),
            }
        }
        u64::MAX
    }
}

/// Claims once, and returns the number of claimed runs.
async fn claim_some(
    engine: &Arc<Inner>,
    workflows: Arc<[&'static str]>,
    refused: &Taken,
    limit: usize,
) -> Result<usize> {
    let claim = Claim {
        owner: engine.owner(),
        // Timers in memory are more exact than a claim and a replay, whatever else the machine does.
        now: after(engine, CLAIM_AHEAD),
        workflows,
        deployment: engine.settings.deployment.clone(),
        refused: refused.by.clone(),
        refused_bound: refused.bound.clone(),
        limit,
        again: engine.activations.missed(),
    };
    let rows = match engine.batcher.send(claim).await {
        Ok(ClaimAnswer::Claimed(rows)) => rows,
        Ok(ClaimAnswer::Fenced) => Vec::new(),
        Err(failed) => {
            engine.activations.miss_until_next_claim();
            return Err(failed.error);
        }
    };
    let claimed = rows.len();
    for row in rows {
        // A claim that was in doubt returns all runs that this engine owns.
        let Some(activation) = engine.activations.begin_if_free(&row.id) else { continue };
        let here = engine.live_runs().get(&row.key).cloned();
        match here {
            Some(live) if live.fence == row.fence => {
                activation.settle();
                continue;
            }
            // The run is leaving memory, and does not know yet that it was claimed again.
            Some(live) => engine.retire(&live),
            // The right was lost while the claim was in progress. A driver that has left memory with it may still be recording
            // a turn under the same fence, so the run must not be activated again under it: the next owner claims it.
            None if !engine.is_owner(row.fence.owner) => {
                activation.settle();
                continue;
            }
            None => {}
        }
        replays::queue(engine, row, activation);
    }
    Ok(claimed)
}
