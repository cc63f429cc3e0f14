//! Texts that users choose and stores look up: the ids of runs, the tokens of hooks.

use crate::codec::excerpt;
use crate::error::{Code, Error, Result};
use crate::limits::NAME_BYTES_MAX;

/// What the token of a hook is called.
pub(crate) const TOKEN: &str = "the token of a hook";

/// Refuses a text that cannot be `what`, such as "the id of a run".
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    let wrong = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("it has {} bytes, and the limit is {NAME_BYTES_MAX}", name.len())
    } else if name.chars().any(char::is_control) {
        "it has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::coded(Code::InvalidName, format!("{:?} cannot be {what}: {wrong}", excerpt(name))))
}
