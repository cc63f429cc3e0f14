//! `show`: what is known of a run, and what it waits for.

use clap::Args;
use serde_json::{Value, json};

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::json;
use super::ls::status;
use super::output::{Format, Output};
use super::report::Outcome;
use super::table::{Cell, Paint};
use super::watch;
use crate::history::{StepOutcome, StepStatus};
use crate::model::{HookInfo, RunError, RunInfo, Status, Suspended, Waiting, WorkerInfo, causes_text};
use crate::steering::errors;
use crate::steering::fits::{self, Fit};
use crate::steering::text::shortened;

/// Show a run: its status, what it waits for, its last error, its hooks, its children
#[derive(Args)]
pub(super) struct Show {
    /// The id of the run
    run: String,
    /// Show again after each change, until interrupted or the end of the run
    #[arg(short, long)]
    watch: bool,
    /// Show the state and the payloads of suspensions as a whole
    #[arg(short, long)]
    payloads: bool,
}

/// What a run is shown as.
struct Summary {
    info: RunInfo,
    waiting: Vec<Waiting>,
    error: Option<RunError>,
    attributes: Vec<(String, String)>,
    state: Option<Value>,
    /// The steps that have not ended.
    open: Vec<StepOutcome>,
    /// How many steps have been called.
    steps: usize,
    hooks: Vec<HookInfo>,
    suspended: Vec<Suspended>,
    children: Vec<String>,
    streams: Vec<String>,
    /// The worker that holds the run.
    holder: Option<WorkerInfo>,
    /// The deployment that it is bound to.
    bound_to: Option<String>,
    /// The deployments that have the code with which it was started, if it is stuck.
    fits: Option<Vec<Fit>>,
}

const CHARACTERS: usize = 200;
const CHILDREN: usize = 10;

impl Show {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let run = context.run(&self.run).await?;
        watch::draw(context, self.watch, async |context| {
            let summary = summary_of(&run).await?;
            let output = &mut context.output;
            match output.format() {
                Format::Json | Format::Jsonl => output.document(summary.document())?,
                Format::Ids => output.line(output.text(&summary.info.id))?,
                Format::Table => summary.print(output, self.payloads)?,
            }
            Ok(summary.info.status.is_terminal().then_some(Exit::Ok))
        })
        .await
    }
}

async fn summary_of(run: &AnyRun) -> Outcome<Summary> {
    let client = run.engine().await?;
    let info = run.info().await?;
    let steps = run.steps().await?;
    let row = client.inner().row(&info.id).await?;
    let owner = row.as_ref().map(|row| row.fence.owner).filter(|_| !info.status.is_terminal());
    let holder = match owner {
        Some(owner) => client.inner().worker(owner).await?,
        None => None,
    };
    let fits = match row.as_ref().filter(|row| row.status == Status::Stuck) {
        Some(row) => Some(fits::of(row, &client.deployments().await?)),
        None => None,
    };
    let is_open = |step: &StepOutcome| matches!(step.status, StepStatus::Running | StepStatus::Suspended);
    Ok(Summary {
        waiting: run.waiting().await?,
        error: errors::of(&client, &info).await?,
        attributes: run.attributes().await?.into_iter().collect(),
        state: run.state().await?,
        steps: steps.len(),
        open: steps.into_iter().filter(is_open).collect(),
        hooks: client.inner().hooks(&info.id).await?,
        suspended: run.suspended().await?,
        children: run.children().await?,
        streams: run.streams().await?,
        holder,
        fits,
        bound_to: row.and_then(|row| row.required_deployment.as_deref().map(str::to_owned)),
        info,
    })
}

impl Summary {
    fn document(&self) -> Value {
        let attributes: serde_json::Map<String, Value> =
            self.attributes.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let mut document = json::part(&self.info);
        let more = json!({
            "waiting": self.waiting,
            "waits": self.waiting.first().map(Waiting::to_string),
            "error": self.error,
            "attributes": attributes,
            "state": self.state,
            "steps": self.steps,
            "open_steps": self.open.iter().map(json::part).collect::<Vec<_>>(),
            "hooks": self.hooks.iter().map(json::hook).collect::<Vec<_>>(),
            "suspended": self.suspended.iter().map(json::part).collect::<Vec<_>>(),
            "children": self.children,
            "streams": self.streams,
            "held_by": self.holder.as_ref().map(json::part),
            "bound_to": self.bound_to,
            "fits": self.fits.as_ref().map(|fits| fits.iter().map(|fit| &*fit.deployment).collect::<Vec<_>>()),
        });
        if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
            document.extend(more);
        }
        document
    }

    fn print(&self, output: &mut Output, payloads: bool) -> Outcome<()> {
        let info = &self.info;
        let mut lines = Lines { output };
        lines.put("run", info.id.clone())?;
        lines.put("workflow", info.workflow.clone())?;
        lines.put("status", status(info))?;
        if !info.status.is_terminal() {
            for waiting in &self.waiting {
                lines.put("waits", waiting.to_string())?;
            }
        }
        if let Some(error) = &self.error {
            let text = format!("{} ({})", error.text.trim_end(), error.code);
            lines.put("error", Cell { text, paint: Paint::Bad })?;
        }
        for (name, text) in self.waiting.first().into_iter().flat_map(fits::remedy) {
            lines.put(name, text.to_owned())?;
        }
        lines.optional("fits", self.fits.as_deref().map(fits::words))?;
        if let Some(holder) = &self.holder {
            let pid = holder.pid.map(|pid| format!("process {pid} ")).unwrap_or_default();
            let host = holder.host.as_ref().map(|host| format!("on {host}")).unwrap_or_default();
            let deployment = holder.deployment.as_ref().map(|id| format!(", deployment {id}")).unwrap_or_default();
            let is_gone = if holder.is_alive { "" } else { ", which is gone" };
            lines.put("held by", format!("{pid}{host}{deployment}{is_gone}"))?;
        }
        lines.optional("bound to", self.bound_to.as_ref().map(|id| format!("deployment {id}")))?;
        lines.put("created", lines.output.time(info.created_at))?;
        lines.optional("started", info.started_at.map(|time| lines.output.time(time)))?;
        lines.optional("ended", info.completed_at.map(|time| lines.output.time(time)))?;
        lines.optional("generation", (info.generation > 0).then(|| info.generation.to_string()))?;
        lines.optional("parent", info.parent.clone())?;
        for (key, value) in &self.attributes {
            lines.put("attribute", format!("{key}={value}"))?;
        }
        let shown = |value: &Value| {
            let text = json::text(value, false);
            if payloads { text } else { shortened(&text, CHARACTERS) }
        };
        lines.optional("state", self.state.as_ref().map(shown))?;
        lines.put("steps", format!("{}, of which {} have not ended", self.steps, self.open.len()))?;
        for step in &self.open {
            lines.put("step", described(step, lines.output))?;
        }
        for hook in &self.hooks {
            lines.put("hook", hook.token.clone())?;
        }
        for suspended in &self.suspended {
            let Suspended { id, label, payload, run, .. } = suspended;
            let other = if *run == info.id { String::new() } else { format!(" of {run}") };
            lines.put("suspended", format!("{label}{other}, id {id}: {}", shown(payload)))?;
        }
        for child in self.children.iter().take(CHILDREN) {
            lines.put("child", child.clone())?;
        }
        let more = self.children.len().saturating_sub(CHILDREN);
        lines.optional("children", (more > 0).then(|| format!("{more} more: workflow ls --parent RUN")))?;
        for stream in &self.streams {
            lines.put("stream", stream.clone())?;
        }
        Ok(())
    }
}

/// A step that has not ended, in one line.
fn described(step: &StepOutcome, output: &Output) -> String {
    let name = step.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let word = if step.status == StepStatus::Suspended { "suspended" } else { "running" };
    let since = output.time(step.started_at);
    let attempts = if step.attempts > 1 { format!(", attempt {}", step.attempts) } else { String::new() };
    let error = step.error.as_ref().map(|error| format!(", last error: {}", causes_text(error))).unwrap_or_default();
    shortened(&format!("{}{name} {word}, called {since}{attempts}{error}", step.step), CHARACTERS)
}

/// Lines of a name and a value.
struct Lines<'a> {
    output: &'a mut Output,
}

const NAME_WIDTH: usize = 10;

impl Lines<'_> {
    fn put(&mut self, name: &str, value: impl Into<Cell>) -> Outcome<()> {
        let cell: Cell = value.into();
        let color = self.output.has_color();
        let name = Paint::Quiet.on(&format!("{name:<NAME_WIDTH$}"), color);
        let value = cell.paint.on(&self.output.text(&cell.text), color);
        self.output.line(format!("{name}  {value}"))
    }

    fn optional(&mut self, name: &str, value: Option<String>) -> Outcome<()> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }
}
