//! Texts that users choose and stores look up: the ids of runs, the tokens of hooks.

use crate::error::{Code, Error, Result};
use crate::keys::RESERVED;
use crate::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX};
use crate::text::excerpt;

/// The noun for the token of a hook in error messages.
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
    Err(refused(what, name, &wrong))
}

/// [`check`], which also refuses names that are reserved for the engine.
pub(crate) fn check_own(what: &str, name: &str) -> Result<()> {
    check(what, name)?;
    not_reserved(what, name)
}

/// Refuses a name with a prefix that is reserved for the engine.
pub(crate) fn not_reserved(what: &str, name: &str) -> Result<()> {
    match RESERVED.into_iter().find(|prefix| name.starts_with(prefix)) {
        None => Ok(()),
        Some(prefix) => {
            let reserved = RESERVED.map(|prefix| format!("`{prefix}`")).join(", ");
            Err(refused(what, name, &format!("the prefix `{prefix}` is reserved"))
                .help(format!("use another name: one that begins with none of {reserved}")))
        }
    }
}

fn refused(what: &str, name: &str, wrong: &str) -> Error {
    Error::coded(Code::InvalidName, format!("\"{}\" cannot be {what}: {wrong}", excerpt(name)))
}

/// Refuses more attributes than a run may have.
pub(crate) fn check_attributes(count: usize) -> Result<()> {
    if count > ATTRIBUTES_MAX {
        return Err(Error::coded(Code::Limit, "the run has too many attributes")
            .expected(format!("at most {ATTRIBUTES_MAX}"))
            .found(count));
    }
    Ok(())
}

/// Refuses an invalid attribute.
pub(crate) fn check_attribute(key: &str, value: &str) -> Result<()> {
    check("the key of an attribute", key)?;
    let bytes = key.len() + value.len();
    if bytes > ATTRIBUTE_BYTES_MAX {
        return Err(Error::coded(Code::Limit, format!("the attribute `{key}` is too long"))
            .expected(format!("at most {ATTRIBUTE_BYTES_MAX} bytes of key and value"))
            .found(format!("{bytes} bytes")));
    }
    Ok(())
}
