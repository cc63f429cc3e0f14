//! `fork`: a new run from the history of another one.

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::exit::Exit;
use super::input;
use super::report::{Outcome, Stop};
use crate::error::{Code, Error};

/// Start a run from the history of another one, up to an event
#[derive(Args)]
pub(super) struct Fork {
    /// The id of the run
    run: String,
    /// The index of the event, which `workflow events` and `workflow steps` show
    #[arg(long, value_name = "EVENT")]
    at: u64,
    /// Other arguments for the step that is called at the event: JSON, @FILE or -; an array if it has several
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    input: Option<String>,
    /// The id of the new run, so that the command can be repeated
    #[arg(long)]
    id: Option<String>,
    /// Have the new run undo what it inherits if it fails or is cancelled
    #[arg(long)]
    undo_inherited: bool,
}

impl Fork {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let input = self.input.as_deref().map(input::value).transpose()?.map(tuple);
        let run = context.run(&self.run).await?;
        let mut fork = run.fork(self.at);
        if let Some(input) = &input {
            fork = fork.input(input);
        }
        if let Some(id) = self.id {
            fork = fork.id(id);
        }
        if self.undo_inherited {
            fork = fork.undo_inherited();
        }
        let forked = fork.await.map_err(|error| match error.code() {
            Code::NotRegistered => Stop::usage(needs_code(error)),
            _ => error.into(),
        })?;
        let output = &mut context.output;
        if output.format().is_json() {
            output.document(json!({ "run": forked.id(), "forked_from": self.run, "at": self.at }))?;
        } else {
            output.line(output.text(forked.id()))?;
        }
        Ok(Exit::Ok)
    }
}

/// The arguments of a step in the form that the library takes: always an array.
fn tuple(input: Value) -> Value {
    match input {
        Value::Array(_) => input,
        Value::Null => Value::Array(Vec::new()),
        only => Value::Array(vec![only]),
    }
}

fn needs_code(error: Error) -> Error {
    error.help("--input is checked by the code of the step: use the command line of a program that has it")
}
