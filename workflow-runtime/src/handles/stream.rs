//! Reading the streams of runs, from any process that uses their store.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryFutureExt, TryStreamExt};
use serde::de::DeserializeOwned;

use crate::engine::{self, Client};
use crate::error::{Code, Error, Result};
use crate::store::{ChunkRow, RunKey};
use crate::text::excerpt;

/// A chunk of a stream: see [`Run::stream`](crate::Run::stream).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk<T> {
    /// The index of the chunk in the stream, from 0 and without gaps.
    pub index: u64,
    /// The value that was written.
    pub value: T,
    /// The attempt that wrote it; `None` if the workflow wrote it. A workflow writes each chunk exactly once.
    pub writer: Option<ChunkWriter>,
    /// Whether the attempt that wrote it is known not to have succeeded: it failed, was
    /// abandoned, or died with its process. A later attempt may have written the same value
    /// again, at a higher index. A chunk that is read early may be marked as discarded later.
    pub discarded: bool,
}

/// The attempt of a step that wrote a [`Chunk`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkWriter {
    /// The number of the operation in its run, from 0: each call of a step has its own.
    pub operation: u64,
    /// The id of the step's definition.
    pub step: String,
    /// Counts from 1.
    pub attempt: u32,
    /// How many times an engine had claimed the run, from 1: an attempt that died with its process is executed again with
    /// the same number, under another epoch.
    pub epoch: u64,
}

/// Reads a stream of a run: see [`Run::stream`](crate::Run::stream).
///
/// This [`Stream`] yields every chunk, and waits for new ones. It ends when it has yielded every chunk and the stream is
/// closed or the run has ended, and after an error. It does not end while a run is stuck. The store keeps no state for a
/// reader: dropping it costs nothing, and another reader can continue [`from`](Reader::from) any index.
///
/// # Errors
///
/// [`Code::RunNotFound`]; [`Code::Payload`] for a chunk that is not a `T`; [`Code::Closed`] once the engine is shut down;
/// or if the store cannot be read.
#[must_use = "streams do nothing unless polled"]
pub struct Reader<T> {
    source: Source,
    from: i64,
    chunks: Option<BoxStream<'static, Result<ChunkRow>>>,
    value: PhantomData<fn() -> T>,
}

#[derive(Clone)]
struct Source {
    engine: Option<Client>,
    run: Arc<str>,
    stream: Arc<str>,
}

impl Source {
    async fn engine(&self) -> Result<Client> {
        engine::given_or_ambient(&self.engine).await
    }
}

impl<T> Reader<T> {
    pub(crate) fn new(engine: Option<Client>, run: Arc<str>, stream: String) -> Self {
        let source = Source { engine, run, stream: stream.into() };
        Reader { source, from: 0, chunks: None, value: PhantomData }
    }

    /// Where to begin: at the chunk with this index, or, if negative, counted from the end of the existing chunks (-1
    /// is the last one; a position before the first chunk is the first). The default is the first chunk.
    pub fn from(mut self, index: i64) -> Self {
        self.from = index;
        self.chunks = None;
        self
    }

    /// The index of the last chunk; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`], or if the store cannot be read.
    pub fn tail(&self) -> impl Future<Output = Result<Option<u64>>> + Send + use<T> {
        // This does not borrow the reader: its stream is `Send` but not `Sync`, so a reference to it could not be sent.
        let source = self.source.clone();
        async move {
            let engine = source.engine().await?;
            let page = engine.inner().stream_length(&source.run, &source.stream).await?;
            Ok(page.length.checked_sub(1))
        }
    }
}

/// The position of a reader.
struct Place {
    source: Source,
    engine: Client,
    run: RunKey,
    /// The index of the next chunk.
    next: u64,
}

impl Place {
    async fn find(source: Source, from: i64) -> Result<Place> {
        let engine = source.engine().await?;
        let run = engine.inner().run_key(&source.run).await?;
        let next = match u64::try_from(from) {
            Ok(from) => from,
            Err(_) => {
                let length = engine.inner().stream_length(&source.run, &source.stream).await?.length;
                length.saturating_sub(from.unsigned_abs())
            }
        };
        Ok(Place { source, engine, run, next })
    }

    /// The next chunks; `None` at the end.
    async fn page(mut self) -> Result<Option<(Vec<Result<ChunkRow>>, Place)>> {
        let Source { run, stream, .. } = &self.source;
        let rows = self.engine.inner().next_chunks(run, self.run, stream, self.next).await?.rows;
        let Some(last) = rows.last() else { return Ok(None) };
        self.next = last.index + 1;
        Ok(Some((rows.into_iter().map(Ok).collect(), self)))
    }
}

/// The chunks of a stream from an index on.
fn rows(source: Source, from: i64) -> BoxStream<'static, Result<ChunkRow>> {
    let pages = Place::find(source, from)
        .map_ok(|place| stream::try_unfold(place, Place::page).map_ok(stream::iter).try_flatten());
    pages.try_flatten_stream().boxed()
}

impl<T: DeserializeOwned> Reader<T> {
    fn chunk(&self, row: ChunkRow) -> Result<Chunk<T>> {
        let value = serde_json::from_str(&row.value).map_err(|error| {
            Error::coded(
                Code::Payload,
                format!("a chunk of a stream is stored as JSON that is no {}: {error}", std::any::type_name::<T>()),
            )
            .run(&self.source.run)
            .operation(format!("chunk {} of the stream `{}`", row.index, self.source.stream))
            .found(excerpt(&row.value))
            .help("read it as the type that was written, or as serde_json::Value")
        })?;
        let writer = row.writer.map(|writer| ChunkWriter {
            operation: writer.op,
            step: writer.step.to_string(),
            attempt: writer.attempt,
            epoch: writer.epoch,
        });
        Ok(Chunk { index: row.index, value, writer, discarded: row.discarded })
    }
}

impl<T: DeserializeOwned> Stream for Reader<T> {
    type Item = Result<Chunk<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reader = &mut *self;
        let (source, from) = (&reader.source, reader.from);
        let chunks = reader.chunks.get_or_insert_with(|| rows(source.clone(), from));
        let row = std::task::ready!(chunks.poll_next_unpin(context));
        let chunk = row.map(|row| row.and_then(|row| reader.chunk(row)));
        if matches!(chunk, Some(Err(_)) | None) {
            reader.chunks = Some(stream::empty().boxed());
        }
        Poll::Ready(chunk)
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { run, stream, .. } = &self.source;
        f.debug_struct("Reader").field("run", run).field("stream", stream).finish_non_exhaustive()
    }
}
