//! `hooks`: what runs wait for that people or programs have to send.

use clap::Args;
use serde_json::{Map, Value, json};

use super::context::Context;
use super::exit::Exit;
use super::filter::Filter;
use super::json;
use super::output::{Column, Row, shown};
use super::report::Outcome;
use crate::engine::Client;
use crate::error::Code;
use crate::model::Status;
use crate::steering::text::shortened;

/// Show the open hooks and the suspensions of runs
#[derive(Args)]
pub(super) struct Hooks {
    /// Ids of runs; without them, the newest runs that match the filter and have not ended
    runs: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// How many runs to look at, if no ids are given
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

const COLUMNS: [Column; 5] = [shown("kind"), shown("run"), shown("token"), shown("label"), shown("payload")];
const CHARACTERS: usize = 120;
const PAGE: usize = 200;

impl Hooks {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let client = context.client().await?;
        let mut rows = Vec::new();
        for run in &self.runs {
            rows.extend(of_run(&client, run).await?);
        }
        if self.runs.is_empty() {
            rows = self.of_filter(&client).await?;
        }
        context.output.list("hooks", &COLUMNS, rows, Map::new())?;
        Ok(Exit::Ok)
    }

    async fn of_filter(&self, client: &Client) -> Outcome<Vec<Row>> {
        let mut filter = self.filter.clone();
        if filter.status.is_empty() {
            filter.status = vec![Status::Running, Status::Suspended];
        }
        let (mut rows, mut looked, mut after) = (Vec::new(), 0, None);
        while looked < self.limit {
            let mut query = filter.runs(client).limit(PAGE.min(self.limit - looked));
            if let Some(after) = after {
                query = query.after(after);
            }
            let page = query.await?;
            looked += page.runs.len();
            for info in page.runs {
                match of_run(client, &info.id).await {
                    Ok(of_run) => rows.extend(of_run),
                    Err(error) if error.code() == Code::RunNotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
            after = match page.next {
                Some(next) => Some(next),
                None => return Ok(rows),
            };
        }
        eprintln!("these are the hooks of the newest {looked} matching runs; --limit looks at more");
        Ok(rows)
    }
}

/// The hooks of a run, and its own suspensions.
async fn of_run(client: &Client, run: &str) -> crate::Result<Vec<Row>> {
    let handle: super::context::AnyRun = client.get_run(run);
    let hooks = client.inner().hooks(run).await?.into_iter().map(|hook| {
        let metadata = hook.metadata.as_ref().map(|value| json::text(value, false)).unwrap_or_default();
        let mut json = json::hook(&hook);
        json["kind"] = "hook".into();
        Row { cells: cells("hook", run, &hook.token, "", &metadata), id: hook.token, json }
    });
    let suspended = handle.suspended().await?.into_iter().filter(|suspended| suspended.run == run);
    let suspended = suspended.map(|suspended| {
        let payload = json::text(&suspended.payload, false);
        let mut json = json::part(&suspended);
        if let Value::Object(fields) = &mut json {
            fields.insert("kind".into(), json!("suspension"));
        }
        Row { cells: cells("suspension", run, &suspended.id, &suspended.label, &payload), id: suspended.id, json }
    });
    Ok(hooks.chain(suspended).collect())
}

fn cells(kind: &str, run: &str, token: &str, label: &str, payload: &str) -> Vec<super::table::Cell> {
    vec![kind.into(), run.into(), token.into(), label.into(), shortened(payload, CHARACTERS).into()]
}
