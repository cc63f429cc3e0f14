//! JSON that is given as an argument, in a file, or on the standard input.

use std::io::Read;

use serde_json::Value;

use super::report::{Outcome, Stop};
use crate::codec::exact::exact;
use crate::error::{Code, Error};
use crate::steering::text::safe;

/// The value of `JSON`, `@FILE`, or `-` for the standard input.
pub(super) fn value(given: &str) -> Outcome<Value> {
    let (text, from) = match given.strip_prefix('@') {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            (read, format!("the file {}", safe(path)))
        }
        None if given == "-" => {
            let mut text = String::new();
            (std::io::stdin().read_to_string(&mut text).map(|_| text), "the standard input".to_owned())
        }
        None => (Ok(given.to_owned()), "the argument".to_owned()),
    };
    let text = text.map_err(|error| {
        Stop::usage(Error::coded(Code::InvalidArguments, format!("{from} could not be read")).because(error))
    })?;
    exact(&text).map_err(|error| {
        Stop::usage(
            Error::coded(Code::InvalidArguments, format!("{from} cannot be taken: {error}"))
                .help("a text is JSON in quotes: '\"approved\"'; @FILE reads a file, and - the standard input"),
        )
    })
}
