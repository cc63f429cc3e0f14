//! `ls --group-by`: how many runs have the same error, workflow or status.

use std::collections::HashMap;

use clap::ValueEnum;
use serde_json::{Map, json};

use super::filter::Filter;
use super::output::{Output, Row, shown};
use super::report::Outcome;
use crate::engine::Client;
use crate::model::rfc3339;
use crate::steering::text::shortened;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// The code and the text of the error, without numbers and ids.
    Error,
    Workflow,
    Status,
}

/// The groups are made of the newest runs, so that the answer comes in bounded time.
const RUNS_MAX: usize = 10_000;
const PAGE: usize = 500;
const CLASS_CHARACTERS: usize = 200;

struct Group {
    runs: u64,
    /// The newest run.
    run: String,
    created: std::time::SystemTime,
}

/// Counts the runs by the value, and prints the groups, the largest first.
pub(super) async fn print(output: &mut Output, client: &Client, filter: &Filter, by: By) -> Outcome<()> {
    let mut groups: HashMap<String, Group> = HashMap::new();
    let (mut counted, mut after) = (0, None);
    let is_part = loop {
        let mut query = filter.runs(client).limit(PAGE.min(RUNS_MAX - counted));
        if let Some(after) = after {
            query = query.after(after);
        }
        let page = query.await?;
        counted += page.runs.len();
        for info in page.runs.into_iter().filter(|info| filter.matches(info)) {
            let value = match by {
                By::Workflow => info.workflow,
                By::Status => info.status.to_string(),
                By::Error => match info.error {
                    Some(error) => error.class,
                    None => continue,
                },
            };
            let newest = || Group { runs: 0, run: info.id, created: info.created_at };
            groups.entry(value).or_insert_with(newest).runs += 1;
        }
        after = page.next;
        let is_part = after.is_some() && counted >= RUNS_MAX;
        if after.is_none() || is_part {
            break is_part;
        }
    };
    let mut groups: Vec<(String, Group)> = groups.into_iter().collect();
    groups.sort_unstable_by(|(value, group), (other, than)| than.runs.cmp(&group.runs).then(value.cmp(other)));
    let name = match by {
        By::Error => "error",
        By::Workflow => "workflow",
        By::Status => "status",
    };
    let row = |(value, group): (String, Group)| Row {
        json: json!({
            name: value, "runs": group.runs, "newest": group.run, "newest_created_at": rfc3339::format(group.created),
        }),
        cells: vec![
            group.runs.to_string().into(),
            shortened(&value, CLASS_CHARACTERS).into(),
            group.run.into(),
            output.time(group.created).into(),
        ],
        id: value,
    };
    let rows = groups.into_iter().map(row).collect();
    if is_part {
        eprintln!("these are the newest {counted} matching runs; --since and --until choose others");
    }
    let more = Map::from_iter([("counted".to_owned(), json!(counted)), ("complete".to_owned(), json!(!is_part))]);
    output.list("groups", &[shown("runs"), shown(name), shown("newest"), shown("created")], rows, more)
}
