//! The chunks that a workflow writes to streams.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;

use super::{Phase, Shared};
use crate::codec::Payload;
use crate::error::{Code, Error};
use crate::limits::STREAM_CHUNKS_MAX;
use crate::replay::journal::Command;

/// A chunk that the workflow has written and that is not committed yet.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub stream: Arc<str>,
    /// `None` closes the stream.
    pub value: Option<Payload>,
}

#[derive(Default)]
pub(super) struct Streams {
    /// The chunks since the engine last took them.
    chunks: Vec<Chunk>,
    /// By stream: the number of chunks that the workflow has written, and whether it has closed the stream.
    pub written: BTreeMap<Box<str>, (u64, bool)>,
}

impl Shared {
    /// Records a chunk, or compares it with the recorded one. An error is the same on each replay; pending
    /// if the run has diverged, or is being dropped: the caller then waits for its end.
    pub(crate) fn write(&self, chunk: &Chunk, site: &'static Location<'static>) -> Poll<Result<(), Error>> {
        if let Err(error) = self.check_turn(site) {
            return Poll::Ready(Err(error));
        }
        {
            let mut state = self.state();
            if state.has_stopped() || state.phase == Phase::Discarding {
                return Poll::Pending;
            }
            if !state.streams.written.contains_key(&*chunk.stream) {
                state.streams.written.insert((&*chunk.stream).into(), (0, false));
            }
            let Some((chunks, closed)) = state.streams.written.get_mut(&*chunk.stream) else { return Poll::Pending };
            match &chunk.value {
                _ if *closed => return Poll::Ready(Err(closed_already(&self.identity.run, &chunk.stream))),
                Some(_) if *chunks >= STREAM_CHUNKS_MAX => {
                    return Poll::Ready(Err(full(&self.identity.run, &chunk.stream)));
                }
                Some(_) => *chunks += 1,
                None => *closed = true,
            }
        }
        let stream = Cow::Owned(chunk.stream.to_string());
        let command = match &chunk.value {
            Some(value) => Command::Write { stream, value: value.clone() },
            None => Command::CloseStream { stream },
        };
        if !self.record(command, |_| None, Some(site)) {
            return Poll::Pending;
        }
        let mut state = self.state();
        state.last_site = Some(site);
        if state.expected.is_none() {
            state.streams.chunks.push(chunk.clone());
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the written chunks.
    pub(crate) fn take_chunks(&self) -> Vec<Chunk> {
        std::mem::take(&mut self.state().streams.chunks)
    }
}

/// The error of a write to a closed stream.
pub(crate) fn closed_already(run: &str, stream: &str) -> Error {
    Error::coded(Code::StreamClosed, format!("the stream `{stream}` is closed"))
        .run(run)
        .help("write before `close()`, or to a stream of another name")
}

/// The error of a write to a stream that has the maximum number of chunks.
pub(crate) fn full(run: &str, stream: &str) -> Error {
    Error::coded(Code::Limit, format!("the stream `{stream}` is full"))
        .run(run)
        .expected(format!("at most {STREAM_CHUNKS_MAX} chunks"))
        .help("write larger chunks, or to several streams")
}
