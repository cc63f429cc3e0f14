//! Output functions: they receive what the steps of a run write, in the process that has started the run.
//!
//! Each stream of a run has a pump: a task that runs while there are chunks to pass on. It reads the
//! stream from the first chunk that the function has not received, and calls the function with one chunk
//! after the other. So a function receives a stream in order, a slow stream delays no other stream, and
//! user code runs under no lock, and in no attempt that could be aborted in the middle of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Either;
use tokio::sync::oneshot;

use super::Inner;
use super::streams::AttemptWriter;
use super::wait::{Awaited, Look, Seen};
use crate::error::{Code, Error, Result};
use crate::limits::{CHUNK_PAGE_ROWS, TURN_RETRY_INTERVAL};
use crate::model::{OutputChunk, OutputWriter};
use crate::panics::panic_text;
use crate::replay;
use crate::store::{ChunkRow, Follow, RunKey};

/// The output functions, by the ids of their runs.
#[derive(Default)]
pub(super) struct Outputs(Mutex<HashMap<Arc<str>, Arc<Output>>>);

/// The output function of one run, and its progress.
pub(super) struct Output {
    writer: OutputWriter,
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
    attempts: BTreeMap<u128, AttemptWriter>,
    /// Chunks that the function itself has written; it does not receive them.
    own: BTreeSet<u128>,
}

tokio::task_local! {
    /// The attempt whose chunk the running function has received.
    static TAKES: AttemptWriter;
}

/// The attempt whose chunk the running function has received.
pub(super) fn taken_from() -> Option<AttemptWriter> {
    // Not in a workflow whose first turn is polled by the function that starts it.
    replay::current().is_none().then(|| TAKES.try_with(Clone::clone).ok())?
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
pub(super) struct Writing<'a> {
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
    pub fn writes<'a>(&'a self, stream: &'a Arc<str>, chunk: u128, by: &AttemptWriter) -> Writing<'a> {
        let mut pumps = self.pumps();
        let pump = pumps.entry(stream.clone()).or_default();
        match by.takes {
            true => drop(pump.own.insert(chunk)),
            false => drop(pump.attempts.insert(chunk, by.clone())),
        }
        Writing { output: self, stream, chunk: Some(chunk) }
    }

    /// Resolves once the function has received the chunks of a stream that are stored by now, or never will.
    pub async fn given(self: &Arc<Self>, engine: &Arc<Inner>, run: &Arc<str>, stream: &Arc<str>) {
        // An error means that the engine has stopped.
        let _ = self.ask(engine, run, stream).await;
    }

    /// Requests that the function receives the chunks of a stream that are stored by now.
    fn ask(self: &Arc<Self>, engine: &Arc<Inner>, run: &Arc<str>, stream: &Arc<str>) -> oneshot::Receiver<()> {
        let (asks, given) = oneshot::channel();
        let starts = {
            let mut pumps = self.pumps();
            let pump = pumps.entry(stream.clone()).or_default();
            pump.asked.push(asks);
            !std::mem::replace(&mut pump.runs, true)
        };
        if starts {
            let (output, pumped, run, stream) = (self.clone(), engine.clone(), run.clone(), stream.clone());
            engine.runtime.spawn(async move {
                tokio::select! {
                    biased;
                    () = pumped.stopped.cancelled() => {}
                    () = output.pump(&pumped, &run, &stream) => {}
                }
            });
        }
        given
    }

    /// Passes the stored chunks of a stream to the function, until no request is left.
    async fn pump(&self, engine: &Inner, run: &Arc<str>, stream: &Arc<str>) {
        loop {
            let (asked, next) = {
                let mut pumps = self.pumps();
                let pump = pumps.entry(stream.clone()).or_default();
                if pump.asked.is_empty() {
                    pump.runs = false;
                    return;
                }
                (std::mem::take(&mut pump.asked), pump.next)
            };
            // Retries for as long as the store is unavailable: a stored chunk is neither skipped nor written again.
            while let Err(error) = self.give_all(engine, run, stream, next).await {
                tracing::warn!(%run, stream = &**stream, ?error, "what steps have written could not be read; trying again");
                engine.environment.sleep(TURN_RETRY_INTERVAL).await;
            }
            for asks in asked {
                // The caller may no longer wait.
                let _ = asks.send(());
            }
        }
    }

    /// Passes the chunks of a stream to the function that are stored when this begins.
    async fn give_all(&self, engine: &Inner, run: &Arc<str>, stream: &Arc<str>, from: u64) -> Result<()> {
        let key = engine.run_key(run).await?;
        let (mut next, mut end) = (from, None);
        loop {
            let page = engine.store.chunks(key, stream, next, CHUNK_PAGE_ROWS).await?;
            let end = *end.get_or_insert(page.length);
            if page.rows.is_empty() || next >= end {
                return Ok(());
            }
            for row in page.rows {
                next = row.index + 1;
                self.give(run, stream, row).await;
            }
        }
    }

    /// Passes a chunk to the function once. An error of the function does not affect the step that wrote the chunk.
    async fn give(&self, run: &Arc<str>, stream: &Arc<str>, row: ChunkRow) {
        let (attempt, is_own) = {
            let mut pumps = self.pumps();
            let pump = pumps.entry(stream.clone()).or_default();
            pump.next = row.index + 1;
            (pump.attempts.remove(&row.id), pump.own.remove(&row.id))
        };
        let Some(by) = row.writer.filter(|_| !is_own) else { return };
        let chunk = serde_json::from_str(&row.value).map(|value| OutputChunk {
            stream: stream.to_string(),
            index: row.index,
            value,
            step: by.step.to_string(),
            attempt: by.attempt,
        });
        let taken = match chunk {
            Ok(chunk) => self.take(chunk, attempt).await,
            Err(error) => Err(Error::coded(Code::Damaged, "a chunk is no JSON").because(error)),
        };
        if let Err(error) = taken {
            tracing::error!(
                %run, stream = &**stream, index = row.index, ?error,
                "the output writer has failed for a chunk, which is stored; it is not given it again"
            );
        }
    }

    async fn take(&self, chunk: OutputChunk, attempt: Option<AttemptWriter>) -> Result<()> {
        // The user's closure may panic before it returns a future.
        let writer = self.writer.clone();
        let taking = async move { writer(chunk).await };
        let taking = match attempt {
            Some(attempt) => Either::Left(TAKES.scope(AttemptWriter { takes: true, ..attempt }, taking)),
            None => Either::Right(taking),
        };
        AssertUnwindSafe(taking).catch_unwind().await.unwrap_or_else(|panic| {
            Err(Error::coded(Code::Panic, format!("the output writer panicked: {}", panic_text(&*panic))))
        })
    }
}

impl Inner {
    /// Passes chunks that other processes write to the function of a run, until the run has ended.
    pub(super) async fn tail_output(self: Arc<Self>, run: Arc<str>, key: RunKey, output: Arc<Output>) {
        while let Err(error) = self.until(WholeOutput { engine: &self, run: &run, key, output: &output }).await {
            if self.stopped.is_cancelled() {
                break;
            }
            tracing::warn!(
                run = &*run,
                ?error,
                "what steps write in other processes cannot be waited for; trying again"
            );
            self.environment.sleep(TURN_RETRY_INTERVAL).await;
        }
        self.outputs.remove(&run, &output);
    }

    /// Starts the pumps of all streams of a run. Returns whether the run has ended.
    async fn take_output(self: &Arc<Self>, output: &Arc<Output>, run: &Arc<str>, key: RunKey) -> Result<bool> {
        // Read before the streams: no chunk is written after the end of a run.
        let ended = self.row(run).await?.is_none_or(|row| row.status.is_terminal());
        for stream in self.store.streams(key).await? {
            // Not awaited here: the pump of each stream is independent.
            drop(output.ask(self, run, &stream));
        }
        Ok(ended)
    }
}

/// Waits for the end of a run, and passes its chunks to the function until then.
struct WholeOutput<'a> {
    engine: &'a Arc<Inner>,
    run: &'a Arc<str>,
    key: RunKey,
    output: &'a Arc<Output>,
}

impl Awaited for WholeOutput<'_> {
    type Value = ();

    const WHAT: Follow = Follow::Chunks;
    const CLOSED: (&'static str, &'static str) =
        ("the engine was shut down before the run had ended", "read the rest with `run.stream(..)` on another engine");

    fn run(&self) -> &Arc<str> {
        self.run
    }

    fn comes_from_elsewhere(&self, _: &Inner) -> bool {
        true
    }

    async fn look(&mut self, _: &Inner, _: Seen) -> Result<Look<()>> {
        match self.engine.take_output(self.output, self.run, self.key).await {
            Ok(true) => return Ok(Look::Found(())),
            Ok(false) => {}
            Err(error) => tracing::warn!(run = &**self.run, ?error, "what steps have written could not be read"),
        }
        Ok(Look::Nothing { run: Some(self.key), may_vanish: false })
    }
}
