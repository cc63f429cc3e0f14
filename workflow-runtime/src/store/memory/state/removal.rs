//! Removal of runs.

use super::super::rows::State;
use super::super::run::Run;
use crate::model::Status;
use crate::store::{
    CleanAnswer, DeleteAnswer, Expired, Message, RemoveGenerations, RemoveGenerationsAnswer, RunKey, RunRow,
};

impl State {
    pub(super) fn delete(&mut self, key: RunKey, deletion_message: &Message) -> DeleteAnswer {
        let Some(run) = self.runs.get(&key) else { return DeleteAnswer::Unknown };
        let never_due = run.row.status == Status::Pending && run.row.wake_at.is_none();
        if !run.row.status.is_terminal() && !never_due {
            return DeleteAnswer::Unended;
        }
        for watcher in run.watchers.clone() {
            self.receive_end(watcher, deletion_message);
        }
        self.remove(key);
        DeleteAnswer::Committed
    }

    /// Removes a run that can be deleted, all at once: in memory there is no need for a budget.
    pub(super) fn remove(&mut self, key: RunKey) {
        let Some(run) = self.runs.remove(&key) else { return };
        self.claimable.remove(&run);
        self.ids.remove(&run.row.id);
        for sequence in run.inbox.keys() {
            self.messages.runs.remove(sequence);
        }
        self.notices.retain(|_, noted| noted.run != key);
        self.forget_tokens(key);
        self.streams.remove(key);
        if let Some(parent) = &run.row.parent
            && let Some(children) = self.children.get_mut(parent)
        {
            children.remove(&key);
            if children.is_empty() {
                self.children.remove(parent);
            }
        }
    }

    /// Removes old generations, all at once: in memory there is no need for a budget.
    pub(super) fn remove_generations(&mut self, remove: &RemoveGenerations) -> RemoveGenerationsAnswer {
        let Some(run) = self.runs.get_mut(&remove.run) else { return RemoveGenerationsAnswer::Unknown };
        if run.row.first_generation != remove.from || run.row.generation < remove.until {
            return RemoveGenerationsAnswer::Unknown;
        }
        run.row.first_generation = remove.until;
        run.row.first_event = remove.first_event;
        run.row.continuations = run.row.continuations.saturating_sub(remove.continuations);
        run.journals.retain(|generation, _| *generation >= remove.until);
        RemoveGenerationsAnswer::Committed
    }

    pub(in crate::store::memory) fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> Vec<RunRow> {
        let place = |run: &Run| (run.row.continuations, run.row.key);
        let continued = |run: &&Run| run.row.continuations >= least && after.is_none_or(|after| place(run) > after);
        let mut found: Vec<&Run> = self.runs.values().filter(continued).collect();
        found.sort_unstable_by_key(|run| place(run));
        found.into_iter().take(limit).map(Run::view).collect()
    }

    pub(super) fn clean(&mut self, expired: &[Expired], now: u64, messages_before: u64, limit: usize) -> CleanAnswer {
        self.drop_notices(now);
        let mut gone = Vec::new();
        for Expired { status, until } in expired {
            let ends = self.ends(*status).into_iter().take_while(|ended| ended <= until).map(|ended| ended.run);
            let without_notice = ends.filter(|run| !self.notices.values().any(|noted| noted.run == *run));
            gone.extend(without_notice.take(limit - gone.len()));
        }
        let more = gone.len() >= limit;
        gone.into_iter().for_each(|run| self.remove(run));
        self.let_go(now);
        self.clean_deliveries(now);
        for run in self.runs.values_mut() {
            run.dedupe.retain(|_, at| at.is_none_or(|at| at >= messages_before));
        }
        CleanAnswer { more }
    }
}
