//! Streams: writes by attempts, and reads of chunks.

use std::sync::Arc;

use super::inner::Inner;
use super::parts::missing::not_found;
use super::parts::outputs::WritingAttempt;
use super::parts::resend::{self, GivenUp, Sent};
use super::parts::waiters::Done;
use super::scope::AttemptWriter;
use super::wait::{Awaited, Look, Seen};
use crate::error::{Code, Error, Result};
use crate::limits::{CHUNK_PAGE_ROWS, STREAM_CHUNKS_MAX};
use crate::registry::registry;
use crate::replay::{Chunk, closed_already, full};
use crate::store::{AppendChunk, AppendChunkAnswer, ChunkPage, Execution, Failed, Follow, NewChunk, RunKey};

impl AttemptWriter {
    /// Writes a chunk. Once this returns, the chunk is durable, and the run's output function has received it.
    pub async fn write(self, chunk: Chunk) -> Result<()> {
        let closed = || {
            Error::coded(Code::Closed, "the engine that executes this step has closed")
                .help("the next engine that executes the run attempts the step again")
        };
        let engine = self.engine.upgrade().ok_or_else(closed)?.inner.clone();
        let by = &self.by;
        let stream = chunk.stream.clone();
        let execution = Execution {
            generation: by.live.generation,
            op: by.op,
            step: by.step.into(),
            attempt: by.attempt,
            epoch: by.live.fence.epoch,
        };
        let chunk = engine.new_chunk(chunk);
        let id = chunk.value.as_ref().map(|_| chunk.id);
        let write = AppendChunk {
            run: by.live.key,
            owner: by.live.fence.owner,
            execution,
            into: by.into.clone(),
            chunk,
            most: STREAM_CHUNKS_MAX,
        };
        let run = by.into.as_ref().unwrap_or(&by.live.id);
        let (Some(id), Some(output)) = (id, engine.outputs.get(run)) else {
            return by.written(&engine, run, &stream, write).await;
        };
        let writing = output.writes(&stream, id, by);
        by.written(&engine, run, &stream, write).await?;
        writing.stored();
        // A write of the output function cannot wait for that function.
        if !by.takes {
            engine.give_output(&output, run, &stream).await;
        }
        Ok(())
    }
}

impl WritingAttempt {
    async fn written(&self, engine: &Inner, run: &Arc<str>, stream: &Arc<str>, write: AppendChunk) -> Result<()> {
        let over = || {
            Error::coded(Code::AttemptOver, "the attempt that writes to a stream is over")
                .run(run)
                .operation(format!("operation {}: step `{}`, attempt {}", self.op, self.step, self.attempt))
                .help("write before the step returns; what an abandoned attempt writes is not recorded")
        };
        // Sent until the store accepts it, like a turn: an unavailable database does not fail the step.
        let bytes = write.chunk.value.as_ref().map_or(0, |value| value.len());
        let sent = Sent { run, what: "a chunk of a stream", owner: Some(write.owner) };
        let sent = resend::until_taken(engine, sent, || async {
            let room = engine.batcher.room(bytes).await;
            // Queued before the turn that settles the attempt, or not at all.
            let queued = self.life.before_its_end(|| {
                self.live.attempt_writes(self.op, self.attempt);
                engine.batcher.send_in(room, write.clone())
            });
            match queued {
                Some(queued) => queued.await.map(Some),
                None => Ok(None),
            }
        });
        let answer = match sent.await {
            Ok(sent) => sent.answer.ok_or_else(over)?,
            Err(GivenUp::Closed(failed)) => return Err(not_written(failed).run(run)),
            Err(GivenUp::Lost(_)) => return Err(over()),
        };
        match answer {
            AppendChunkAnswer::Committed => {
                engine.waiters.wake(run, Done::Chunk);
                Ok(())
            }
            AppendChunkAnswer::Closed => Err(closed_already(run, stream)),
            AppendChunkAnswer::Finished => {
                let text = format!("the run has ended, and its stream `{stream}` with it");
                Err(Error::coded(Code::StreamClosed, text).run(run))
            }
            AppendChunkAnswer::Full => Err(full(run, stream)),
            AppendChunkAnswer::Fenced => Err(over()),
        }
    }
}

fn not_written(failed: Failed) -> Error {
    failed.explain("the chunk", "written", "read the stream to see whether it has the chunk")
}

impl Inner {
    /// Converts a chunk to its stored form.
    pub(super) fn new_chunk(&self, chunk: Chunk) -> NewChunk {
        let value = chunk.value.map(|value| Arc::from(value.as_str()));
        NewChunk { stream: chunk.stream, id: self.random.number(), value }
    }

    /// The store's key of a run.
    pub(crate) async fn run_key(&self, run: &str) -> Result<RunKey> {
        Ok(self.row(run).await?.ok_or_else(|| not_found(run))?.key)
    }

    /// The length of a stream, and whether it has ended.
    pub(crate) async fn stream_length(&self, run: &str, stream: &str) -> Result<ChunkPage> {
        let key = self.run_key(run).await?;
        self.store.chunks(key, stream, 0, 0).await.map_err(|error| error.run(run))
    }

    /// The names of a run's streams.
    pub(crate) async fn stream_names(&self, run: &str) -> Result<Vec<Arc<str>>> {
        let key = self.run_key(run).await?;
        self.store.streams(key).await.map_err(|error| error.run(run))
    }

    /// Waits for chunks of a stream from an index on; returns none if the stream ends before.
    pub(crate) async fn next_chunks(&self, run: &Arc<str>, key: RunKey, stream: &str, from: u64) -> Result<ChunkPage> {
        self.until(NextChunks { run, key, stream, from }).await
    }
}

/// Waits for chunks of a stream, or for its end.
struct NextChunks<'a> {
    run: &'a Arc<str>,
    key: RunKey,
    stream: &'a str,
    from: u64,
}

impl Awaited for NextChunks<'_> {
    type Value = ChunkPage;

    const WHAT: Follow = Follow::Chunks;
    const CLOSED: (&'static str, &'static str) = (
        "the engine was shut down before the stream had ended",
        "continue reading from the same index with another engine",
    );

    fn run(&self) -> &Arc<str> {
        self.run
    }

    /// A step of a queue writes to the streams of the run that has called it.
    fn is_written_elsewhere(&self, _: &Inner) -> bool {
        registry().has_queues()
    }

    async fn look(&mut self, engine: &Inner, _: Seen) -> Result<Look<ChunkPage>> {
        let page = engine.store.chunks(self.key, self.stream, self.from, CHUNK_PAGE_ROWS).await;
        let page = page.map_err(|error| error.run(self.run))?;
        if page.gone {
            return Err(not_found(self.run).context("the run was deleted before its stream was read to its end"));
        }
        if !page.rows.is_empty() || page.ended {
            return Ok(Look::Found(page));
        }
        // If the stream has no chunk, the run may not have been started.
        Ok(Look::Nothing { run: Some(self.key), may_vanish: page.length == 0 })
    }
}
