//! The outcomes of workflows and attempts of steps, encoded.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::workflow::Fallible;
use crate::codec::{self, Payload};
use crate::error::{Error, Failure};
use crate::panics::caught;

/// A value of success or a typed error, encoded: how a workflow or an attempt of a step ended.
pub(crate) type Encoded = Result<Payload, Payload>;

/// A workflow's future, whose output is encoded.
pub(crate) type RunFuture = Pin<Box<dyn Future<Output = Encoded> + Send>>;

/// The failure of an attempt: the encoded error and the parts of it that the engine needs.
#[derive(Clone, Debug)]
pub(crate) struct AttemptFailure {
    /// The typed error, encoded.
    pub error: Payload,
    pub fatal: bool,
    pub retry_after: Option<Duration>,
}

/// The result of an attempt.
pub(crate) type AttemptResult = Result<Payload, AttemptFailure>;

/// Encodes an outcome. If the outcome does not encode, encodes that error, converted to the error type.
pub(crate) fn encode_outcome<R: Fallible>(what: &str, outcome: R) -> Encoded {
    let failed = |error: Error| -> Payload {
        let typed = <R::Err as From<Error>>::from(error.into_fatal());
        codec::encode("the error", &typed).unwrap_or_else(|_| never_encodes())
    };
    match outcome.into_result() {
        Ok(value) => codec::encode(what, &value)
            .and_then(|payload| codec::decode::<R::Ok>(what, &payload).map(|_| payload))
            .map_err(failed),
        Err(error) => Err(encode_error("the error", &error).unwrap_or_else(failed)),
    }
}

/// Encodes an error, and verifies that it decodes.
fn encode_error<E: Failure>(what: &str, error: &E) -> Result<Payload, Error> {
    let payload = codec::encode(what, error)?;
    codec::decode::<E>(what, &payload)?;
    Ok(payload)
}

/// A substitute for an error whose own type fails to encode twice.
fn never_encodes() -> Payload {
    codec::encode("a text", "an error that cannot be encoded").unwrap_or_else(|_| unreachable!("a text encodes"))
}

pub(crate) fn attempt_result<R: Fallible>(step: &'static str, outcome: R) -> AttemptResult {
    match outcome.into_result() {
        // Decoded at once, to verify that the result is readable before the journal records it.
        Ok(value) => codec::encode("the step's result", &value)
            .and_then(|payload| codec::decode::<R::Ok>("the step's result", &payload).map(|_| payload))
            .map_err(|error| adopt::<R::Err>(error.operation(format!("step `{step}`")).into_fatal())),
        Err(error) => Err(failure(error)),
    }
}

fn failure<E: Failure>(error: E) -> AttemptFailure {
    let (fatal, retry_after) = (error.is_fatal(), error.retry_after());
    match encode_error("the step's error", &error) {
        Ok(error) => AttemptFailure { error, fatal, retry_after },
        Err(error) => adopt::<E>(error.into_fatal()),
    }
}

/// Converts an error of the engine into an error of a step, even if the conversion of the step's type panics.
pub(crate) fn adopted(adopt: fn(Error) -> AttemptFailure, error: Error) -> AttemptFailure {
    caught("the error's type", || adopt(error.clone()))
        .unwrap_or_else(|panic| self::adopt::<Error>(error.because(panic)))
}

pub(crate) fn adopt<E: Failure>(error: Error) -> AttemptFailure {
    let (fatal, retry_after) = (error.is_fatal(), error.delay());
    let error = codec::encode("the step's error", &E::from(error)).unwrap_or_else(|_| never_encodes());
    AttemptFailure { error, fatal, retry_after }
}
