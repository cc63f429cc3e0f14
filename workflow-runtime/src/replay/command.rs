//! The methods of commands. Most are one exhaustive match, so that a new command must be handled.

use super::journal::{Command, Visit, each_text};
use super::request::NONDETERMINISTIC;
use crate::codec::{Payload, Recode};
use crate::text::excerpt;

impl Command {
    /// The number of the row format that introduced it.
    pub fn format(&self) -> u32 {
        match self {
            Command::Step { .. }
            | Command::Timer { .. }
            | Command::Hook { .. }
            | Command::Child { .. }
            | Command::Watch { .. }
            | Command::State { .. }
            | Command::Attribute { .. }
            | Command::Suggested
            | Command::Cancel { .. }
            | Command::Write { .. }
            | Command::CloseStream { .. } => 1,
            Command::Patch { .. } => 2,
        }
    }

    /// Visits the payloads of the command.
    pub(super) fn each_payload(&mut self, visit: Visit<'_>) {
        match self {
            Command::Step { input, given, .. } => {
                visit(input);
                given.iter_mut().for_each(visit);
            }
            Command::Hook { metadata, .. } => metadata.iter_mut().for_each(visit),
            Command::Child { input, attributes, .. } => {
                visit(input);
                attributes.values_mut().for_each(|value| *value = each_text(value, visit).into());
            }
            Command::State { value: payload } | Command::Write { value: payload, .. } => visit(payload),
            Command::Attribute { value: Some(value), .. } => *value = each_text(value, visit).into(),
            Command::Timer { .. }
            | Command::Watch { .. }
            | Command::Attribute { value: None, .. }
            | Command::Suggested
            | Command::Patch { .. }
            | Command::Cancel { .. }
            | Command::CloseStream { .. } => {}
        }
    }

    /// Whether a replay that issues `self` matches the recorded command.
    pub fn matches(&self, recorded: &Command, recode: Recode) -> bool {
        match (self, recorded) {
            (
                Command::Step { op, step, input, .. },
                Command::Step { op: recorded_op, step: recorded_step, input: recorded_input, .. },
            ) => op == recorded_op && step == recorded_step && input.same_value(recorded_input, recode),
            (
                Command::Child { op, workflow, run, input, detached, abandoned, own, attributes },
                Command::Child {
                    op: op_then,
                    workflow: workflow_then,
                    run: run_then,
                    input: input_then,
                    detached: detached_then,
                    abandoned: abandoned_then,
                    own: own_then,
                    attributes: attributes_then,
                },
            ) => {
                (op, workflow, attributes) == (op_then, workflow_then, attributes_then)
                    && (detached, abandoned) == (detached_then, abandoned_then)
                    // An id that the workflow has not chosen is derived from the run and the operation.
                    && own.is_some() == own_then.is_some()
                    && (own.is_none() || run == run_then)
                    && input.same_value(input_then, recode)
            }
            (Command::State { value }, Command::State { value: value_then }) => value.resembles(value_then),
            (
                Command::Hook { op, token, drawn, metadata },
                Command::Hook { op: op_then, token: token_then, drawn: drawn_then, metadata: metadata_then },
            ) => {
                (op, token, drawn) == (op_then, token_then, drawn_then)
                    && match (metadata, metadata_then) {
                        (Some(found), Some(recorded)) => found.resembles(recorded),
                        (found, recorded) => found == recorded,
                    }
            }
            // The deadline is not compared: the recorded one applies, so that code can be changed to wait for another time.
            (Command::Timer { op, .. }, Command::Timer { op: op_then, .. }) => op == op_then,
            (Command::Write { stream, value }, Command::Write { stream: recorded_stream, value: recorded_value }) => {
                stream == recorded_stream && value.resembles(recorded_value)
            }
            _ => self == recorded,
        }
    }

    /// The input of its step or workflow.
    pub fn input(&self) -> Option<&Payload> {
        match self {
            Command::Step { input, .. } | Command::Child { input, .. } => Some(input),
            _ => None,
        }
    }

    /// The id of the run that the command starts.
    pub fn child(&self) -> Option<&str> {
        match self {
            Command::Child { run, .. } | Command::Step { run: Some(run), .. } => Some(run),
            _ => None,
        }
    }

    /// A description of the command, for an error message.
    pub fn describe(&self) -> String {
        match self {
            Command::Step { op, step, input, .. } => {
                format!("operation {op}: step `{step}` with {}", excerpt(input.as_str()))
            }
            Command::Timer { op, until } => format!("operation {op}: a timer until {until} ms"),
            Command::Hook { op, drawn: true, .. } => format!("operation {op}: a hook"),
            Command::Hook { op, token, .. } => format!("operation {op}: a hook with the token `{}`", excerpt(token)),
            Command::Child { op, workflow, run, input, own, attributes, .. } => {
                let mut text = format!("operation {op}: a child run of workflow `{workflow}`");
                if own.is_some() {
                    text += &format!(" with the id `{}`", excerpt(run));
                }
                if !attributes.is_empty() {
                    text += &format!(" with the attributes {attributes:?}");
                }
                text + &format!(" with {}", excerpt(input.as_str()))
            }
            Command::Watch { op, run } => format!("operation {op}: waiting for run `{}`", excerpt(run)),
            Command::State { value } => format!("setting the run's state to {}", excerpt(value.as_str())),
            Command::Attribute { key, value: Some(value) } => {
                format!("setting the attribute `{}` to `{}`", excerpt(key), excerpt(value))
            }
            Command::Attribute { key, value: None } => format!("removing the attribute `{}`", excerpt(key)),
            Command::Suggested => "reading that its journal is long".to_owned(),
            Command::Patch { name, deprecated: false } => format!("taking the new branch of patch `{name}`"),
            Command::Patch { name, deprecated: true } => format!("passing the deprecated patch `{name}`"),
            Command::Cancel { op } => format!("dropping operation {op}"),
            Command::Write { stream, value } => {
                format!("writing {} to the stream `{}`", excerpt(value.as_str()), excerpt(stream))
            }
            Command::CloseStream { stream } => format!("closing the stream `{}`", excerpt(stream)),
        }
    }

    /// The operation that it issues, if the operation has a result.
    pub fn issues(&self) -> Option<u64> {
        match self {
            Command::Child { detached: true, own: None, .. } => None,
            Command::Step { op, .. }
            | Command::Timer { op, .. }
            | Command::Hook { op, .. }
            | Command::Child { op, .. }
            | Command::Watch { op, .. } => Some(*op),
            Command::State { .. }
            | Command::Attribute { .. }
            | Command::Suggested
            | Command::Patch { .. }
            | Command::Cancel { .. }
            | Command::Write { .. }
            | Command::CloseStream { .. } => None,
        }
    }

    /// The id of the definition that it names.
    pub(super) fn definition_id(&self) -> Option<&str> {
        match self {
            Command::Step { step, .. } if step != NONDETERMINISTIC => Some(step),
            Command::Child { workflow, .. } => Some(workflow),
            _ => None,
        }
    }

    /// Whether two commands do the same thing, with whatever values.
    pub(super) fn is_same(&self, other: &Command) -> bool {
        match (self, other) {
            (Command::Step { step, .. }, Command::Step { step: other, .. }) => step == other,
            (Command::Child { workflow, .. }, Command::Child { workflow: other, .. }) => workflow == other,
            (Command::Attribute { key, .. }, Command::Attribute { key: other, .. }) => key == other,
            (
                Command::Write { stream, .. } | Command::CloseStream { stream },
                Command::Write { stream: other, .. } | Command::CloseStream { stream: other },
            ) => stream == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// What it does, with the definite article.
    pub(super) fn the(&self) -> String {
        match self {
            Command::Step { step, .. } if step == NONDETERMINISTIC => "the call of `nondeterministic`".to_owned(),
            Command::Step { step, .. } => format!("the call of step `{}`", function(step)),
            Command::Timer { .. } => "the sleep or timeout".to_owned(),
            Command::Hook { .. } => "the hook".to_owned(),
            Command::Child { workflow, .. } => format!("the call of workflow `{}`", function(workflow)),
            Command::Watch { .. } => "the wait for a run".to_owned(),
            Command::State { .. } => "the call of `set_state`".to_owned(),
            Command::Attribute { key, value: Some(_) } => format!("the call of `set_attribute` for `{}`", excerpt(key)),
            Command::Attribute { key, value: None } => format!("the call of `remove_attribute` for `{}`", excerpt(key)),
            Command::Suggested => "the call of `continue_as_new_suggested`".to_owned(),
            Command::Patch { name, .. } => format!("the call of `patched` for `{name}`"),
            Command::Cancel { op } => format!("the drop of operation {op}"),
            Command::Write { stream, .. } => format!("the write to the stream `{}`", excerpt(stream)),
            Command::CloseStream { stream } => format!("the close of the stream `{}`", excerpt(stream)),
        }
    }

    /// What it does, as a part of the name of a patch.
    pub fn slug(&self) -> String {
        let text = match self {
            Command::Step { step: id, .. } | Command::Child { workflow: id, .. } => {
                id.rsplit("::").next().unwrap_or(id)
            }
            Command::Timer { .. } => "sleep",
            Command::Hook { .. } => "hook",
            Command::Watch { .. } => "wait",
            Command::State { .. } => "state",
            Command::Attribute { key, .. } => key,
            Command::Suggested => "suggested",
            Command::Patch { name, .. } => name,
            Command::Cancel { .. } => "drop",
            Command::Write { stream, .. } | Command::CloseStream { stream } => stream,
        };
        text.chars().take(40).map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect()
    }

    /// A line of code that does it, of a function whose name has this suffix.
    pub(super) fn code_with(&self, suffix: &str) -> String {
        match self {
            Command::Step { step, .. } if step == NONDETERMINISTIC => "nondeterministic(..).await".to_owned(),
            Command::Step { step: id, .. } | Command::Child { workflow: id, .. } => {
                format!("{}{suffix}(..).await?", function(id))
            }
            Command::Timer { .. } => "sleep(..).await".to_owned(),
            Command::Hook { .. } => "hook(..)".to_owned(),
            Command::Watch { .. } => "the wait".to_owned(),
            Command::State { .. } => "set_state(..)?".to_owned(),
            Command::Attribute { value: Some(_), .. } => "set_attribute(..)?".to_owned(),
            Command::Attribute { value: None, .. } => "remove_attribute(..)?".to_owned(),
            Command::Suggested => "continue_as_new_suggested()".to_owned(),
            Command::Patch { name, .. } => format!("patched(\"{name}\")"),
            Command::Cancel { .. } => "drop(..)".to_owned(),
            Command::Write { .. } => "the write".to_owned(),
            Command::CloseStream { .. } => "the close".to_owned(),
        }
    }
}

/// The name of a function, by its id.
pub(super) fn function(id: &str) -> String {
    excerpt(id.rsplit("::").next().unwrap_or(id)).to_string()
}
