//! Streams: output that a run writes while it is in progress.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec;
use crate::durable::Durable;
use crate::engine::{AttemptWriter, attempt_writer};
use crate::error::{Code, Error, Result};
use crate::limits::CHUNK_BYTES_MAX;
use crate::names;
use crate::replay::{self, Shared, Unawaited};

/// Writes to a stream of the run that this code is part of: chunks in order, which any process can read with
/// [`Run::stream`](crate::Run::stream) while the run is in progress and after it has ended.
///
/// In a step, a write is durable once awaiting it has returned: a step that awaits each write is never ahead of the
/// store. A write belongs to the attempt. Chunks of an attempt that fails, or that a crash interrupts, stay in the
/// stream, followed by those of the next attempt; [`Chunk`](crate::Chunk) distinguishes them. A step that is called in
/// a step writes as the outer one. A writer can be moved into a task that the step has spawned, and can write until the
/// attempt ends.
///
/// In a workflow, a write is ready at once. It is stored with the turn that it is part of, so exactly once, and a
/// replay does not write it again. If a step has closed the stream, the write is discarded.
///
/// The first chunk creates the stream. Its name has at most 512 bytes, without control characters, and is local to the run.
///
/// ```
/// # use futures_util::TryStreamExt;
/// # use workflow_runtime::{Engine, Result, step, workflow, writer};
/// #[step]
/// async fn count(to: u32) -> Result<()> {
///     let numbers = writer("numbers");
///     for number in 0..to {
///         numbers.write(&number).await?;
///     }
///     numbers.close().await
/// }
///
/// #[workflow]
/// async fn counts(to: u32) -> Result<()> {
///     count(to).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(counts, 3).await?;
/// let numbers: Vec<u32> = run.stream::<u32>("numbers").map_ok(|chunk| chunk.value).try_collect().await?;
/// assert_eq!(numbers, [0, 1, 2]);
/// # Ok(())
/// # }
/// ```
pub fn writer<T>(stream: impl Into<String>) -> Writer<T>
where
    T: Serialize + ?Sized,
{
    let stream = stream.into();
    Writer::to(names::check_own("the name of a stream", &stream).map(|()| Arc::from(stream)))
}

/// Writes chunks to a stream: see [`writer`].
#[must_use = "a writer writes nothing by itself: call `.write(&value).await`"]
pub struct Writer<T: ?Sized> {
    name: Result<Arc<str>>,
    /// The attempt in which the writer was made: tasks that the attempt spawns are part of it, but cannot look it up.
    attempt: Option<AttemptWriter>,
    value: PhantomData<fn(&T)>,
}

impl<T: Serialize + ?Sized> Writer<T> {
    fn to(name: Result<Arc<str>>) -> Self {
        Writer { name, attempt: attempt_writer(), value: PhantomData }
    }

    /// Writes to a stream whose name the engine generated.
    #[cfg(feature = "http")]
    pub(crate) fn ours(stream: String) -> Self {
        Self::to(Ok(stream.into()))
    }

    /// Appends a chunk. In a step, `Ok` means that the chunk is stored, and that the
    /// [output writer](crate::Start::output_writer) of the run, if there is one in this process, has handled it, with or
    /// without success. A write whose chunk is stored is never an error, and the chunk is never written again.
    ///
    /// If the future is dropped before it has returned, the chunk may or may not have been written.
    ///
    /// # Errors
    ///
    /// [`Code::StreamClosed`] if the stream was closed or the run has ended, [`Code::AttemptOver`] if the attempt that
    /// writes was abandoned or another engine now owns its run, [`Code::OutsideRun`] outside any run,
    /// [`Code::InvalidName`], [`Code::Payload`] if the value does not survive JSON, [`Code::PayloadTooLarge`] if it takes
    /// more than a megabyte, [`Code::Limit`] if the stream has ten million chunks. While the store is unavailable, a step
    /// waits, and the chunk is sent again; only if the engine is shut down meanwhile is it [`Code::Store`], or
    /// [`Code::InDoubt`] if it is unknown whether the chunk was written.
    #[track_caller]
    pub fn write(&self, value: &T) -> WriteChunk {
        let encoded = codec::encode("the chunk", value).and_then(|value| match value.as_str().len() {
            ..=CHUNK_BYTES_MAX => Ok(value),
            bytes => Err(Error::coded(Code::PayloadTooLarge, "the chunk of a stream is too large")
                .expected(format!("at most {CHUNK_BYTES_MAX} bytes as JSON"))
                .found(format!("{bytes} bytes"))
                .help("write smaller chunks, or the address of the data instead of the data")),
        });
        match encoded {
            Ok(value) => self.begin(Some(value), Location::caller()),
            Err(error) => WriteChunk(State::Refused(error)),
        }
    }

    /// Closes the stream: nothing more can be written, and readers reach its end. Closing a closed stream is an error
    /// like a write to it. If the attempt that closed a stream fails, the stream is open again for the next attempt, but not
    /// for readers that have already reached its end.
    ///
    /// # Errors
    ///
    /// As for [`write`](Writer::write).
    #[track_caller]
    pub fn close(&self) -> WriteChunk {
        self.begin(None, Location::caller())
    }

    fn begin(&self, value: Option<codec::Payload>, site: &'static Location<'static>) -> WriteChunk {
        let stream = match &self.name {
            Ok(name) => name.clone(),
            Err(error) => return WriteChunk(State::Refused(error.clone())),
        };
        let chunk = replay::Chunk { stream, value };
        if let Some(run) = replay::current() {
            return WriteChunk(State::Workflow(run, chunk, site, Unawaited::new(site)));
        }
        match attempt_writer().or_else(|| self.attempt.clone()) {
            Some(attempt) => WriteChunk(State::Step(Box::pin(attempt.write(chunk)))),
            None => WriteChunk(State::Refused(
                Error::coded(Code::OutsideRun, "a stream was written outside a run")
                    .operation(format!("at {site}"))
                    .help("write in a `#[workflow]` or a `#[step]` that a run executes; make the writer before a task is spawned"),
            )),
        }
    }
}

impl<T: ?Sized> Clone for Writer<T> {
    fn clone(&self) -> Self {
        Writer { name: self.name.clone(), attempt: self.attempt.clone(), value: PhantomData }
    }
}

/// A pending write of a chunk, executed when it is awaited: see [`Writer::write`].
#[must_use = "nothing is written unless it is awaited: add `.await`"]
pub struct WriteChunk(State);

enum State {
    Refused(Error),
    Workflow(Arc<Shared>, replay::Chunk, &'static Location<'static>, Unawaited),
    Step(BoxFuture<'static, Result<()>>),
}

impl Future for WriteChunk {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.clone())),
            State::Workflow(run, write, site, unawaited) => {
                unawaited.disarm();
                run.write(write, site)
            }
            State::Step(write) => write.as_mut().poll(context),
        }
    }
}

impl Durable for WriteChunk {
    fn hand_over(&mut self) {
        if let State::Workflow(_, _, _, unawaited) = &mut self.0 {
            unawaited.disarm();
        }
    }
}
