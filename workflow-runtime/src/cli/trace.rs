//! `trace`: the tree of a run, live.

use std::collections::BTreeSet;
use std::time::SystemTime;

use clap::Args;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::json;
use super::output::{Format, Times};
use super::report::{Outcome, Stop};
use super::tree::{self, Look};
use super::watch;
use crate::engine::Client;
use crate::error::{Code, Error};
use crate::model::{RunInfo, Status, causes_text};
use crate::steering::text::shortened;
use crate::timeline::{self, Branch, Collected, Collector, Excerpts, Window, milliseconds};

/// Show the tree of a run: its steps, waits and children, with bars; branches that are over are folded
///
/// The bars at the left are on one axis of time: █ executes, ▒ is an attempt that failed, ▓ the one that failed last, ─ waits
/// for a time, ╌ for the next attempt, · for a payload or a person, ┄ for a worker of its queue, ━ is executed by another
/// run, and │ is now. A long time without work is shortened, and has its real length on the axis.
#[derive(Args)]
pub(super) struct Trace {
    /// The id of the run
    run: String,
    /// Draw again after each change, until interrupted or the end of the run
    #[arg(short, long)]
    watch: bool,
    /// How many levels of children
    #[arg(long, default_value_t = 5)]
    depth: usize,
    /// Do not fold branches that are over
    #[arg(long)]
    no_fold: bool,
}

/// Branches of one run that are kept while it is read, unless none is folded.
const BRANCHES_MAX: usize = 10_000;

impl Trace {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        if context.output.format() != Format::Table {
            let error = Error::coded(Code::InvalidArguments, "the tree is printed as text only");
            return Err(Stop::usage(error.help("`workflow events RUN -o json` has its data")));
        }
        let client = context.client().await?;
        watch::draw(context, self.watch, async |context| {
            let (info, calls) = read(&client, &self.run, self.depth, self.no_fold).await?;
            let output = &mut context.output;
            let now = match output.times() {
                Times::Relative => milliseconds(SystemTime::now()),
                // As of the last event, so that the same history is the same tree.
                Times::Iso => last(&calls.calls).max(milliseconds(info.completed_at.unwrap_or(info.created_at))),
            };
            let look = timeline::Look { now, scale: tree::SCALE, unfolded: &BTreeSet::new() };
            let timeline = timeline::lay_out(&calls, look);
            let is_iso = matches!(output.times(), Times::Iso);
            let look = Look { now, is_iso, color: output.has_color(), raw: output.is_raw() };
            tree::lines(&info, &calls, &timeline, look).into_iter().try_for_each(|line| output.line(line))?;
            Ok(info.status.is_terminal().then_some(Exit::Ok))
        })
        .await
    }
}

fn last(calls: &[Branch]) -> u64 {
    let of = |call: &Branch| last(&call.children).max(call.ended.unwrap_or(call.began));
    calls.iter().map(of).max().unwrap_or_default()
}

/// A run, with its calls and those of its children.
fn read<'a>(
    client: &'a Client,
    id: &'a str,
    depth: usize,
    unfolded: bool,
) -> BoxFuture<'a, Outcome<(RunInfo, Collected)>> {
    Box::pin(async move {
        let run: AnyRun = client.get_run(id);
        let info = run.info().await?;
        let most = if unfolded { usize::MAX } else { BRANCHES_MAX };
        let mut collector = Collector::new(id, Texts, Window { from: None, most, failures: false });
        let mut events = run.events().so_far();
        while let Some(event) = events.try_next().await? {
            collector.add(&event);
        }
        let mut collected = collector.finish();
        if !unfolded {
            fold(&mut collected);
        }
        for call in &mut collected.calls {
            // What is folded is not read.
            let reads = depth > 0 && (unfolded || !call.state.is_over());
            if let Some(run) = call.run.clone().filter(|_| reads) {
                match read(client, &run, depth - 1, unfolded).await {
                    Ok((child, calls)) => call.unfold(calls, child.started_at.map(milliseconds)),
                    Err(Stop::Error(error, _)) if error.code() == Code::RunNotFound => {}
                    Err(stop) => return Err(stop),
                }
            }
        }
        Ok((info, collected))
    })
}

/// More ended branches in a row than these are one line.
const ENDED_MAX: usize = 20;

fn fold(collected: &mut Collected) {
    let ended = collected.calls.iter().take_while(|call| call.state.is_over()).count();
    if ended > ENDED_MAX {
        let folded = ended - ENDED_MAX / 2;
        collected.calls.drain(..folded);
        collected.before += u64::try_from(folded).unwrap_or(u64::MAX);
    }
}

const ARGUMENTS_CHARACTERS: usize = 60;

/// Values in a line of the tree.
struct Texts;

impl Excerpts for Texts {
    fn arguments(&self, input: &Value) -> String {
        match input {
            Value::Null => String::new(),
            Value::Array(several) => several.iter().map(|one| self.value(one)).collect::<Vec<_>>().join(", "),
            only => self.value(only),
        }
    }

    fn value(&self, value: &Value) -> String {
        shortened(&json::text(value, false), ARGUMENTS_CHARACTERS)
    }

    fn error(&self, error: &Value) -> String {
        causes_text(error)
    }
}

/// Whether a run with this status is shown as done, failed, and so on.
pub(super) fn state(status: Status) -> timeline::State {
    match status {
        Status::Completed => timeline::State::Done,
        Status::Failed | Status::Stuck => timeline::State::Failed,
        Status::Cancelled => timeline::State::Dropped,
        Status::Running => timeline::State::Active,
        Status::Pending | Status::Suspended => timeline::State::Waiting,
    }
}
