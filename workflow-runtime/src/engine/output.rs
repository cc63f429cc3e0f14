//! Writers that take what the steps of a run write, in the process that has started it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::Mutex;

use super::Inner;
use super::wait::{Awaited, Look, Seen};
use crate::error::{Code, Error, Result};
use crate::limits::{CHUNK_PAGE_ROWS, TURN_RETRY_INTERVAL};
use crate::output::{OutputChunk, OutputWriter};
use crate::replay::panic_text;
use crate::store::{ChunkRow, Execution, Follow, RunKey};

/// The writers, by the ids of their runs.
#[derive(Default)]
pub(super) struct Outputs(Lock<HashMap<Arc<str>, Arc<Output>>>);

/// What one writer has taken. Whoever writes a chunk or looks for those that others have written holds it meanwhile, so that
/// the writer gets them in the order of the stream.
pub(super) struct Output {
    writer: OutputWriter,
    taken: Mutex<HashMap<Arc<str>, u64>>,
}

impl Outputs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Output>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, run: &str) -> Option<Arc<Output>> {
        self.lock().get(run).cloned()
    }

    /// Adds a writer for a run that is about to be started, unless another start of the same id is at it.
    pub fn add(&self, run: &Arc<str>, output: &Arc<Output>) {
        self.lock().entry(run.clone()).or_insert_with(|| output.clone());
    }

    /// Puts the writer of the start that has succeeded in the place of any other.
    pub fn keep(&self, run: &Arc<str>, output: Arc<Output>) {
        // Dropped outside the lock: it is the user's.
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

impl Output {
    pub fn new(writer: OutputWriter) -> Self {
        Output { writer, taken: Mutex::default() }
    }

    /// Writes a chunk and gives it to the writer, with those before it that others have written.
    pub async fn write<W: Future<Output = Result<()>>>(
        &self,
        engine: &Inner,
        run: &str,
        stream: &Arc<str>,
        by: &Execution,
        write: W,
    ) -> Result<()> {
        let mut taken = self.taken.lock().await;
        write.await?;
        let key = engine.run_key(run).await?;
        let mut ours = Ok(());
        self.take(engine, key, stream, &mut taken, |row, given| {
            if row.writer.as_ref() == Some(by) {
                ours = given;
            } else if let Err(error) = given {
                not_taken(run, &error);
            }
        })
        .await?;
        ours.map_err(|error| error.context("the chunk was written, and the output writer did not take it").run(run))
    }

    /// Gives the writer what has come to a stream since.
    async fn take(
        &self,
        engine: &Inner,
        key: RunKey,
        stream: &Arc<str>,
        taken: &mut HashMap<Arc<str>, u64>,
        mut given: impl FnMut(&ChunkRow, Result<()>),
    ) -> Result<()> {
        loop {
            let next = taken.entry(stream.clone()).or_default();
            let rows = engine.store.chunks(key, stream, *next, CHUNK_PAGE_ROWS).await?.rows;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                *next = row.index + 1;
                if let Some(writer) = &row.writer {
                    let chunk = OutputChunk {
                        stream: stream.to_string(),
                        index: row.index,
                        value: serde_json::from_str(&row.value)
                            .map_err(|error| Error::coded(Code::Damaged, "a chunk is no JSON").because(error))?,
                        step: writer.step.to_string(),
                        attempt: writer.attempt,
                    };
                    let result = self.give(chunk).await;
                    given(&row, result);
                }
            }
        }
    }

    async fn give(&self, chunk: OutputChunk) -> Result<()> {
        // The user's closure may panic before it has made a future.
        let writer = self.writer.clone();
        let taking = AssertUnwindSafe(async move { writer(chunk).await }).catch_unwind();
        taking.await.unwrap_or_else(|panic| {
            Err(Error::coded(Code::Panic, format!("the output writer panicked: {}", panic_text(&*panic))))
        })
    }
}

fn not_taken(run: &str, error: &Error) {
    tracing::warn!(run, ?error, "an output writer did not take a chunk that was written in another process");
}

impl Inner {
    /// Gives the writer of a run what is written elsewhere, until the run has ended.
    pub(super) async fn tail_output(self: Arc<Self>, run: Arc<str>, key: RunKey, output: Arc<Output>) {
        while let Err(error) = self.until(WholeOutput { run: &run, key, output: &output }).await {
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

    /// Whether the run has ended.
    async fn take_output(&self, output: &Output, run: &Arc<str>, key: RunKey) -> Result<bool> {
        // Before its streams are read: nothing is written after its end.
        let ended = self.row(run).await?.is_none_or(|row| row.status.is_terminal());
        for stream in self.store.streams(key).await? {
            let mut taken = output.taken.lock().await;
            let given = |_: &ChunkRow, given: Result<()>| {
                if let Err(error) = given {
                    not_taken(run, &error);
                }
            };
            output.take(self, key, &stream, &mut taken, given).await?;
        }
        Ok(ended)
    }
}

/// Waits for the end of a run, and gives its writer what is written until then.
struct WholeOutput<'a> {
    run: &'a Arc<str>,
    key: RunKey,
    output: &'a Output,
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

    async fn look(&mut self, engine: &Inner, _: Seen) -> Result<Look<()>> {
        match engine.take_output(self.output, self.run, self.key).await {
            Ok(true) => return Ok(Look::Found(())),
            Ok(false) => {}
            Err(error) => tracing::warn!(run = &**self.run, ?error, "what steps have written could not be read"),
        }
        Ok(Look::Nothing { run: Some(self.key), may_vanish: false })
    }
}
