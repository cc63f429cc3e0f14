//! Conversions between [`Error`] and other error types.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::Error;

/// The types that `?` converts into an [`Error`]: every `std::error::Error` that can be sent between threads.
///
/// The trait exists for its compile error: errors of `anyhow` and boxed ones
/// do not implement `std::error::Error`; convert them by [`Error::boxed`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not become a `workflow_runtime::Error` by `?`",
    label = "convert it with `.map_err(workflow_runtime::Error::boxed)?`",
    note = "`?` converts types that implement `std::error::Error`; errors of `anyhow`, boxed errors and texts do not"
)]
pub trait IntoWorkflowError: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_workflow_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: StdError + Send + Sync + 'static> IntoWorkflowError for E {
    fn into_workflow_error(self) -> Error {
        Error::from_source(Arc::new(self))
    }
}

impl<E: IntoWorkflowError> From<E> for Error {
    fn from(source: E) -> Self {
        source.into_workflow_error()
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Standard(error))
    }
}

impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        Box::new(Standard(error))
    }
}

/// A wrapper of [`Error`] that implements `std::error::Error`.
pub(super) struct Standard(pub(super) Error);

impl fmt::Debug for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Standard {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.source.as_deref().and_then(|source| source.source())
    }
}
