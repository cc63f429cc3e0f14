//! Output functions: they receive what the steps of a run write, in the process that has started the run.
//!
//! Each stream of a run has a pump: a task that runs while there are chunks to pass on. It reads the
//! stream from the first chunk that the function has not received, and calls the function with one chunk
//! after the other. So a function receives a stream in order, a slow stream delays no other stream, and
//! user code runs under no lock, and in no attempt that could be aborted in the middle of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::Either;
use tokio::sync::oneshot;

use super::inner::Inner;
use super::parts::outputs::{Output, WritingAttempt};
use super::scope::{AttemptWriter, taken};
use super::wait::{Awaited, Look, Seen};
use crate::error::{Code, Error, Result};
use crate::limits::{CHUNK_PAGE_ROWS, TURN_RETRY_INTERVAL};
use crate::model::OutputChunk;
use crate::panics::panic_text;
use crate::store::{ChunkRow, Follow, RunKey};

impl Inner {
    /// Resolves once the function has received the chunks of a stream that are stored by now, or never will.
    pub(super) async fn give_output(self: &Arc<Self>, output: &Arc<Output>, run: &Arc<str>, stream: &Arc<str>) {
        // An error means that the engine has stopped.
        let _ = self.ask_for_output(output, run, stream).await;
    }

    /// Requests that the function receives the chunks of a stream that are stored by now.
    fn ask_for_output(
        self: &Arc<Self>,
        output: &Arc<Output>,
        run: &Arc<str>,
        stream: &Arc<str>,
    ) -> oneshot::Receiver<()> {
        let (given, starts) = output.ask(stream);
        if starts {
            let (output, engine, run, stream) = (output.clone(), self.clone(), run.clone(), stream.clone());
            self.runtime.spawn(async move {
                tokio::select! {
                    biased;
                    () = engine.stopped.cancelled() => {}
                    () = engine.pump(&output, &run, &stream) => {}
                }
            });
        }
        given
    }

    /// Passes the stored chunks of a stream to the function, until no request is left.
    async fn pump(&self, output: &Output, run: &Arc<str>, stream: &Arc<str>) {
        while let Some((asked, next)) = output.asked(stream) {
            // Retries for as long as the store is unavailable: a stored chunk is neither skipped nor written again.
            while let Err(error) = self.give_all(output, run, stream, next).await {
                tracing::warn!(%run, stream = &**stream, ?error, "what steps have written could not be read; trying again");
                self.environment.sleep(TURN_RETRY_INTERVAL).await;
            }
            for asks in asked {
                // The caller may no longer wait.
                let _ = asks.send(());
            }
        }
    }

    /// Passes the chunks of a stream to the function that are stored when this begins.
    async fn give_all(&self, output: &Output, run: &Arc<str>, stream: &Arc<str>, from: u64) -> Result<()> {
        let key = self.run_key(run).await?;
        let (mut next, mut end) = (from, None);
        loop {
            let page = self.store.chunks(key, stream, next, CHUNK_PAGE_ROWS).await?;
            let end = *end.get_or_insert(page.length);
            if page.rows.is_empty() || next >= end {
                return Ok(());
            }
            for row in page.rows {
                next = row.index + 1;
                self.give(output, run, stream, row).await;
            }
        }
    }

    /// Passes a chunk to the function once. An error of the function does not affect the step that wrote the chunk.
    async fn give(&self, output: &Output, run: &Arc<str>, stream: &Arc<str>, row: ChunkRow) {
        let (attempt, is_own) = output.passes(stream, row.index, row.id);
        let Some(by) = row.writer.filter(|_| !is_own) else { return };
        let chunk = serde_json::from_str(&row.value).map(|value| OutputChunk {
            stream: stream.to_string(),
            index: row.index,
            value,
            step: by.step.to_string(),
            attempt: by.attempt,
        });
        let taken = match chunk {
            Ok(chunk) => self.call_output(output, chunk, attempt).await,
            Err(error) => Err(Error::coded(Code::Damaged, "a chunk is no JSON").because(error)),
        };
        if let Err(error) = taken {
            tracing::error!(
                %run, stream = &**stream, index = row.index, ?error,
                "the output writer has failed for a chunk, which is stored; it is not given it again"
            );
        }
    }

    async fn call_output(&self, output: &Output, chunk: OutputChunk, attempt: Option<WritingAttempt>) -> Result<()> {
        // The user's closure may panic before it returns a future.
        let writer = output.writer.clone();
        let taking = async move { writer(chunk).await };
        let taking = match attempt {
            Some(attempt) => {
                let by = WritingAttempt { takes: true, ..attempt };
                Either::Left(taken(AttemptWriter { engine: self.users(), by }, taking))
            }
            None => Either::Right(taking),
        };
        AssertUnwindSafe(taking).catch_unwind().await.unwrap_or_else(|panic| {
            Err(Error::coded(Code::Panic, format!("the output writer panicked: {}", panic_text(&*panic))))
        })
    }

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
            drop(self.ask_for_output(output, run, &stream));
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

    fn is_written_elsewhere(&self, _: &Inner) -> bool {
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
