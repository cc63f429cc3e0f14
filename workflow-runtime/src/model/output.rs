//! What a start is given to take what steps write.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Code, Error, Result};

/// A chunk that a step has written to a stream of its run: see [`Start::output_writer`](crate::Start::output_writer).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutputChunk {
    /// The name of the stream.
    pub stream: String,
    /// Its place in the stream.
    pub index: u64,
    /// What was written.
    pub value: Value,
    /// The id of the step.
    pub step: String,
    /// Which attempt of it has written, from 1.
    pub attempt: u32,
}

impl OutputChunk {
    /// What was written, as a value of a type.
    ///
    /// # Errors
    ///
    /// [`Code::Payload`] if it is no such value.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.value.clone()).map_err(|error| {
            let text = format!("a chunk is no {}: {error}", std::any::type_name::<T>());
            Error::coded(Code::Payload, text).operation(format!("chunk {} of the stream `{}`", self.index, self.stream))
        })
    }
}

/// A user's writer.
pub(crate) type OutputWriter = Arc<dyn Fn(OutputChunk) -> BoxFuture<'static, Result<()>> + Send + Sync>;

pub(crate) fn writer<F, R>(take: F) -> OutputWriter
where
    F: Fn(OutputChunk) -> R + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |chunk| take(chunk).boxed())
}
