//! What turns do beside their runs' journals and rows.

use std::sync::Arc;

use super::{Run, State, Watcher};
use crate::store::{
    About, Attributes, Child, Continuation, Effects, JournalRow, Letter, Message, Outcome, RowChange, RunKey, RunRow,
    Watch,
};

impl State {
    pub(super) fn affect(&mut self, run: RunKey, effects: Option<&Effects>) {
        let Some(effects) = effects else { return };
        self.close(run, &effects.closes);
        self.open(run, &effects.opens);
        effects.children.iter().for_each(|child| self.start_child(run, child));
        effects.watches.iter().for_each(|watch| self.watch(run, watch));
        effects.messages.iter().for_each(|message| self.send(message));
        if let Some(run) = self.runs.get_mut(&run) {
            run.set(effects);
        }
        if effects.notify {
            self.notices.insert(run);
        }
        if let Some(continuation) = &effects.continuation {
            self.continue_as_new(run, continuation);
        }
    }

    fn continue_as_new(&mut self, run: RunKey, continuation: &Continuation) {
        self.hand_on(run, &continuation.payloads);
        self.edit(run, |run, letters| {
            run.row.generation += 1;
            run.row.fence.owner = 0;
            run.recovered_at = None;
            run.receive(letters, &continuation.start, None);
        });
    }

    fn start_child(&mut self, parent: RunKey, child: &Child) {
        let Outcome::Created(key) = self.create(&child.new) else {
            self.edit(parent, |run, letters| run.receive(letters, &child.refusal, None));
            return;
        };
        let Some(run) = self.runs.get_mut(&parent) else { return };
        run.children.push(Arc::clone(&child.new.id));
        let (id, generation) = (Arc::clone(&run.row.id), run.row.generation);
        if let Some(started) = self.runs.get_mut(&key) {
            started.row.parent = Some(id);
            started.watchers.extend(child.op.map(|op| Watcher { run: parent, generation, op }));
        }
    }

    fn watch(&mut self, run: RunKey, watch: &Watch) {
        let Some(generation) = self.runs.get(&run).map(|run| run.row.generation) else { return };
        let watcher = Watcher { run, generation, op: watch.op };
        match self.ids.get(&watch.run).copied().and_then(|key| self.runs.get_mut(&key)) {
            None => {
                self.edit(run, |run, letters| run.receive(letters, &watch.refusal, None));
            }
            Some(watched) if watched.row.status.is_terminal() => {
                let last = watched.last().cloned();
                self.tell(watcher, last.as_ref(), watch.refusal.arrived_at);
            }
            Some(watched) => watched.watchers.push(watcher),
        }
    }

    fn send(&mut self, message: &Message) {
        let ended = |key: &RunKey| self.runs.get(key).is_none_or(|run| run.row.status.is_terminal());
        if !self.ids.get(&message.run).is_none_or(ended) {
            self.post(&message.run, &message.letter, message.unstick);
        }
    }

    /// Tells an operation how the run has ended that it waits for.
    fn tell(&mut self, watcher: Watcher, last: Option<&JournalRow>, at: u64) {
        let Some(last) = last else { return };
        let (format, checksum, body) = (last.format, last.checksum, Arc::clone(&last.body));
        let letter = Letter { dedupe: None, arrived_at: at, format, checksum, body };
        self.edit(watcher.run, |run, letters| {
            if run.row.generation == watcher.generation {
                run.receive(letters, &letter, Some(About::Ended(watcher.op)));
            }
        });
    }

    /// If a run has ended: its tokens, and who waits for it. Whether somebody does.
    pub(super) fn end(&mut self, run: RunKey, change: Option<&RowChange>) -> bool {
        let Some(change) = change.filter(|change| change.status.is_terminal()) else { return false };
        self.end_tokens(run);
        let Some(ended) = self.runs.get_mut(&run) else { return false };
        let (watchers, last) = (std::mem::take(&mut ended.watchers), ended.last().cloned());
        let at = change.completed_at.unwrap_or_default();
        let told = !watchers.is_empty();
        watchers.into_iter().for_each(|watcher| self.tell(watcher, last.as_ref(), at));
        told
    }

    fn of(&self, id: &str) -> Option<&Run> {
        self.runs.get(self.ids.get(id)?)
    }

    pub(in crate::store::memory) fn state(&self, run: &str) -> Option<Arc<str>> {
        self.of(run)?.state.clone()
    }

    pub(in crate::store::memory) fn attributes(&self, run: &str) -> Attributes {
        let attributes = self.of(run).into_iter().flat_map(|run| &run.attributes);
        attributes.map(|(key, value)| (Arc::clone(key), Arc::clone(value))).collect()
    }

    pub(in crate::store::memory) fn find(&self, attributes: &[(String, String)], limit: usize) -> Vec<RunRow> {
        let has_all = |run: &&Run| {
            attributes.iter().all(|(key, value)| run.attributes.get(&**key).is_some_and(|found| **found == **value))
        };
        self.runs.values().rev().filter(has_all).take(limit).map(Run::view).collect()
    }

    pub(in crate::store::memory) fn notices(&self, limit: usize) -> Vec<RunRow> {
        self.notices.iter().take(limit).filter_map(|key| self.runs.get(key)).map(Run::view).collect()
    }

    pub(in crate::store::memory) fn children(&self, run: &str) -> Vec<Arc<str>> {
        self.of(run).map(|run| run.children.clone()).unwrap_or_default()
    }
}

impl Run {
    fn set(&mut self, effects: &Effects) {
        if let Some(state) = &effects.state {
            self.state = Some(Arc::clone(state));
        }
        for (key, value) in &effects.attributes {
            match value {
                Some(value) => self.attributes.insert(Arc::clone(key), Arc::clone(value)),
                None => self.attributes.remove(key),
            };
        }
    }
}
