//! The effects of turns beside their runs' journals and rows.

use std::sync::Arc;

use super::super::rows::State;
use super::super::run::{Run, Watcher};
use crate::store::{
    About, Attributes, Child, Continuation, CreateAnswer, Effects, JournalRow, Message, NextGeneration, Outgoing,
    RowChange, RunKey, RunRow, Watch,
};

impl State {
    pub(super) fn affect(&mut self, run: RunKey, effects: Option<&Effects>) {
        let Some(effects) = effects else { return };
        self.close(run, &effects.closes);
        self.open(run, &effects.opens);
        effects.children.iter().for_each(|child| self.start_child(run, child));
        effects.watches.iter().for_each(|watch| self.watch(run, watch));
        effects.unwatches.iter().for_each(|(watched, op)| self.unwatch(run, watched, *op));
        effects.messages.iter().for_each(|message| self.send(message));
        if let Some(run) = self.runs.get_mut(&run) {
            run.set(effects);
        }
        if let Some((status, at)) = effects.notify {
            self.note(run, status, at);
        }
        if let Some(continuation) = &effects.continuation {
            self.continue_as_new(run, continuation);
        }
    }

    fn continue_as_new(&mut self, run: RunKey, continuation: &Continuation) {
        self.hand_on(run, continuation);
        self.edit(run, |run, messages| {
            run.row.generation += 1;
            run.row.continuations += 1;
            run.row.fence.owner = 0;
            run.recovered_at = None;
            if let Some(required) = continuation.binding.change() {
                run.row.required_deployment = required.cloned();
            }
            run.receive(messages, &continuation.start, None);
        });
    }

    fn start_child(&mut self, parent: RunKey, child: &Child) {
        let existed = self.ids.contains_key(&child.new.id);
        let answer = match self.create(&child.new) {
            CreateAnswer::Created(key) if !existed => {
                self.adopt(parent, key, child.op);
                child.confirmation.as_ref()
            }
            answer if child.takes(&answer, |there| self.is_parent(parent, there)) => {
                child.watch().iter().for_each(|watch| self.watch(parent, watch));
                child.confirmation.as_ref()
            }
            _ => Some(&child.refusal),
        };
        if let Some(answer) = answer {
            self.edit(parent, |run, messages| run.receive(messages, answer, None));
        }
    }

    /// Whether a run is a child of another one.
    fn is_parent(&self, parent: RunKey, child: &RunRow) -> bool {
        self.runs.get(&parent).is_some_and(|run| child.parent.as_ref() == Some(&run.row.id))
    }

    fn adopt(&mut self, parent: RunKey, key: RunKey, op: Option<u64>) {
        let Some(run) = self.runs.get(&parent) else { return };
        let (id, generation) = (Arc::clone(&run.row.id), run.row.generation);
        self.children.entry(Arc::clone(&id)).or_default().insert(key);
        if let Some(started) = self.runs.get_mut(&key) {
            started.row.parent = Some(id);
            started.watchers.extend(op.map(|op| Watcher { run: parent, generation, op }));
        }
    }
    fn watch(&mut self, run: RunKey, watch: &Watch) {
        let Some(generation) = self.runs.get(&run).map(|run| run.row.generation) else { return };
        let watcher = Watcher { run, generation, op: watch.op };
        let watched = self.ids.get(&watch.run).copied().and_then(|key| self.runs.get_mut(&key));
        match watched.filter(|watched| watch.token.is_none_or(|token| watched.token == token)) {
            None => {
                self.edit(run, |run, messages| run.receive(messages, &watch.refusal, None));
            }
            Some(watched) if watched.row.status.is_terminal() => {
                let last = watched.last().cloned();
                self.send_end(watcher, last.as_ref(), watch.refusal.arrived_at);
            }
            Some(watched) => watched.watchers.push(watcher),
        }
    }

    fn unwatch(&mut self, run: RunKey, watched: &str, op: u64) {
        let Some(generation) = self.runs.get(&run).map(|run| run.row.generation) else { return };
        if let Some(watched) = self.ids.get(watched).copied().and_then(|key| self.runs.get_mut(&key)) {
            watched.watchers.retain(|watcher| (watcher.run, watcher.generation, watcher.op) != (run, generation, op));
        }
    }

    fn send(&mut self, message: &Outgoing) {
        let meant = |run: &&Run| message.token.is_none_or(|token| run.token == token);
        if self.of(&message.run).filter(meant).is_some_and(|run| !run.row.status.is_terminal()) {
            self.send_message(&message.run, &message.message, message.unstick);
        }
    }

    /// Sends an operation the end of the run that it waits for.
    fn send_end(&mut self, watcher: Watcher, last: Option<&JournalRow>, at: u64) {
        let Some(last) = last else { return };
        let (format, checksum, body) = (last.format, last.checksum, Arc::clone(&last.body));
        self.receive_end(watcher, &Message { dedupe: None, arrived_at: at, format, checksum, body });
    }

    /// Puts a message about the end of a run into the inbox of a run that waits for it.
    pub(super) fn receive_end(&mut self, watcher: Watcher, message: &Message) {
        self.edit(watcher.run, |run, messages| {
            if run.row.generation == watcher.generation && !run.row.status.is_terminal() {
                run.receive(messages, message, Some(About::Ended(watcher.op)));
            }
        });
    }

    /// If the run has ended: ends its tokens and notifies its watchers. Returns whether it has any.
    pub(super) fn end(&mut self, run: RunKey, change: Option<&RowChange>) -> bool {
        let Some(change) = change.filter(|change| change.status.is_terminal()) else { return false };
        self.end_tokens(run);
        self.end_deliveries(run, change.completed_at.unwrap_or_default());
        let Some(ended) = self.runs.get_mut(&run) else { return false };
        let (watchers, last) = (std::mem::take(&mut ended.watchers), ended.last().cloned());
        let at = change.completed_at.unwrap_or_default();
        let awaited = !watchers.is_empty();
        watchers.into_iter().for_each(|watcher| self.send_end(watcher, last.as_ref(), at));
        awaited
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

    pub(in crate::store::memory) fn children(&self, run: &str) -> Vec<Arc<str>> {
        let children = self.children.get(run).into_iter().flatten().filter_map(|child| self.runs.get(child));
        children.map(|child| Arc::clone(&child.row.id)).collect()
    }
}

impl Run {
    fn set(&mut self, effects: &Effects) {
        if let Some(state) = &effects.state {
            self.state = Some(Arc::clone(state));
        }
        self.set_attributes(&effects.attributes);
    }

    /// Sets the state and the attributes of a run that is retried.
    pub(super) fn set_again(&mut self, next: &NextGeneration) {
        self.state.clone_from(&next.state);
        self.set_attributes(&next.attributes);
    }

    fn set_attributes(&mut self, attributes: &[(Arc<str>, Option<Arc<str>>)]) {
        for (key, value) in attributes {
            match value {
                Some(value) => self.attributes.insert(Arc::clone(key), Arc::clone(value)),
                None => self.attributes.remove(key),
            };
        }
    }
}
