//! Streams: ordered chunks, and the outcome of the attempts that wrote them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::super::rows::{Attempt, Chunk, Known, Settled, State, Stream, Streams, Writer};
use super::super::run::Run;
use crate::limits::CHUNK_PAGE_BYTES;
use crate::store::{AppendChunkAnswer, ChunkPage, ChunkRow, Execution, NewChunk, RunKey, Turn};

impl Attempt {
    fn of(writer: &Writer) -> Self {
        let Execution { generation, op, attempt, epoch, .. } = writer.execution;
        Attempt { run: writer.run, generation, op, attempt, epoch }
    }
}

impl Streams {
    fn find(&self, run: RunKey, name: &str) -> Option<&Stream> {
        self.streams.get(&run)?.iter().find(|stream| *stream.name == *name)
    }

    fn discarded(&self, runs: &BTreeMap<RunKey, Run>, writer: &Writer) -> bool {
        let execution = &writer.execution;
        let over = |run: &Run| {
            execution.epoch != run.row.fence.epoch
                || execution.generation != run.row.generation
                || run.row.status.is_terminal()
        };
        match self.attempts.get(&Attempt::of(writer)).map(|known| known.settled) {
            Some(Settled::Succeeded) => false,
            Some(Settled::Failed) => true,
            Some(Settled::NotYet) | None => runs.get(&writer.run).is_none_or(over),
        }
    }

    /// Removes the streams of a run. The record of an attempt is removed with the last stream that it has written to.
    pub(super) fn remove(&mut self, run: RunKey) {
        self.streams.remove(&run);
        self.attempts.retain(|_, known| !known.targets.remove(&run) || !known.targets.is_empty());
    }

    /// Whether the stream accepts no more chunks.
    fn is_closed(&self, runs: &BTreeMap<RunKey, Run>, stream: &Stream) -> bool {
        match &stream.closed {
            None => false,
            Some(None) => true,
            Some(Some(closer)) => !self.discarded(runs, closer),
        }
    }

    fn append(&mut self, run: RunKey, chunk: &NewChunk, writer: Option<Writer>) {
        let streams = self.streams.entry(run).or_default();
        let position = streams.iter().position(|stream| stream.name == chunk.stream).unwrap_or_else(|| {
            let name = Arc::clone(&chunk.stream);
            streams.push(Stream { name, chunks: Vec::new(), ids: HashSet::new(), closed: None });
            streams.len() - 1
        });
        let Some(stream) = streams.get_mut(position) else { return };
        match &chunk.value {
            None => stream.closed = Some(writer),
            Some(value) if stream.ids.insert(chunk.id) => {
                stream.chunks.push(Chunk { id: chunk.id, value: Arc::clone(value), writer });
            }
            Some(_) => {}
        }
    }
}

impl State {
    /// Appends a chunk of a step.
    pub(super) fn chunk(
        &mut self,
        writer: &Writer,
        owner: u64,
        into: Option<&str>,
        chunk: &NewChunk,
        most: u64,
    ) -> AppendChunkAnswer {
        let Some(run) = self.runs.get(&writer.run) else { return AppendChunkAnswer::Fenced };
        let target = into.map_or(Some(writer.run), |into| self.ids.get(into).copied());
        let Some(target) = target.and_then(|target| self.runs.get(&target)) else { return AppendChunkAnswer::Fenced };
        let key = target.row.key;
        let stream = self.streams.find(key, &chunk.stream);
        if let Some(stream) = stream {
            let closed_by_it = stream.closed.as_ref().is_some_and(|closer| closer.as_ref() == Some(writer));
            if stream.ids.contains(&chunk.id) || (chunk.value.is_none() && closed_by_it) {
                return AppendChunkAnswer::Committed;
            }
        }
        if run.row.status.is_terminal() || target.row.status.is_terminal() {
            return AppendChunkAnswer::Finished;
        }
        let fence = (run.row.fence.owner, run.row.fence.epoch, run.row.generation);
        let (attempt, execution) = (Attempt::of(writer), &writer.execution);
        let settled = self.streams.attempts.get(&attempt).is_some_and(|known| known.settled != Settled::NotYet);
        if fence != (owner, execution.epoch, execution.generation) || settled {
            return AppendChunkAnswer::Fenced;
        }
        if let Some(stream) = stream {
            if self.streams.is_closed(&self.runs, stream) {
                return AppendChunkAnswer::Closed;
            }
            if chunk.value.is_some() && stream.chunks.len() as u64 >= most {
                return AppendChunkAnswer::Full;
            }
        }
        let unsettled = || Known { settled: Settled::NotYet, targets: BTreeSet::new() };
        self.streams.attempts.entry(attempt).or_insert_with(unsettled).targets.insert(key);
        self.streams.append(key, chunk, Some(writer.clone()));
        AppendChunkAnswer::Committed
    }

    /// Appends the chunks of a workflow.
    pub(super) fn write(&mut self, key: RunKey, chunks: &[NewChunk]) {
        for chunk in chunks {
            let stream = self.streams.find(key, &chunk.stream);
            if !stream.is_some_and(|stream| self.streams.is_closed(&self.runs, stream)) {
                self.streams.append(key, chunk, None);
            }
        }
    }

    pub(super) fn settle(&mut self, turn: &Turn) {
        for settle in &turn.settles {
            let (op, attempt) = (settle.op, settle.attempt);
            let attempt = Attempt { run: turn.run, generation: turn.generation, op, attempt, epoch: turn.fence.epoch };
            if let Some(Known { settled: settled @ Settled::NotYet, .. }) = self.streams.attempts.get_mut(&attempt) {
                *settled = if settle.succeeded { Settled::Succeeded } else { Settled::Failed };
            }
        }
    }

    pub(in crate::store::memory) fn chunks(&self, key: RunKey, name: &str, from: u64, limit: usize) -> ChunkPage {
        let Some(run) = self.runs.get(&key) else {
            return ChunkPage { gone: true, ..ChunkPage::default() };
        };
        let over = run.row.status.is_terminal();
        let Some(stream) = self.streams.find(key, name) else {
            return ChunkPage { ended: over, ..ChunkPage::default() };
        };
        let mut page = ChunkPage {
            rows: Vec::new(),
            length: stream.chunks.len() as u64,
            ended: over || self.streams.is_closed(&self.runs, stream),
            gone: false,
        };
        let mut bytes = 0;
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        for (chunk, index) in stream.chunks.iter().skip(skipped).zip(from..).take(limit) {
            bytes += chunk.value.len();
            if bytes > CHUNK_PAGE_BYTES && !page.rows.is_empty() {
                break;
            }
            page.rows.push(ChunkRow {
                index,
                id: chunk.id,
                value: Arc::clone(&chunk.value),
                writer: chunk.writer.as_ref().map(|writer| writer.execution.clone()),
                discarded: chunk.writer.as_ref().is_some_and(|writer| self.streams.discarded(&self.runs, writer)),
            });
        }
        page
    }

    pub(in crate::store::memory) fn streams(&self, run: RunKey) -> Vec<Arc<str>> {
        let streams = self.streams.streams.get(&run).map_or(&[][..], Vec::as_slice);
        streams.iter().map(|stream| Arc::clone(&stream.name)).collect()
    }
}
