//! `result`: waits for the end of a run, and prints its result.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::output::{Format, Output};
use super::report::{Outcome, Stop};
use crate::engine::Finished;
use crate::error::{Code, Error};
use crate::model::{Status, causes_text};
use crate::steering::time::duration;

/// Wait for the end of a run and print its result; the exit code says how it ended
#[derive(Args)]
pub(super) struct Result {
    /// The id of the run
    run: String,
    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Do not wait: exit code 8 if the run has not ended
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
}

impl Result {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let run = context.run(&self.run).await?;
        let timeout = if self.no_wait { Some(Duration::ZERO) } else { self.timeout };
        print(&mut context.output, &run, timeout).await
    }
}

/// Waits for the end of a run, and prints its result: a value to the standard output, an error to the standard error.
pub(super) async fn print(output: &mut Output, run: &AnyRun, timeout: Option<Duration>) -> Outcome<Exit> {
    let client = run.engine().await?;
    let inner = client.inner();
    let end = match inner.end_so_far(run.id()).await? {
        Some(end) => end,
        None => {
            let wait = inner.wait(run.shared_id());
            let waited = match timeout {
                Some(timeout) => tokio::time::timeout(timeout, wait).await.map_err(|_| too_late(run))?,
                None => wait.await,
            };
            match waited {
                Err(error) if error.code() != Code::Stuck => return Err(error.into()),
                end => end,
            }
        }
    };
    let (status, value, error) = match end {
        Ok(Finished::Completed(value)) => (Status::Completed, Some(parsed(value.as_str())), None),
        Ok(Finished::Failed(error)) => (Status::Failed, None, Some(parsed(error.as_str()))),
        Ok(Finished::Cancelled(reason)) => {
            let error = json!({ "code": Code::Cancelled.as_str(), "message": reason });
            (Status::Cancelled, None, Some(error))
        }
        Err(error) => (Status::Stuck, None, Some(serde_json::to_value(&error).unwrap_or_default())),
    };
    if output.format().is_json() {
        output.document(json!({ "run": run.id(), "status": status.as_str(), "output": value, "error": error }))?;
        return Ok(Exit::of_status(status));
    }
    match (&value, &error) {
        (Some(Value::String(text)), _) if output.is_raw() => output.line(text)?,
        (Some(_), _) if output.format() == Format::Ids => output.line(output.text(run.id()))?,
        (Some(value), _) => output.line(super::json::text(value, false))?,
        (None, error) => {
            let error = error.as_ref().map(causes_text).unwrap_or_default();
            eprintln!("the run is {status}: {}", output.text(&error));
        }
    }
    Ok(Exit::of_status(status))
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn too_late(run: &AnyRun) -> Stop {
    let error = Error::coded(Code::Timeout, "the run has not ended in the time that was given to wait")
        .run(run.id())
        .help("`workflow show` says what it waits for");
    Stop::Error(Box::new(error), Exit::Timeout)
}
