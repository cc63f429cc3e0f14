//! `trace`: the tree of a run, live.

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
use super::tree::{self, Look, Node, State};
use super::watch;
use crate::engine::Client;
use crate::error::{Code, Error};
use crate::history::{Ending, RunEvent, RunEventKind};
use crate::model::{Status, causes_text, rfc3339};

/// Show the tree of a run: its steps, waits and children; branches that are over are folded
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

impl Trace {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        if context.output.format() != Format::Table {
            let error = Error::coded(Code::InvalidArguments, "a tree is only for people");
            return Err(Stop::usage(error.help("`workflow events RUN -o json` has its data")));
        }
        let client = context.client().await?;
        watch::draw(context, self.watch, async |context| {
            let (root, status) = root(&client, &self.run, self.depth, self.no_fold).await?;
            let output = &mut context.output;
            let now = match output.times() {
                Times::Relative => SystemTime::now(),
                // As of the last event, so that the same history is the same tree.
                Times::Iso => last(&root),
            };
            let look = Look { now, unfolded: self.no_fold, color: output.has_color(), raw: output.is_raw() };
            tree::lines(&root, look).into_iter().try_for_each(|line| output.line(line))?;
            Ok(status.is_terminal().then_some(Exit::Ok))
        })
        .await
    }
}

fn last(node: &Node) -> SystemTime {
    let below = node.children.iter().map(last).max();
    below.into_iter().chain(node.ended).fold(node.began, SystemTime::max)
}

/// The tree of a run, and its status.
fn root<'a>(client: &'a Client, id: &'a str, depth: usize, unfolded: bool) -> BoxFuture<'a, Outcome<(Node, Status)>> {
    Box::pin(async move {
        let run: AnyRun = client.get_run(id);
        let info = run.info().await?;
        let mut branches = Branches::default();
        let mut events = run.events().so_far();
        while let Some(event) = events.try_next().await? {
            branches.add(event);
        }
        let mut children = Vec::with_capacity(branches.all.len());
        for Branch { mut node, run } in branches.all {
            // What is folded is not read.
            let reads = depth > 0 && (unfolded || !node.state.is_over());
            if let Some(run) = run.filter(|_| reads) {
                match root(client, &run, depth - 1, unfolded).await {
                    Ok((child, _)) => node.children = child.children,
                    Err(Stop::Error(error, _)) if error.code() == Code::RunNotFound => {}
                    Err(stop) => return Err(stop),
                }
            }
            children.push(node);
        }
        let state = match info.status {
            Status::Completed => State::Done,
            Status::Failed | Status::Stuck => State::Failed,
            Status::Cancelled => State::Dropped,
            Status::Running => State::Active,
            Status::Pending | Status::Suspended => State::Waiting,
        };
        let label = format!("{} {}", info.workflow, info.id);
        let (began, ended) = (info.created_at, info.completed_at);
        let node = Node { label, state, detail: info.status.to_string(), began, ended, children };
        Ok((node, info.status))
    })
}

struct Branch {
    node: Node,
    /// The run that executes it, if it is a child or a step of a queue.
    run: Option<String>,
}

/// The branches of a run, by the events of its history.
#[derive(Default)]
struct Branches {
    all: Vec<Branch>,
    /// The places in `all` of the operations of this generation.
    open: std::collections::HashMap<u64, usize>,
}

const ARGUMENTS_CHARACTERS: usize = 60;

impl Branches {
    fn begin(&mut self, at: SystemTime, operation: u64, label: String, state: State, run: Option<String>) {
        self.open.insert(operation, self.all.len());
        let node = Node { label, state, detail: String::new(), began: at, ended: None, children: Vec::new() };
        self.all.push(Branch { node, run });
    }

    fn change(&mut self, operation: u64, state: State, detail: String, ended: Option<SystemTime>) {
        let Some(branch) = self.open.get(&operation).and_then(|at| self.all.get_mut(*at)) else { return };
        (branch.node.state, branch.node.detail, branch.node.ended) = (state, detail, ended);
        if ended.is_some() {
            self.open.remove(&operation);
        }
    }

    fn add(&mut self, event: RunEvent) {
        let at = event.at;
        match event.kind {
            RunEventKind::StepStarted { operation, step, name, input, run } => {
                let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
                self.begin(at, operation, format!("{step}({}){name}", arguments(&input)), State::Active, run);
            }
            RunEventKind::ChildStarted { operation, workflow, run, input, detached } => {
                let label = format!("{workflow}({}) {run}", arguments(&input));
                self.begin(at, operation, label, State::Active, Some(run));
                if detached {
                    self.change(operation, State::Done, "detached".into(), Some(at));
                }
            }
            RunEventKind::StepRetrying { operation, attempt, error, next_at } => {
                let next = rfc3339::format(next_at);
                let detail = format!("attempt {} at {next}: {}", attempt + 1, causes_text(&error));
                self.change(operation, State::Retrying, detail, None);
            }
            RunEventKind::StepSuspended { operation, label, .. } => {
                self.change(operation, State::Waiting, format!("suspended as `{label}`"), None);
            }
            RunEventKind::StepResumed { operation, .. } => {
                self.change(operation, State::Active, String::new(), None);
            }
            RunEventKind::StepCompleted { operation, output } => {
                self.change(operation, State::Done, format!("→ {}", shown(&output)), Some(at));
            }
            RunEventKind::StepFailed { operation, error } => {
                self.change(operation, State::Failed, causes_text(&error), Some(at));
            }
            RunEventKind::Sleeping { operation, until } => {
                self.begin(at, operation, format!("sleep until {}", rfc3339::format(until)), State::Waiting, None);
            }
            RunEventKind::Awake { operation, early } => {
                let detail = if early { "woken early" } else { "" };
                self.change(operation, State::Done, detail.into(), Some(at));
            }
            RunEventKind::HookOpened { operation, token, .. } => {
                self.begin(at, operation, format!("hook {token}"), State::Waiting, None);
            }
            RunEventKind::HookReceived { operation, value } => {
                self.change(operation, State::Waiting, format!("received {}", shown(&value)), None);
            }
            RunEventKind::HookRefused { operation, owner } => {
                self.change(operation, State::Failed, format!("the token belongs to {owner}"), Some(at));
            }
            RunEventKind::WaitingForRun { operation, run } => {
                self.begin(at, operation, format!("run {run}"), State::Waiting, Some(run));
            }
            RunEventKind::RunEnded { operation, end } => {
                let (state, detail) = match end {
                    Ending::Failed { error } => (State::Failed, causes_text(&error)),
                    Ending::Cancelled { reason } => (State::Dropped, reason),
                    Ending::Completed { output } => (State::Done, format!("→ {}", shown(&output))),
                    Ending::Continued { .. } | Ending::Unknown => (State::Done, String::new()),
                };
                self.change(operation, state, detail, Some(at));
            }
            RunEventKind::Dropped { operation } => self.change(operation, State::Dropped, String::new(), Some(at)),
            // Operations in progress end with the workflow.
            RunEventKind::Ended { .. } => {
                for (_, place) in std::mem::take(&mut self.open) {
                    if let Some(Branch { node, .. }) = self.all.get_mut(place) {
                        let received = node.state == State::Waiting && !node.detail.is_empty();
                        node.state = if received { State::Done } else { State::Dropped };
                        node.ended = Some(at);
                    }
                }
            }
            _ => {}
        }
    }
}

fn arguments(input: &Value) -> String {
    match input {
        Value::Null => String::new(),
        Value::Array(several) => several.iter().map(shown).collect::<Vec<_>>().join(", "),
        only => shown(only),
    }
}

fn shown(value: &Value) -> String {
    super::text::shortened(&json::text(value, false), ARGUMENTS_CHARACTERS)
}
