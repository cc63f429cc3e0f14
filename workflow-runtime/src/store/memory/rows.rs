//! The data of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::parked::Parked;
use super::run::{Messages, Name, Run};
use super::workers::Workers;
use crate::model::{Figure, Status};
use crate::store::{Execution, Message, RunKey, TokenLabel, TokenState};

#[derive(Clone, Debug, Default)]
pub struct State {
    /// Ordered, so that a simulation with the same seed visits the runs in the same order.
    pub runs: BTreeMap<RunKey, Run>,
    /// The last assigned key; no key is used twice.
    pub last: RunKey,
    pub ids: HashMap<Arc<str>, RunKey>,
    /// Indexed by the id of the parent.
    pub children: HashMap<Arc<str>, BTreeSet<RunKey>>,
    /// The runs that can be claimed.
    pub claimable: Parked,
    /// The engine that executes, or that executed last.
    pub executing: u64,
    /// Whether the guard of that engine exists.
    pub held: bool,
    pub messages: Messages,
    pub notices: BTreeMap<u64, Noted>,
    /// The last assigned sequence of a notice.
    pub noticed: u64,
    pub tokens: HashMap<Arc<str>, Token>,
    pub deliveries: HashMap<Name, Delivered>,
    pub streams: Streams,
    pub workers: Workers,
    /// How many runs there were, by the hour.
    pub counts: BTreeMap<(u64, Figure), u64>,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub run: Option<RunKey>,
    pub op: Option<u64>,
    pub label: TokenLabel,
    pub state: TokenState,
    /// The payloads that wait for the run to reach its operation.
    pub held: Vec<Held>,
}

#[derive(Clone, Debug)]
pub struct Held {
    pub message: Message,
    pub until: u64,
    /// The key of its delivery, if the record is kept until after the end of the run that receives it.
    pub key: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct Delivered {
    pub digest: [u8; 32],
    pub at: u64,
    pub until: u64,
    /// How long after the end of its run the record is kept.
    pub keep: u64,
    pub run: Option<RunKey>,
}

/// A notice. It can be claimed from `until` on.
#[derive(Clone, Debug)]
pub struct Noted {
    pub run: RunKey,
    pub status: Status,
    /// The engine that last claimed it; 0 if no engine has, or if the engine returned it.
    pub holder: u64,
    pub until: u64,
    pub tries: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Streams {
    /// The streams of each run, in the order of their first chunks.
    pub streams: BTreeMap<RunKey, Vec<Stream>>,
    /// The attempts that have written chunks.
    pub attempts: BTreeMap<Attempt, Known>,
}

#[derive(Clone, Debug)]
pub struct Stream {
    pub name: Arc<str>,
    pub chunks: Vec<Chunk>,
    pub ids: HashSet<u128>,
    pub closed: Option<Option<Writer>>,
}

#[derive(Clone, Debug)]
pub struct Chunk {
    pub id: u128,
    pub value: Arc<str>,
    pub writer: Option<Writer>,
}

/// An attempt that writes, possibly to a stream of another run.
#[derive(Clone, Debug, PartialEq)]
pub struct Writer {
    pub run: RunKey,
    pub execution: Execution,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    pub run: RunKey,
    pub generation: u64,
    pub op: u64,
    pub attempt: u32,
    pub epoch: u64,
}

/// The outcome of an attempt, and where it has written.
#[derive(Clone, Debug)]
pub struct Known {
    pub settled: Settled,
    /// The runs to whose streams it has written.
    pub targets: BTreeSet<RunKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    NotYet,
    Succeeded,
    Failed,
}
