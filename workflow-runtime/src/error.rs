//! The error type of the library: what happened, where, and how to fix it.

mod code;
mod conversion;
mod failure;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::code::Code;
pub use self::conversion::IntoWorkflowError;
use self::conversion::Standard;
pub use self::failure::Failure;
use crate::text::printable;

/// The result of steps and workflows: any `Result`, with [`Error`] unless another type is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a step, a workflow or the engine.
///
/// `?` converts every `std::error::Error` into one, with its chain of causes; for an error of `anyhow` or a boxed one use
/// [`Error::boxed`]. An error can be stored and read back; the original
/// value, for [`Error::downcast_ref`], exists only in the process in which the error occurred.
///
/// Like `anyhow::Error` it does not implement `std::error::Error` itself, since that would rule out the conversion from
/// every error; it converts into `Box<dyn std::error::Error + Send + Sync>`.
///
/// ```
/// use workflow_runtime::{Error, Result};
/// use std::time::Duration;
///
/// fn parse(text: &str) -> Result<u16> {
///     Ok(text.parse()?)
/// }
/// assert!(parse("x").unwrap_err().to_string().contains("invalid digit"));
///
/// assert!(Error::fatal("the card is stolen").is_fatal());
/// let busy = Error::retry_after(Duration::from_secs(5)).context("the bank is busy");
/// assert_eq!(busy.delay(), Some(Duration::from_secs(5)));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    code: Code,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fatal: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip)]
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Whether the store was unreachable: another attempt may succeed.
    #[serde(skip)]
    outage: bool,
}

impl Error {
    /// An error of the user's own, from a text or any error; an attempt that fails with it is retried.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        match cause.into().downcast::<Standard>() {
            Ok(ours) => ours.0,
            Err(cause) => Self::from_source(Arc::from(cause)),
        }
    }

    /// Converts an error of `anyhow`, or a boxed one, into an error of this crate: `.map_err(Error::boxed)?`.
    /// Neither implements `std::error::Error`, so `?` alone cannot convert them. The chain of causes is kept.
    ///
    /// ```
    /// use workflow_runtime::{Error, Result};
    ///
    /// fn parse(text: &str) -> std::result::Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// fn port(text: &str) -> Result<u16> {
    ///     Ok(parse(text).map_err(Error::boxed)?) // or `parse(text).map_err(Error::boxed)` as it is
    /// }
    /// assert!(port("x").unwrap_err().to_string().contains("invalid digit"));
    /// ```
    pub fn boxed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(cause)
    }

    /// An error that is not retried: the step fails with it at once.
    pub fn fatal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut error = Self::new(cause);
        error.0.fatal = true;
        error
    }

    /// An error after which the next attempt waits for `delay`, in place of the step's backoff. Attempts are
    /// counted as for any other error.
    pub fn retry_after(delay: Duration) -> Self {
        let mut error = Self::coded(Code::User, format!("the step asked for another attempt after {delay:?}"));
        error.0.delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        error
    }

    /// Prepends `message`; the previous message becomes the first cause.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        let cause = std::mem::replace(&mut self.0.message, message.to_string());
        self.0.causes.insert(0, cause);
        self
    }

    pub(crate) fn coded(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            causes: Vec::new(),
            fatal: false,
            delay_ms: None,
            run: None,
            operation: None,
            expected: None,
            found: None,
            help: None,
            source: None,
            outage: false,
        }))
    }

    fn from_source(source: Arc<dyn StdError + Send + Sync>) -> Self {
        let mut error = Self::coded(Code::User, source.to_string());
        let mut cause = source.source();
        while let Some(next) = cause {
            error.0.causes.push(next.to_string());
            cause = next.source();
        }
        error.0.source = Some(source);
        error
    }

    pub(crate) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Marks the error as an outage: the store was unreachable.
    #[cfg(feature = "postgres")]
    pub(crate) fn outage(mut self) -> Self {
        self.0.outage = true;
        self
    }

    /// Whether the store was unreachable, so that another attempt may succeed.
    pub(crate) fn is_outage(&self) -> bool {
        self.0.outage
    }

    pub(crate) fn into_fatal(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    pub(crate) fn run(mut self, run: impl fmt::Display) -> Self {
        self.0.run.get_or_insert_with(|| printable(&run.to_string()).into_owned());
        self
    }

    pub(crate) fn operation(mut self, operation: impl fmt::Display) -> Self {
        self.0.operation.get_or_insert_with(|| operation.to_string());
        self
    }

    pub(crate) fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.0.expected = Some(expected.to_string());
        self
    }

    pub(crate) fn found(mut self, found: impl fmt::Display) -> Self {
        self.0.found = Some(found.to_string());
        self
    }

    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.0.help = Some(help.to_string());
        self
    }

    /// Sets the help, unless the error has one.
    pub(crate) fn or_help(mut self, help: &str) -> Self {
        self.0.help.get_or_insert_with(|| help.to_owned());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message, without the causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The causes, the nearest one first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// The id of the run in which the error occurred, if known.
    pub fn run_id(&self) -> Option<&str> {
        self.0.run.as_deref()
    }

    /// Whether a step that returns this error is not retried.
    pub fn is_fatal(&self) -> bool {
        self.0.fatal
    }

    /// The delay that was given to [`Error::retry_after`].
    pub fn delay(&self) -> Option<Duration> {
        self.0.delay_ms.map(Duration::from_millis)
    }

    /// The original error, if it is a `T` and occurred in this process: an error that was read from the journal has only
    /// its texts.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.source.as_ref()?.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for cause in &self.0.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// All fields that are known, one per line: the output of `fn main() -> Result<()>`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.write_str(&inner.message)?;
        for cause in &inner.causes {
            write!(f, "\n  because: {cause}")?;
        }
        let lines = [
            ("run", &inner.run),
            ("operation", &inner.operation),
            ("expected", &inner.expected),
            ("found", &inner.found),
            ("help", &inner.help),
        ];
        for (name, text) in lines {
            if let Some(text) = text {
                write!(f, "\n  {name}: {text}")?;
            }
        }
        if inner.code != Code::User {
            write!(f, "\n  code: {}", inner.code)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_error_with_the_code_of_a_newer_build_can_be_read() {
        let stored = r#"{"code":"code_of_a_newer_build","message":"no","fatal":true}"#;
        let error: Error = serde_json::from_str(stored).expect("it is read");
        assert_eq!((error.code(), error.to_string().as_str(), error.is_fatal()), (Code::Unknown, "no", true));
        assert_eq!(serde_json::to_string(&Code::Unknown).expect("it is written"), "\"unknown\"");
    }
}
