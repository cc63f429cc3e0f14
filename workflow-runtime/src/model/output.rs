//! The chunks that an output writer receives.

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
    /// The index of the chunk in the stream.
    pub index: u64,
    /// The value that was written.
    pub value: Value,
    /// The id of the step.
    pub step: String,
    /// The attempt of the step that wrote it, from 1.
    pub attempt: u32,
}

impl OutputChunk {
    /// Decodes the value as a type.
    ///
    /// # Errors
    ///
    /// [`Code::Payload`] if the value does not fit the type.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.value.clone()).map_err(|error| {
            let text = format!("a chunk is no {}: {error}", std::any::type_name::<T>());
            Error::coded(Code::Payload, text).operation(format!("chunk {} of the stream `{}`", self.index, self.stream))
        })
    }
}

/// A user's output writer.
pub(crate) type OutputWriter = Arc<dyn Fn(OutputChunk) -> BoxFuture<'static, Result<()>> + Send + Sync>;

pub(crate) fn writer<F, R>(take: F) -> OutputWriter
where
    F: Fn(OutputChunk) -> R + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |chunk| take(chunk).boxed())
}
