//! The errors of runs: what lists show of them, and groups of the same error.

use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::engine::{Client, Finished};
use crate::error::{Code, Result};
use crate::model::{RunInfo, Status, Waiting, error_text};

/// How many errors are read at the same time.
const READS: usize = 8;

/// The error of a run that has failed, was cancelled or is stuck.
#[derive(Clone)]
pub(crate) struct RunError {
    pub code: String,
    pub text: String,
}

impl RunError {
    /// What errors that differ in numbers and ids have in common.
    pub fn class(&self) -> String {
        format!("{}: {}", self.code, class(&self.text))
    }
}

/// The error of a run, if it has one now.
pub(crate) async fn of(client: &Client, info: &RunInfo) -> Result<Option<RunError>> {
    match &info.reason {
        Some(Waiting::Stuck { code, error, .. }) => {
            return Ok(Some(RunError { code: code.clone(), text: error.clone() }));
        }
        _ if !matches!(info.status, Status::Failed | Status::Cancelled) => return Ok(None),
        _ => {}
    }
    Ok(match client.inner().end_so_far(&info.id).await {
        Ok(Some(Ok(Finished::Failed(error)))) => Some(recorded(error.as_str())),
        Ok(Some(Ok(Finished::Cancelled(reason)))) => Some(RunError { code: Code::Cancelled.to_string(), text: reason }),
        Ok(_) => None,
        // The run was deleted since it was listed.
        Err(error) if error.code() == Code::RunNotFound => None,
        Err(error) => Some(RunError { code: error.code().to_string(), text: error.to_string() }),
    })
}

/// The runs with their errors.
pub(crate) async fn with_errors(
    client: &Client,
    runs: Vec<RunInfo>,
    reads: bool,
) -> Result<Vec<(RunInfo, Option<RunError>)>> {
    let read = |info: RunInfo| async move {
        let error = if reads { of(client, &info).await? } else { None };
        Ok((info, error))
    };
    futures_util::stream::iter(runs).map(read).buffered(READS).try_collect().await
}

/// An error as a run has recorded it.
fn recorded(error: &str) -> RunError {
    let error: Value = serde_json::from_str(error).unwrap_or_else(|_| error.into());
    let code = error.get("code").and_then(Value::as_str).unwrap_or(Code::User.as_str());
    RunError { code: code.to_owned(), text: text(&error) }
}

/// The message of an error, with its causes.
pub(crate) fn text(error: &Value) -> String {
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
        let error = recorded(r#"{"code":"timeout","message":"no answer","causes":["10 s"]}"#);
        assert_eq!((error.code.as_str(), error.text.as_str()), ("timeout", "no answer: 10 s"));
        assert_eq!(recorded("\"Declined\"").text, "Declined");
    }
}
