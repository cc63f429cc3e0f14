//! Values in a row: shortened, decoded, or hidden.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::codec::exact;
use crate::error::{Code, Error, Result};
use crate::model::causes_text;
use crate::steering::text::{safe, shortened};
use crate::timeline::Excerpts;
use crate::web::visit::Visit;

const ARGUMENTS_CHARACTERS: usize = 90;
const VALUE_CHARACTERS: usize = 90;
const ERROR_CHARACTERS: usize = 120;
/// Bytes of an error in the head of a page.
const TEXT_BYTES: usize = 4 << 10;
/// What is written for a value that is hidden.
pub(super) const HIDDEN: &str = "…";

/// The beginning of a long text.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(TEXT_BYTES);
    if end < text.len() { Cow::Owned(format!("{}…", &text[..end])) } else { Cow::Borrowed(text) }
}

/// A stored value, digit for digit.
pub(super) fn stored(value: &RawValue) -> Result<Value> {
    exact::shown(value.get())
        .map_err(|error| Error::coded(Code::Damaged, "a value of the run is no JSON").because(error))
}

/// Takes the first bytes, and refuses the rest.
struct Limited {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.most - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        if taken == 0 && !bytes.is_empty() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The beginning of a value's JSON, in one line: only as much is written of a large value.
pub(super) fn line(value: &Value, characters: usize) -> String {
    let mut limited = Limited { bytes: Vec::new(), most: characters * 4 + 4 };
    let is_whole = serde_json::to_writer(&mut limited, value).is_ok();
    let text = String::from_utf8_lossy(&limited.bytes);
    let text = shortened(&text, characters);
    let text = if is_whole || text.ends_with('…') { text } else { format!("{text}…") };
    safe(&text).into_owned()
}

/// Values of a run as a visitor may see them.
pub(super) struct Shown<'a> {
    visit: &'a Visit,
    run: &'a str,
}

impl<'a> Shown<'a> {
    pub fn new(visit: &'a Visit, run: &'a str) -> Self {
        Shown { visit, run }
    }
}

impl Excerpts for Shown<'_> {
    fn arguments(&self, input: &Value) -> String {
        let Some(input) = self.visit.shown(input, self.run) else { return HIDDEN.to_owned() };
        match &*input {
            Value::Null => String::new(),
            Value::Array(several) if several.is_empty() => "[]".to_owned(),
            Value::Array(several) => {
                let mut text = String::new();
                for one in several {
                    let left = ARGUMENTS_CHARACTERS.saturating_sub(text.chars().count());
                    if left < 2 {
                        text.push('…');
                        break;
                    }
                    text.push_str(if text.is_empty() { "" } else { ", " });
                    text.push_str(&line(one, left));
                }
                text
            }
            only => line(only, ARGUMENTS_CHARACTERS),
        }
    }

    fn value(&self, value: &Value) -> String {
        self.visit.shown(value, self.run).map_or_else(|| HIDDEN.to_owned(), |value| line(&value, VALUE_CHARACTERS))
    }

    fn error(&self, error: &Value) -> String {
        safe(&shortened(&causes_text(error), ERROR_CHARACTERS)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_beginning_of_a_large_value_is_written() {
        let large = json!(vec!["x".repeat(1_000); 1_000]);
        let text = line(&large, 90);
        assert_eq!((text.chars().count(), text.ends_with('…')), (91, true));
        assert_eq!(line(&json!({ "n": u64::MAX }), 90), format!("{{\"n\":{}}}", u64::MAX));
        assert_eq!(line(&json!("\u{202e}"), 90), "\"\\u{202e}\"");
    }
}
