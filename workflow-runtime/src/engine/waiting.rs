//! Why a run does not move, from the rows of the store alone: without the definitions of this build.

use tokio::sync::OnceCell;

use super::cycle::Cycle;
use super::inner::Inner;
use super::messages;
use super::parts::missing::not_found;
use super::parts::pages::Pages;
use super::parts::roster::{Has, Roster};
use super::parts::stuck::Stuck;
use crate::error::{Error, Result};
use crate::history::{Pending, PendingOperations, PendingStep, Work};
use crate::model::{Status, Waiting, time};
use crate::registry::queue;
use crate::replay::{Event, TurnRecord};
use crate::store::{About, InboxRow, RunRow};

/// How often a run is looked at again that moves meanwhile.
const LOOKS: u32 = 4;

/// The workers, on which the reasons of all runs depend. They are read when the first run needs them.
#[derive(Default)]
pub(crate) struct Surroundings(OnceCell<(Roster, Option<u32>)>);

impl Surroundings {
    /// The workers, and the process that [blocks](crate::store::Store::blocked_by) the store if no worker executes.
    async fn get(&self, engine: &Inner) -> Result<&(Roster, Option<u32>)> {
        let read = || async {
            let roster = engine.roster().await?;
            let blocked_by = match roster.executing_and_waiting().0 {
                None => engine.store.blocked_by().await?,
                Some(_) => None,
            };
            Ok((roster, blocked_by))
        };
        self.0.get_or_try_init(read).await
    }
}

/// The operations of a run.
pub(super) struct Operations {
    pub pending: PendingOperations,
    /// Whether messages wait in its inbox.
    has_news: bool,
}

impl Inner {
    /// The reasons why a run does not move, the one to look at first first.
    pub(crate) async fn reasons(&self, id: &str) -> Result<Vec<Waiting>> {
        Ok(self.reasons_among(id, None).await?.0)
    }

    /// The same, with the number of the engine that holds the run. The workers may have been read for other runs before.
    pub(crate) async fn reasons_among(&self, id: &str, among: Option<&Surroundings>) -> Result<(Vec<Waiting>, u64)> {
        let mut look = 0;
        loop {
            look += 1;
            let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
            let own = Surroundings::default();
            let reasons = self.reasons_of(&row, among.unwrap_or(&own)).await.map_err(|error| error.run(id))?;
            let now = self.row(id).await?.ok_or_else(|| not_found(id))?;
            let same = |row: &RunRow| (row.key, row.generation, row.status, row.fence, row.wake_at, row.inbox_seq);
            if look >= LOOKS || same(&row) == same(&now) {
                return Ok((reasons, row.fence.owner));
            }
        }
    }

    async fn reasons_of(&self, row: &RunRow, among: &Surroundings) -> Result<Vec<Waiting>> {
        match row.status {
            status if status.is_terminal() => return Ok(vec![Waiting::Ended { status }]),
            Status::Stuck => return Ok(vec![Stuck::reason(row)]),
            _ if row.has_not_begun() => return Ok(vec![Waiting::NotBegun]),
            _ => {}
        }
        let (now, (roster, blocked_by)) = (self.clock.now(), among.get(self).await?);
        let mut reasons = Vec::new();
        reasons.extend(blocked_by.map(|process| Waiting::StoreReplaced { process }));
        let is_held = roster.holds(row.fence.owner);
        let queued = queue::parse_id(&row.workflow);
        match (roster.has(&row.workflow, row.required_deployment.as_deref()), queued) {
            (Has::Nobody, Some((queue, step))) => reasons.push(Waiting::QueueNotServed {
                queue: queue.to_owned(),
                step: step.to_owned(),
                run: row.id.to_string(),
            }),
            (Has::Nobody, None) => {
                reasons.push(Waiting::NoWorker {
                    workflow: row.workflow.to_string(),
                    deployment: row.required_deployment.as_deref().map(str::to_owned),
                });
            }
            (Has::Others { executes, deployment, candidates }, _) if !is_held => {
                let workflow = row.workflow.to_string();
                reasons.push(Waiting::OtherWorkerExecutes { workflow, executes, deployment, candidates });
            }
            (Has::Others { .. } | Has::Yes, _) => {}
        }
        if row.status == Status::Pending {
            match (row.wake_at.filter(|at| *at > now), queued) {
                (Some(until), _) => reasons.push(Waiting::Delayed { until: time(until) }),
                (None, _) if !reasons.is_empty() => {}
                (None, Some((queue, step))) => reasons.push(Waiting::Queued {
                    queue: queue.to_owned(),
                    step: step.to_owned(),
                    run: row.id.to_string(),
                }),
                (None, None) => reasons.push(Waiting::Due),
            }
            return Ok(reasons);
        }
        let Operations { pending, has_news } = self.operations(row).await?;
        let unwinds = pending.unwinds;
        let cycle = self.cycle(&row.id, &pending).await?;
        let attempts_max = pending.attempts_max;
        let open = pending.into_open();
        let is_due = !is_held && row.wake_at.is_some_and(|at| at <= now);
        if reasons.is_empty() && (has_news || is_due || open.is_empty()) {
            reasons.push(Waiting::Due);
        }
        reasons.extend(cycle.map(Cycle::reason));
        for (op, Pending { work, since, precedes_rollbacks, .. }) in open {
            let reason = match work {
                Work::Step(step) if step.run.is_some() => self.reason_elsewhere(roster, op, step, now).await?,
                Work::Step(step) => Some(reason_of_step(op, step, since, attempts_max, now)),
                Work::Timer { until } => Some(Waiting::Timer { until: time(until) }),
                Work::Hook { label: Some(label), .. } => {
                    Some(Waiting::Suspended { label, step: None, run: None, since: Some(time(since)) })
                }
                Work::Hook { token, metadata, .. } => Some(Waiting::Hook { token, metadata, since: Some(time(since)) }),
                Work::Child { run, workflow, .. } => {
                    let status = self.row(&run).await?.map(|row| row.status);
                    Some(Waiting::Child { run, workflow, status })
                }
                Work::Run { run } => {
                    let status = self.row(&run).await?.map(|row| row.status);
                    Some(Waiting::Run { run, status })
                }
                Work::Start => None,
            };
            reasons.extend(reason.map(|reason| match unwinds {
                Some(to) if precedes_rollbacks => Waiting::BeforeRollback { to, waits_for: Box::new(reason) },
                Some(to) => Waiting::RollingBack { to, waits_for: Box::new(reason) },
                None => reason,
            }));
        }
        reasons.sort_by_key(Waiting::rank);
        Ok(reasons)
    }

    /// The reason of a step that a run of its own executes.
    async fn reason_elsewhere(&self, roster: &Roster, op: u64, step: PendingStep, now: u64) -> Result<Option<Waiting>> {
        let Some(run) = step.run.clone() else { return Ok(None) };
        let row = self.row(&run).await?;
        let status = row.as_ref().map(|row| row.status);
        if let Some(row) = &row
            && !row.status.is_terminal()
            && row.status != Status::Stuck
            && let Some((queue, id)) = queue::parse_id(&row.workflow)
        {
            let (queue, id) = (queue.to_owned(), id.to_owned());
            if matches!(roster.has(&row.workflow, None), Has::Nobody) {
                return Ok(Some(Waiting::QueueNotServed { queue, step: id, run }));
            }
            if row.status == Status::Pending {
                return Ok(Some(Waiting::Queued { queue, step: id, run }));
            }
            let Operations { pending, .. } = self.operations(row).await?;
            let attempts_max = pending.attempts_max;
            let executed = pending.into_open().into_iter().find_map(|(_, pending)| match pending.work {
                Work::Step(own) => Some((own, pending.since)),
                _ => None,
            });
            if let Some((own, since)) = executed {
                let own = PendingStep { name: step.name, run: Some(run), ..own };
                return Ok(Some(reason_of_step(op, own, since, attempts_max, now)));
            }
        }
        let workflow = row.map_or(step.step, |row| row.workflow.to_string());
        Ok(Some(Waiting::Child { run, workflow, status }))
    }

    /// Reads the operations of a run from its journal and its inbox.
    pub(super) async fn operations(&self, row: &RunRow) -> Result<Operations> {
        let mut pending = PendingOperations::of(&row.id, queue::parse_id(&row.workflow).is_some());
        let mut pages = Pages::of(row.key, row.generation);
        while let Some(rows) = pages.next(&*self.store).await? {
            for row in rows {
                pending.add(&TurnRecord::decode(row.format, row.checksum, &row.body)?);
            }
        }
        let (_, messages) = self.store.inbox(row.key).await?;
        let mut has_news = false;
        for message in messages.into_iter().filter(|message| !message.unread) {
            has_news = true;
            if let Some(op) = answered(message, row.generation)? {
                pending.ended(op);
            }
        }
        Ok(Operations { pending, has_news })
    }
}

fn reason_of_step(op: u64, step: PendingStep, since: u64, attempts_max: Option<u32>, now: u64) -> Waiting {
    let attempts_max = step.attempts_max.or(attempts_max);
    let PendingStep { step, name, run, attempt, failed, suspended, .. } = step;
    match (suspended, failed) {
        (Some(label), _) => Waiting::Suspended { label, step: Some(step), run, since: Some(time(since)) },
        (None, Some((error, at))) if at > now => {
            Waiting::Retrying { step, name, operation: op, attempt, attempts_max, error, next_at: time(at), run }
        }
        (None, failed) => {
            let dispatched_at = time(failed.map_or(since, |(_, at)| at.max(since)));
            Waiting::Executing { step, name, operation: op, attempt, attempts_max, dispatched_at, run }
        }
    }
}

/// The operation whose result a message has.
fn answered(message: InboxRow, generation: u64) -> Result<Option<u64>, Error> {
    if let Some(About::Ended(op)) = message.about {
        return Ok((message.generation == generation).then_some(op));
    }
    Ok(match messages::event(message, generation)? {
        Event::Payload { .. } | Event::Conflict { .. } => None,
        event => event.op().filter(|op| *op != messages::NO_OPERATION),
    })
}
