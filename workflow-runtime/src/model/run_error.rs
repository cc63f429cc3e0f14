//! The error of a run, as lists show it.

use serde::Serialize;
use serde_json::Value;

use super::error_text;

/// The error with which a run has failed, was cancelled, is stuck, or is [failing](crate::Runs::failing).
///
/// Its JSON has these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunError {
    /// The [code](crate::Code) of an error of the library, `cancelled`, or `user` for other errors.
    pub code: String,
    /// The message with its causes, or the reason of a cancel; its first 256 bytes.
    pub text: String,
    /// The code and the text without digits and ids: what errors of the same kind have in common.
    pub class: String,
}

impl RunError {
    pub(crate) fn new(code: &str, text: &str) -> Self {
        RunError { code: code.to_owned(), text: text.to_owned(), class: format!("{code}: {}", class(text)) }
    }

    /// An error as a run has recorded it.
    pub(crate) fn recorded(error: &str) -> Self {
        let error: Value = serde_json::from_str(error).unwrap_or_else(|_| error.into());
        let code = error.get("code").and_then(Value::as_str).unwrap_or("user");
        RunError::new(code, &causes_text(&error))
    }

    /// The same, with shorter texts.
    pub(crate) fn shortened(mut self, bytes: usize) -> Self {
        for text in [&mut self.text, &mut self.class] {
            text.truncate(text.floor_char_boundary(bytes));
        }
        self
    }
}

/// The message of an error, with its causes.
pub(crate) fn causes_text(error: &Value) -> String {
    let causes = error.get("causes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    std::iter::once(error_text(error)).chain(causes.map(str::to_owned)).collect::<Vec<_>>().join(": ")
}
/// A text with its numbers and ids replaced: hexadecimal words of eight or more characters, UUIDs, and digits.
fn class(text: &str) -> String {
    let mut class = String::with_capacity(text.len());
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || (letter == '-' && !word.is_empty()) {
            word.push(letter);
            continue;
        }
        class.push_str(&replaced(&word));
        word.clear();
        if letter != '\n' {
            class.push(letter);
        }
    }
    class
}

fn replaced(word: &str) -> String {
    const HEX_LETTERS: usize = 8;
    let is_hex = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    if word.len() >= HEX_LETTERS && word.chars().all(is_hex) && word.contains(|letter: char| letter.is_ascii_digit()) {
        return "#".to_owned();
    }
    let mut replaced = String::with_capacity(word.len());
    for letter in word.chars() {
        match letter.is_ascii_digit() {
            true if replaced.ends_with('#') => {}
            true => replaced.push('#'),
            false => replaced.push(letter),
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_ids_are_one_class() {
        let one = class("order 17 of 4f1c9a2e-0d3b-4a58-9c6e-1f2a3b4c5d6e: http 503 from api2.example");
        assert_eq!(one, "order # of #: http # from api#.example");
        assert_eq!(class("deadbeef is no deadline"), "deadbeef is no deadline");
        assert_eq!(class("commit 9fceb02d0ae598e9"), "commit #");
    }

    #[test]
    fn the_causes_of_an_error_are_part_of_its_text() {
        let error = RunError::recorded(r#"{"code":"timeout","message":"no answer","causes":["10 s"]}"#);
        assert_eq!((error.code.as_str(), error.text.as_str()), ("timeout", "no answer: 10 s"));
        assert_eq!(error.class, "timeout: no answer: # s");
        assert_eq!(RunError::recorded("\"Declined\"").text, "Declined");
    }

    #[test]
    fn a_text_is_shortened_between_two_characters() {
        let error = RunError::new("user", "äöü").shortened(5);
        assert_eq!((error.text.as_str(), error.class.as_str()), ("äö", "user:"));
    }
}
