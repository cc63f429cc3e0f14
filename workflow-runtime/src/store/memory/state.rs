//! How each write changes the data.

mod counts;
mod deliveries;
mod effects;
mod listing;
mod notices;
mod removal;
mod streams;
mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::parked::Kind;
use super::rows::{State, Writer};
use super::run::{Messages, Run, ends};
use crate::model::Status;
use crate::store::{
    About, Answer, AppendChunk, AppendChunkAnswer, Claim, ClaimAnswer, Claimable, Clean, CreateAnswer, DEAD, Delete,
    DeleteAnswer, DeliverAnswer, Fence, First, InboxRow, JournalRow, Message, NewRun, NextGeneration, Noticed, Refused,
    Release, ReleaseAnswer, Reopen, ReopenAnswer, Replace, RunKey, RunRow, SendMessage, SendMessageAnswer, Turn,
    TurnAnswer, Unstick, UnstickRun, UnstickRunAnswer, WorkerRow, Write, assert_engine,
};

/// Whether an engine other than the writer may have to react to the write.
pub(super) fn concerns_others(write: &Write, answer: &Answer) -> bool {
    match (write, answer) {
        (Write::Replace(_), Answer::Create(CreateAnswer::Created(_))) => true,
        (Write::Create(new), Answer::Create(CreateAnswer::Created(_))) => match &new.first {
            First::Message(_) | First::Begin(_) | First::Journal { .. } => true,
            First::Later => false,
            First::Turn { change, .. } => ends(change.status),
        },
        (Write::Turn(_), Answer::Turn(TurnAnswer::CommittedAndNotified)) => true,
        (Write::Turn(turn), Answer::Turn(TurnAnswer::Committed)) => {
            turn.effects.is_some()
                || !turn.chunks.is_empty()
                || turn.change.as_ref().is_some_and(|change| ends(change.status))
        }
        (
            _,
            Answer::SendMessage(SendMessageAnswer::Committed)
            | Answer::Deliver(DeliverAnswer::Committed)
            | Answer::Release(ReleaseAnswer::Committed)
            | Answer::Unstick
            | Answer::UnstickRun(UnstickRunAnswer::Committed)
            | Answer::Reopen(ReopenAnswer::Committed)
            | Answer::Delete(DeleteAnswer::Committed)
            | Answer::AppendChunk(AppendChunkAnswer::Committed),
        ) => true,
        _ => false,
    }
}

impl State {
    pub(super) fn workers(&self) -> Vec<WorkerRow> {
        self.workers.workers(self.held.then_some(self.executing))
    }

    pub(super) fn apply(&mut self, write: &Write) -> Answer {
        match write {
            Write::Create(new) => self.create(new).into(),
            Write::Turn(turn) => self.turn(turn).into(),
            Write::SendMessage(SendMessage { run, message, unstick }) => {
                self.send_message(run, message, *unstick).into()
            }
            Write::Deliver(deliver) => self.deliver(deliver).into(),
            Write::Release(Release { run, fence, inbox_seq }) => self.release(*run, *fence, *inbox_seq).into(),
            Write::Claim(claim) => self.claim(claim).into(),
            Write::AppendChunk(AppendChunk { run, owner, execution, into, chunk, most }) => {
                let writer = Writer { run: *run, execution: execution.clone() };
                self.chunk(&writer, *owner, into.as_deref(), chunk, *most).into()
            }
            Write::ClaimNotices(claim) => self.claim_notices(claim).into(),
            Write::ReturnNotice(returned) => {
                self.return_notice(returned);
                Answer::ReturnNotice
            }
            Write::Noticed(Noticed { sequence }) => {
                self.notices.remove(sequence);
                Answer::Noticed
            }
            Write::Delete(Delete { run, deletion_message, .. }) => self.delete(*run, deletion_message).into(),
            Write::Clean(Clean { expired, now, messages_before, runs, .. }) => {
                self.clean(expired, *now, *messages_before, *runs).into()
            }
            Write::RecordCounts(record) => {
                self.record_counts(record);
                Answer::RecordCounts
            }
            Write::RemoveGenerations(remove) => self.remove_generations(remove).into(),
            Write::Unstick(unstick) => {
                self.unstick(unstick);
                Answer::Unstick
            }
            Write::UnstickRun(UnstickRun { run }) => self.unstick_run(run).into(),
            Write::Reopen(Reopen { run, below }) => self.reopen(run, below).into(),
            Write::Replace(Replace { run, new, .. }) => self.replace(*run, new).into(),
        }
    }

    /// Changes a run and keeps the index `claimable` up to date.
    fn edit<T>(&mut self, key: RunKey, edit: impl FnOnce(&mut Run, &mut Messages) -> T) -> Option<T> {
        let run = self.runs.get_mut(&key)?;
        self.claimable.remove(run);
        let outcome = edit(run, &mut self.messages);
        self.claimable.insert(run);
        Some(outcome)
    }

    fn replace(&mut self, run: RunKey, new: &NewRun) -> CreateAnswer {
        let comes = match &new.first {
            First::Turn { owner, row, .. } => *owner == self.executing && row.index == 0,
            First::Begin(_) => false,
            First::Message(_) | First::Later | First::Journal { .. } => true,
        };
        if comes && self.runs.get(&run).is_some_and(|run| run.has_failed() && run.row.id == new.id) {
            self.remove(run);
        }
        self.create(new)
    }

    fn create(&mut self, new: &NewRun) -> CreateAnswer {
        if let Some(there) = self.ids.get(&new.id).and_then(|key| self.runs.get(key)) {
            return match &new.first {
                _ if there.token == new.token => CreateAnswer::Created(there.row.key),
                First::Begin(message) if there.row.has_not_begun() => self.begin(there.row.key, new, message),
                _ => CreateAnswer::Exists(Box::new(there.view())),
            };
        }
        let key = self.last + 1;
        let mut run = Run::new(key, new);
        match &new.first {
            First::Turn { owner, row, change } => {
                if *owner != self.executing || row.index != 0 {
                    return CreateAnswer::Fenced;
                }
                run.row.fence = Fence { owner: *owner, epoch: 1 };
                run.journals.insert(0, vec![row.clone()]);
                run.change(change);
            }
            First::Message(message) => {
                run.put(&mut self.messages, message, None);
                run.row.inbox_seq = 1;
            }
            First::Later => run.row.wake_at = None,
            First::Journal { rows, messages } => {
                run.row.status = Status::Running;
                run.row.started_at = Some(new.created_at);
                run.journals.insert(0, rows.clone());
                messages.iter().for_each(|message| run.receive(&mut self.messages, message, None));
            }
            First::Begin(_) => return CreateAnswer::Unknown,
        }
        self.last = key;
        self.claimable.insert(&run);
        self.ids.insert(Arc::clone(&new.id), key);
        self.runs.insert(key, run);
        self.affect(key, new.effects.as_deref());
        if let First::Turn { change, .. } = &new.first {
            self.end(key, Some(change));
        }
        self.write(key, &new.chunks);
        CreateAnswer::Created(key)
    }

    fn begin(&mut self, key: RunKey, new: &NewRun, message: &Message) -> CreateAnswer {
        let begun = self.edit(key, |run, messages| {
            run.token = new.token;
            run.row.fingerprint = Arc::clone(&new.fingerprint);
            run.row.args_digest = new.args_digest;
            run.row.required_deployment.clone_from(&new.required_deployment);
            run.row.wake_at = Some(0);
            run.receive(messages, message, None);
        });
        if begun.is_none() {
            return CreateAnswer::Unknown;
        }
        self.affect(key, new.effects.as_deref());
        CreateAnswer::Created(key)
    }

    fn turn(&mut self, turn: &Turn) -> TurnAnswer {
        let outcome = self.edit(turn.run, |run, messages| {
            let refused = run.refuse(turn);
            if refused.is_some() {
                return refused;
            }
            if let Some(row) = &turn.row {
                run.journals.entry(turn.generation).or_default().push(row.clone());
            }
            for delivered in &turn.delivered {
                if run.inbox.remove(delivered).is_some() {
                    messages.runs.remove(delivered);
                }
            }
            for unread in &turn.unread {
                if let Some(message) = run.inbox.get_mut(unread) {
                    message.unread = true;
                }
            }
            for message in &turn.returned {
                run.put(messages, message, None);
            }
            if let Some(change) = &turn.change {
                run.change(change);
            }
            None
        });
        match outcome {
            None => TurnAnswer::Fenced,
            Some(Some(refused)) => refused,
            Some(None) => {
                self.affect(turn.run, turn.effects.as_deref());
                // First settles the attempts: a stream that a failed step has closed is open again.
                self.settle(turn);
                self.write(turn.run, &turn.chunks);
                match self.end(turn.run, turn.change.as_ref()) {
                    true => TurnAnswer::CommittedAndNotified,
                    false => TurnAnswer::Committed,
                }
            }
        }
    }

    fn send_message(&mut self, id: &str, message: &Message, unstick: bool) -> SendMessageAnswer {
        let Some(&key) = self.ids.get(id) else { return SendMessageAnswer::Unknown };
        let outcome = self.edit(key, |run, messages| {
            run.receive(messages, message, None);
            if unstick && run.row.status == Status::Stuck {
                run.unstick();
                run.row.refused_by = None;
            }
            SendMessageAnswer::Committed
        });
        outcome.unwrap_or(SendMessageAnswer::Unknown)
    }

    fn release(&mut self, key: RunKey, fence: Fence, inbox_seq: u64) -> ReleaseAnswer {
        let outcome = self.edit(key, |run, _| {
            if run.row.fence != fence {
                return ReleaseAnswer::Fenced;
            }
            if run.row.inbox_seq != inbox_seq {
                return ReleaseAnswer::Unread;
            }
            run.row.fence.owner = 0;
            ReleaseAnswer::Committed
        });
        outcome.unwrap_or(ReleaseAnswer::Fenced)
    }

    fn claim(&mut self, claim: &Claim) -> ClaimAnswer {
        let Claim { owner, again, .. } = *claim;
        if owner != self.executing {
            return ClaimAnswer::Fenced;
        }
        let mut claimed = Vec::new();
        if again {
            let own = self.runs.values().filter(|run| run.row.fence.owner == owner && run.row.wake_at.is_some());
            claimed.extend(own.map(Run::view));
        }
        let draining = self.workers.is_draining(&claim.deployment);
        for key in self.claimable.due(claim, draining) {
            claimed.extend(self.edit(key, |run, _| {
                let recoveries = run.recoveries();
                if run.row.fence.owner == DEAD {
                    run.row.recoveries = recoveries + 1;
                    run.recovered_at = Some(run.length());
                }
                run.row.fence = Fence { owner, epoch: run.row.fence.epoch + 1 };
                run.view()
            }));
        }
        ClaimAnswer::Claimed(claimed)
    }

    fn unstick(&mut self, unstick: &Unstick) {
        let Unstick { refused, workflows, deployment } = unstick;
        let stuck = |run: &&Run| {
            let by_these = run.row.refused_by.as_ref().is_some_and(|by| refused.contains(by));
            by_these
                && run.row.status == Status::Stuck
                && workflows.contains(&&*run.row.workflow)
                && Kind::of(run).fits(deployment)
        };
        let keys: Vec<_> = self.runs.values().filter(stuck).map(|run| run.row.key).collect();
        for key in keys {
            self.edit(key, |run, _| run.unstick());
        }
    }

    /// The deployments that unfinished runs require, once for each run.
    pub(super) fn required(&self) -> impl Iterator<Item = Arc<str>> {
        let unfinished = self.runs.values().filter(|run| run.row.completed_at.is_none());
        unfinished.filter_map(|run| run.row.required_deployment.clone())
    }

    pub(super) fn release_from(&mut self, deployment: &str, limit: usize) -> u64 {
        let requires =
            |run: &&Run| run.row.completed_at.is_none() && run.row.required_deployment.as_deref() == Some(deployment);
        let keys: Vec<_> = self.runs.values().filter(requires).take(limit).map(|run| run.row.key).collect();
        let released = keys.into_iter().filter_map(|key| self.edit(key, |run, _| run.row.required_deployment = None));
        released.count() as u64
    }

    pub(super) fn release_one(&mut self, id: &str) -> u64 {
        let Some(&key) = self.ids.get(id) else { return 0 };
        let release = |run: &mut Run, _: &mut Messages| {
            run.row.completed_at.is_none() && run.row.required_deployment.take().is_some()
        };
        u64::from(self.edit(key, release).unwrap_or_default())
    }

    fn unstick_run(&mut self, id: &str) -> UnstickRunAnswer {
        let Some(&key) = self.ids.get(id) else { return UnstickRunAnswer::Unknown };
        self.edit(key, |run, _| {
            if run.row.status == Status::Stuck {
                run.unstick();
                run.row.refused_by = None;
            }
        });
        UnstickRunAnswer::Committed
    }

    fn reopen(&mut self, run: &NextGeneration, below: &[NextGeneration]) -> ReopenAnswer {
        let Some(there) = self.runs.get(&run.run) else { return ReopenAnswer::Unknown };
        let known =
            |message: &Message| message.dedupe.as_ref().is_some_and(|dedupe| there.dedupe.contains_key(&dedupe.key));
        if run.messages.iter().any(known) {
            return ReopenAnswer::Committed;
        }
        if !self.can_go_on(run) {
            return ReopenAnswer::Fenced;
        }
        if !below.iter().all(|next| self.can_go_on(next)) {
            return ReopenAnswer::Changed;
        }
        below.iter().chain([run]).for_each(|next| self.go_on(next));
        ReopenAnswer::Committed
    }

    fn can_go_on(&self, next: &NextGeneration) -> bool {
        self.runs.get(&next.run).is_some_and(|run| run.row.generation == next.generation && run.has_failed())
    }

    fn go_on(&mut self, next: &NextGeneration) {
        self.edit(next.run, |run, messages| {
            for replaced in &next.replaced {
                if run.inbox.remove(replaced).is_some() {
                    messages.runs.remove(replaced);
                }
            }
            // The operations keep their numbers. Messages that arrived too late for the ended generation stay with it.
            for message in run.inbox.values_mut() {
                let is_taken_over =
                    std::mem::replace(&mut message.unread, true) && message.generation == next.generation;
                message.generation += u64::from(is_taken_over);
            }
            run.row.generation += 1;
            run.row.status = Status::Running;
            run.row.wake_at = Some(0);
            run.row.fence.owner = 0;
            run.row.completed_at = None;
            run.row.error = None;
            run.recovered_at = None;
            run.journals.insert(run.row.generation, next.rows.clone());
            run.set_again(next);
            next.messages.iter().for_each(|message| run.receive(messages, message, None));
            for (op, message) in &next.payloads {
                run.receive(messages, message, Some(About::Operation(*op)));
            }
        });
    }

    pub(super) fn acquire(&mut self, owner: u64) -> bool {
        assert_engine(owner);
        if self.held {
            return false;
        }
        self.held = true;
        self.executing = owner;
        self.free_notices(owner);
        let orphans: Vec<_> = self
            .runs
            .values()
            .filter(|run| run.row.wake_at.is_some() && ![0, DEAD, owner].contains(&run.row.fence.owner))
            .map(|run| run.row.key)
            .collect();
        for key in orphans {
            self.edit(key, |run, _| {
                run.row.fence.owner = DEAD;
                if run.inbox.values().any(|message| !message.unread) {
                    run.row.wake_at = Some(0);
                }
            });
        }
        true
    }

    pub(super) fn free(&mut self) {
        self.held = false;
    }

    pub(super) fn run(&self, id: &str) -> Option<RunRow> {
        self.runs.get(self.ids.get(id)?).map(Run::view)
    }

    fn rows(&self, run: RunKey, generation: u64) -> &[JournalRow] {
        self.runs.get(&run).and_then(|run| run.journals.get(&generation)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn journal(&self, run: RunKey, generation: u64, from: u64, limit: usize) -> Vec<JournalRow> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.rows(run, generation).iter().skip(from).take(limit).cloned().collect()
    }

    pub(super) fn last(&self, run: RunKey, generation: u64) -> Option<JournalRow> {
        self.rows(run, generation).last().cloned()
    }

    pub(super) fn inbox(&self, run: RunKey) -> (u64, Vec<InboxRow>) {
        self.runs.get(&run).map(|run| (run.row.inbox_seq, run.inbox.values().cloned().collect())).unwrap_or_default()
    }

    /// The runs of an engine with inbox messages after this sequence, and the last sequence.
    pub(super) fn news(&self, owner: u64, after: u64) -> (Vec<RunKey>, u64) {
        let held = |key: &&RunKey| self.runs.get(key).is_some_and(|run| run.row.fence.owner == owner);
        let news: BTreeSet<RunKey> =
            self.messages.runs.range(after + 1..).map(|(_, key)| key).filter(held).copied().collect();
        (news.into_iter().collect(), self.messages.last)
    }

    pub(super) fn claimable(&self, deployment: &str) -> Claimable {
        let mut claimable = Claimable {
            draining: self.workers.is_draining(deployment),
            yields: self.workers.yields(self.executing),
            ..Claimable::default()
        };
        let draining = claimable.draining;
        let fits = |kind: &Kind| kind.fits(deployment) && (kind.required.is_some() || !draining);
        for (kind, runs) in self.claimable.runs.iter().filter(|(kind, _)| kind.refused.is_none() && fits(kind)) {
            if let Some((at, _)) = runs.first() {
                let earliest = claimable.due.entry(kind.workflow.clone()).or_insert(*at);
                *earliest = *at.min(earliest);
            }
        }
        let refused = self.claimable.refused.iter().map(|((by, workflow), (_, stuck))| Refused {
            by: by.clone(),
            workflow: workflow.clone(),
            stuck: *stuck > 0,
        });
        claimable.refused = refused.collect();
        claimable
    }
}
