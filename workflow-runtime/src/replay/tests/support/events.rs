//! Events and commands.

use serde::Serialize;

use super::json;
use crate::replay::{Command, End, Event};

pub(in crate::replay::tests) fn completed(op: u64, value: impl Serialize) -> Event {
    Event::Completed { op, value: json(value) }
}

pub(in crate::replay::tests) fn failed(op: u64, error: impl Serialize) -> Event {
    Event::Failed { op, error: json(error) }
}

pub(in crate::replay::tests) fn attempt_failed(op: u64, attempt: u32, not_before: u64) -> Event {
    Event::Attempt { op, attempt, error: json("busy"), not_before, attempts_max: None }
}

pub(in crate::replay::tests) fn due(op: u64) -> Event {
    Event::Timer { op }
}

pub(in crate::replay::tests) fn payload(op: u64, value: impl Serialize) -> Event {
    Event::Payload { op, value: json(value) }
}

pub(in crate::replay::tests) fn conflict(op: u64, owner: &str) -> Event {
    Event::Conflict { op, owner: owner.to_owned() }
}

pub(in crate::replay::tests) fn ended(op: u64, end: End) -> Event {
    Event::Ended { op, end }
}

pub(in crate::replay::tests) fn cancel(reason: &str) -> Event {
    Event::Cancel { reason: reason.to_owned() }
}

pub(in crate::replay::tests) fn suspended(op: u64, label: &str, payload: impl Serialize) -> Event {
    Event::Suspended { op, label: label.into(), payload: json(payload), type_name: "tests::Any".into() }
}

pub(in crate::replay::tests) fn step_command(op: u64, id: &'static str, input: impl Serialize) -> Command {
    let (rollback, run, given, key) = (false, None, None, None);
    Command::Step { op, step: id.into(), name: None, input: json(input), rollback, run, given, key }
}

pub(in crate::replay::tests) fn undoable_command(op: u64, id: &'static str, input: impl Serialize) -> Command {
    match step_command(op, id, input) {
        Command::Step { op, step, name, input, run, given, key, .. } => {
            Command::Step { op, step, name, input, rollback: true, run, given, key }
        }
        other => other,
    }
}

pub(in crate::replay::tests) fn timer_command(op: u64, until: u64) -> Command {
    Command::Timer { op, until }
}

pub(in crate::replay::tests) fn hook_command(op: u64, token: &'static str) -> Command {
    Command::Hook { op, token: token.into(), drawn: false, metadata: None }
}

pub(in crate::replay::tests) fn watch_command(op: u64, run: &'static str) -> Command {
    Command::Watch { op, run: run.into() }
}

pub(in crate::replay::tests) fn dropped(op: u64) -> Command {
    Command::Cancel { op }
}
