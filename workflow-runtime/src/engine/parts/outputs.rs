//! The output functions of runs, and how far each has received the streams of its run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::active_run::ActiveRun;
use super::life::Life;
use crate::model::OutputWriter;

/// An attempt that writes to streams.
#[derive(Clone)]
pub struct WritingAttempt {
    pub live: Arc<ActiveRun>,
    pub life: Arc<Life>,
    /// The run whose streams it writes to, if that is another run.
    pub into: Option<Arc<str>>,
    pub op: u64,
    pub attempt: u32,
    pub step: &'static str,
    /// Whether the run's output function writes, for the attempt whose chunk it has received.
    pub takes: bool,
}

/// The output functions, by the ids of their runs.
#[derive(Default)]
pub struct Outputs(Mutex<HashMap<Arc<str>, Arc<Output>>>);

/// The output function of one run, and its progress.
pub struct Output {
    pub writer: OutputWriter,
    pumps: Mutex<HashMap<Arc<str>, Pump>>,
}

/// The progress of the function in one stream.
#[derive(Default)]
struct Pump {
    /// The first chunk that the function has not received.
    next: u64,
    /// Whether the task of the pump runs.
    runs: bool,
    /// Notified once the function has received the chunks that were stored at the request.
    asked: Vec<oneshot::Sender<()>>,
    /// By chunk: the attempt of this process that writes it, for chunks that the function writes in response.
    attempts: BTreeMap<u128, WritingAttempt>,
    /// Chunks that the function itself has written; it does not receive them.
    own: BTreeSet<u128>,
}

impl Outputs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Output>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, run: &str) -> Option<Arc<Output>> {
        self.lock().get(run).cloned()
    }

    /// Adds the function of a run before its start, unless another start of the same id has added one.
    pub fn add(&self, run: &Arc<str>, output: &Arc<Output>) {
        self.lock().entry(run.clone()).or_insert_with(|| output.clone());
    }

    /// Replaces any other function by that of the start that has succeeded.
    pub fn keep(&self, run: &Arc<str>, output: Arc<Output>) {
        // Dropped outside the lock: it is user code.
        let _other = self.lock().insert(run.clone(), output);
    }

    pub fn remove(&self, run: &str, output: &Arc<Output>) {
        let _gone = {
            let mut outputs = self.lock();
            match outputs.get(run) {
                Some(there) if Arc::ptr_eq(there, output) => outputs.remove(run),
                _ => None,
            }
        };
    }
}

/// A chunk that is being written: removed again unless it is stored.
pub struct Writing<'a> {
    output: &'a Output,
    stream: &'a Arc<str>,
    chunk: Option<u128>,
}

impl Writing<'_> {
    pub fn stored(mut self) {
        self.chunk = None;
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let Some(chunk) = self.chunk else { return };
        let mut pumps = self.output.pumps();
        let pump = pumps.get_mut(self.stream);
        let _gone = pump.and_then(|pump| {
            pump.own.remove(&chunk);
            pump.attempts.remove(&chunk)
        });
    }
}

impl Output {
    pub fn new(writer: OutputWriter) -> Self {
        Output { writer, pumps: Mutex::default() }
    }

    fn pumps(&self) -> MutexGuard<'_, HashMap<Arc<str>, Pump>> {
        self.pumps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the writer of a chunk, before the chunk is stored.
    pub fn writes<'a>(&'a self, stream: &'a Arc<str>, chunk: u128, by: &WritingAttempt) -> Writing<'a> {
        let mut pumps = self.pumps();
        let pump = pumps.entry(stream.clone()).or_default();
        match by.takes {
            true => drop(pump.own.insert(chunk)),
            false => drop(pump.attempts.insert(chunk, by.clone())),
        }
        Writing { output: self, stream, chunk: Some(chunk) }
    }

    /// Requests that the function receives the chunks of a stream that are stored by now. Returns the notification, and
    /// whether the caller has to start the pump of the stream.
    pub fn ask(&self, stream: &Arc<str>) -> (oneshot::Receiver<()>, bool) {
        let (asks, given) = oneshot::channel();
        let mut pumps = self.pumps();
        let pump = pumps.entry(stream.clone()).or_default();
        pump.asked.push(asks);
        (given, !std::mem::replace(&mut pump.runs, true))
    }

    /// The requests that the pump of a stream has to fulfil, and the first chunk to pass on. `None` ends the pump.
    pub fn asked(&self, stream: &Arc<str>) -> Option<(Vec<oneshot::Sender<()>>, u64)> {
        let mut pumps = self.pumps();
        let pump = pumps.entry(stream.clone()).or_default();
        if pump.asked.is_empty() {
            pump.runs = false;
            return None;
        }
        Some((std::mem::take(&mut pump.asked), pump.next))
    }

    /// Marks a chunk as passed on. Returns the attempt of this process that has written it, and whether the function itself has.
    pub fn passes(&self, stream: &Arc<str>, index: u64, chunk: u128) -> (Option<WritingAttempt>, bool) {
        let mut pumps = self.pumps();
        let pump = pumps.entry(stream.clone()).or_default();
        pump.next = index + 1;
        (pump.attempts.remove(&chunk), pump.own.remove(&chunk))
    }
}
