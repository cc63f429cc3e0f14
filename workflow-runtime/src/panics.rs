//! Panics of code that is not the library's own.

use crate::error::{Code, Error};

/// Calls code of a user's type, and converts its panic into an error.
pub(crate) fn caught<T>(what: &str, call: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .map_err(|panic| Error::coded(Code::Panic, format!("{what} panicked: {}", panic_text(&*panic))).into_fatal())
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}
