//! How commands end: what they return, and how errors are printed.

use std::io;

use clap::error::ErrorKind;
use serde_json::{Value, json};

use super::exit::Exit;
use super::json;
use super::output::{Format, Output};
use crate::error::{Code, Error};
use crate::steering::text::safe;

/// What a command returns.
pub(super) type Outcome<T> = std::result::Result<T, Stop>;

/// Why a command stopped.
pub(super) enum Stop {
    /// It is printed, with the exit code.
    Error(Box<Error>, Exit),
    /// The reader of the output has gone: there is nothing to say.
    Closed,
}

impl Stop {
    /// Wrong options or arguments that the parser cannot find.
    pub fn usage(error: Error) -> Stop {
        Stop::Error(Box::new(error), Exit::Usage)
    }

    /// Something that is not done without a confirmation.
    pub fn refused(error: Error) -> Stop {
        Stop::Error(Box::new(error), Exit::Refused)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        let exit = Exit::of(&error);
        Stop::Error(Box::new(error), exit)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Error::coded(Code::Store, "the output could not be written").because(error).into(),
        }
    }
}

/// Prints what is left, and returns the exit code.
pub(super) fn end(output: &mut Output, done: Outcome<Exit>) -> Exit {
    match done.and_then(|exit| output.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(Stop::Closed) => Exit::Ok,
        Err(Stop::Error(error, exit)) => {
            let _ = output.flush();
            eprintln!("{}", rendered(&error, exit, output.format()));
            exit
        }
    }
}

/// An error as it is printed to the standard error.
fn rendered(error: &Error, exit: Exit, format: Format) -> String {
    if format.is_json() {
        return json::text(&document(error, exit), format == Format::Json);
    }
    let mut lines: Vec<String> = format!("error: {error:?}").lines().map(|line| safe(line).into_owned()).collect();
    lines.extend(next_steps(error).iter().map(|(command, what)| format!("  next: {command}  ({what})")));
    lines.join("\n")
}

fn document(error: &Error, exit: Exit) -> Value {
    let mut document = serde_json::to_value(error).unwrap_or_default();
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|name, _| !["fatal", "delay_ms"].contains(&name.as_str()));
        let steps = next_steps(error).into_iter();
        let steps = steps.map(|(command, what)| json!({ "command": command, "description": what })).collect();
        fields.insert("next_steps".into(), Value::Array(steps));
    }
    json!({ "schema": json::SCHEMA, "exit": exit as u8, "error": document })
}

/// What to do next, as commands with a description.
fn next_steps(error: &Error) -> Vec<(String, &'static str)> {
    let mut steps = Vec::new();
    match error.code() {
        Code::RunNotFound => steps.push(("workflow ls".into(), "the runs of the store")),
        Code::HookNotFound => steps.push(("workflow hooks".into(), "the open hooks of the store")),
        Code::NotSuspended | Code::AlreadyResumed => {
            steps.push(("workflow hooks RUN".into(), "what the run waits for"));
        }
        Code::NotEnded => steps.push(("workflow cancel RUN".into(), "cancel the run")),
        Code::NotRepairable => steps.push(("workflow show RUN".into(), "the status of the run")),
        _ => {}
    }
    if error.code() != Code::User {
        steps.push((format!("workflow explain {}", error.code()), "cause and remedy"));
    }
    steps
}

/// Prints what the parser says, which is also the help text and the version.
pub(super) fn usage(refused: &clap::Error) -> Exit {
    if matches!(refused.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        print!("{}", refused.render());
        return Exit::Ok;
    }
    let text = refused.render().to_string();
    match asked_for() {
        Some(format) => {
            let text = text.trim_start_matches("error: ").trim_end();
            let message = text.split("\n\n").next().unwrap_or_default();
            let help = "workflow --help, or COMMAND --help";
            let error = json!({ "code": "usage", "message": message, "help": help, "next_steps": [] });
            let document = json!({ "schema": json::SCHEMA, "exit": Exit::Usage as u8, "error": error });
            eprintln!("{}", json::text(&document, format == Format::Json));
        }
        None => eprint!("{text}"),
    }
    Exit::Usage
}

/// The JSON form that a command line asks for which could not be parsed.
fn asked_for() -> Option<Format> {
    let words: Vec<String> = std::env::args().collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let value = match word.as_str() {
            "-o" | "--output" => words.get(at + 1)?.as_str(),
            word => word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o"))?,
        };
        match value {
            "json" => Some(Format::Json),
            "jsonl" => Some(Format::Jsonl),
            _ => None,
        }
    })
}
