//! A run of the store, with its journal and its inbox.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::Status;
use crate::store::{
    About, DEAD, Fence, InboxRow, JournalRow, Message, NewRun, RowChange, RunKey, RunRow, Turn, TurnAnswer,
};

/// A token and the key of a delivery to it.
pub type Name = (Arc<str>, Arc<str>);

/// The messages of all inboxes, by their sequences.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    pub last: u64,
    pub runs: BTreeMap<u64, RunKey>,
}

#[derive(Clone, Debug)]
pub struct Run {
    pub row: RunRow,
    pub token: u128,
    pub journals: BTreeMap<u64, Vec<JournalRow>>,
    pub inbox: BTreeMap<u64, InboxRow>,
    /// When the dedupe key of each message was recorded; `None` if the key lasts.
    pub dedupe: HashMap<String, Option<u64>>,
    /// The deliveries that the run has received.
    pub delivered: Vec<Name>,
    /// The length of the journal of this generation when `recoveries` was last incremented.
    pub recovered_at: Option<usize>,
    /// The operations that wait for the end of this run.
    pub watchers: Vec<Watcher>,
    pub state: Option<Arc<str>>,
    pub attributes: BTreeMap<Arc<str>, Arc<str>>,
}

/// An operation that waits for the end of a run.
#[derive(Clone, Copy, Debug)]
pub struct Watcher {
    pub run: RunKey,
    pub generation: u64,
    pub op: u64,
}

impl Run {
    pub fn new(key: RunKey, new: &NewRun) -> Self {
        let row = RunRow {
            key,
            id: Arc::clone(&new.id),
            workflow: Arc::clone(&new.workflow),
            fingerprint: Arc::clone(&new.fingerprint),
            args_digest: new.args_digest,
            parent: None,
            depth: new.depth,
            generation: 0,
            status: Status::Pending,
            fence: Fence { owner: 0, epoch: 0 },
            wake_at: Some(0),
            inbox_seq: 0,
            recoveries: 0,
            created_at: new.created_at,
            started_at: None,
            completed_at: None,
            stuck: None,
            error: None,
            refused_by: None,
            required_deployment: new.required_deployment.clone(),
            first_generation: 0,
            first_event: 0,
            continuations: 0,
        };
        Run {
            row,
            token: new.token,
            journals: BTreeMap::new(),
            inbox: BTreeMap::new(),
            dedupe: HashMap::new(),
            delivered: Vec::new(),
            recovered_at: None,
            watchers: Vec::new(),
            state: None,
            attributes: BTreeMap::new(),
        }
    }

    pub fn length(&self) -> usize {
        self.journals.get(&self.row.generation).map_or(0, Vec::len)
    }

    pub fn recoveries(&self) -> u32 {
        if self.recovered_at == Some(self.length()) { self.row.recoveries } else { 0 }
    }

    pub fn view(&self) -> RunRow {
        RunRow { recoveries: self.recoveries(), ..self.row.clone() }
    }

    pub fn claimable(&self) -> Option<(u64, RunKey)> {
        let held = ![0, DEAD].contains(&self.row.fence.owner);
        self.row.wake_at.filter(|_| !held).map(|wake_at| (wake_at, self.row.key))
    }

    pub fn change(&mut self, change: &RowChange) {
        self.row.status = change.status;
        self.row.wake_at = change.wake_at;
        self.row.started_at = self.row.started_at.or(change.started_at);
        self.row.completed_at = self.row.completed_at.or(change.completed_at);
        self.row.stuck.clone_from(&change.stuck);
        self.row.error.clone_from(&change.error);
        self.row.refused_by.clone_from(&change.refused_by);
        if change.is_released() {
            self.row.fence.owner = 0;
        }
    }

    /// Puts a message into the inbox; returns whether it is new.
    pub fn put(&mut self, messages: &mut Messages, message: &Message, about: Option<About>) -> bool {
        if let Some(dedupe) = &message.dedupe {
            if self.dedupe.contains_key(&dedupe.key) {
                return false;
            }
            self.dedupe.insert(dedupe.key.clone(), (!dedupe.lasts).then_some(message.arrived_at));
        }
        messages.last += 1;
        messages.runs.insert(messages.last, self.row.key);
        let row = InboxRow {
            sequence: messages.last,
            arrived_at: message.arrived_at,
            format: message.format,
            checksum: message.checksum,
            body: Arc::clone(&message.body),
            unread: false,
            generation: self.row.generation,
            about,
        };
        self.inbox.insert(messages.last, row);
        true
    }

    /// Puts a message into the inbox, if it is new, and makes the run due.
    pub fn receive(&mut self, messages: &mut Messages, message: &Message, about: Option<About>) {
        if self.put(messages, message, about) {
            self.row.inbox_seq += 1;
            self.row.wake_at = self.row.wake_at.map(|_| 0);
        }
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.row.status, Status::Failed | Status::Cancelled)
    }

    pub fn last(&self) -> Option<&JournalRow> {
        self.journals.get(&self.row.generation)?.last()
    }

    pub fn unstick(&mut self) {
        self.row.status = Status::Running;
        self.row.wake_at = Some(0);
        self.row.stuck = None;
        self.row.fence.owner = 0;
        self.recovered_at = None;
    }

    /// The answer that refuses a turn; `None` if the turn can be appended.
    pub fn refuse(&self, turn: &Turn) -> Option<TurnAnswer> {
        let journal = self.journals.get(&turn.generation).map_or(&[][..], Vec::as_slice);
        if let Some(row) = &turn.row {
            let there = usize::try_from(row.index).ok().and_then(|index| journal.get(index));
            if let Some(there) = there {
                return Some(if there.turn == row.turn { TurnAnswer::Committed } else { TurnAnswer::Fenced });
            }
            if row.index != journal.len() as u64 {
                return Some(TurnAnswer::Fenced);
            }
        }
        let ours = self.row.fence == turn.fence && self.row.generation == turn.generation;
        (!ours).then_some(TurnAnswer::Fenced)
    }
}

/// Whether callers that wait for the run must learn of the status.
pub fn ends(status: Status) -> bool {
    status.is_terminal() || status == Status::Stuck
}
