//! The filter that lists and bulk actions share.

use std::time::SystemTime;

use clap::Args;

use crate::engine::Client;
use crate::handles::runs::Runs;
use crate::model::{RunInfo, Status};
use crate::steering::time;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub(super) struct Filter {
    /// Runs with this status; can be repeated, or separated by commas
    #[arg(short, long, value_parser = status, value_delimiter = ',')]
    pub status: Vec<Status>,
    /// Unfinished runs with a step whose last attempt has failed, those that began to fail last first
    #[arg(short, long)]
    pub failing: bool,
    /// Runs that are not failing; no index serves this
    #[arg(long, conflicts_with = "failing")]
    pub not_failing: bool,
    /// Runs that wait: short for --status pending,suspended
    #[arg(long, conflicts_with = "status")]
    pub waiting: bool,
    /// Runs of this workflow, by its id; can be repeated
    #[arg(long, value_name = "ID")]
    pub workflow: Vec<String>,
    /// Runs with this attribute; can be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    pub attribute: Vec<(String, String)>,
    /// Children of this run
    #[arg(long, value_name = "RUN")]
    pub parent: Option<String>,
    /// Runs that were created at this time or later: 1h (ago), 2026-11-29, 2026-11-29T08:30:00Z
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub since: Option<SystemTime>,
    /// Runs that were created before this time
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub until: Option<SystemTime>,
    /// Runs whose id contains this text; no index serves this
    #[arg(long, value_name = "TEXT")]
    pub id: Option<String>,
}

/// A filter by errors, which no index serves.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub(super) struct Errors {
    /// Runs whose error contains this text; `ls` looks among the newest 10,000 that match the other filters
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Runs with an error of this class: the text without its numbers and ids, as `ls --group-by error` prints it
    #[arg(long, value_name = "CLASS")]
    error_class: Option<String>,
}

impl Errors {
    /// Whether it matches all runs.
    pub fn is_empty(&self) -> bool {
        self.error.is_none() && self.error_class.is_none()
    }

    pub fn matches(&self, info: &RunInfo) -> bool {
        let error = info.error.as_ref();
        let contains = |text: &String| error.is_some_and(|error| error.text.contains(text));
        let is_of = |class: &String| error.is_some_and(|error| error.class == *class);
        self.error.as_ref().is_none_or(contains) && self.error_class.as_ref().is_none_or(is_of)
    }
}

fn status(word: &str) -> Result<Status, String> {
    Status::parse(word).ok_or_else(|| {
        let words = Status::ALL.map(Status::as_str);
        format!("expected one of {}", words.join(", "))
    })
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "expected KEY=VALUE".to_owned())
}

impl Filter {
    /// Whether it matches all runs.
    pub fn is_empty(&self) -> bool {
        let Filter { status, failing, not_failing, waiting, workflow, attribute, parent, since, until, id } = self;
        let is_any = !failing
            && !not_failing
            && !waiting
            && parent.is_none()
            && since.is_none()
            && until.is_none()
            && id.is_none();
        is_any && status.is_empty() && workflow.is_empty() && attribute.is_empty()
    }

    /// Whether a run that the query has found matches.
    pub fn matches(&self, info: &RunInfo) -> bool {
        !(self.not_failing && info.failing_since.is_some())
    }

    /// The query for the runs that match, but for what [`matches`](Self::matches) looks at.
    pub fn runs(&self, client: &Client) -> Runs {
        let mut runs = client.runs();
        runs = self.status.iter().fold(runs, |runs, status| runs.status(*status));
        if self.waiting {
            runs = runs.status(Status::Pending).status(Status::Suspended);
        }
        if self.failing {
            runs = runs.failing();
        }
        runs = self.workflow.iter().fold(runs, |runs, id| runs.workflow(id));
        runs = self.attribute.iter().fold(runs, |runs, (key, value)| runs.attribute(key, value));
        if let Some(parent) = &self.parent {
            runs = runs.parent(parent);
        }
        if let Some(since) = self.since {
            runs = runs.created_after(since);
        }
        if let Some(until) = self.until {
            runs = runs.created_before(until);
        }
        if let Some(text) = &self.id {
            runs = runs.id_contains(text);
        }
        runs
    }
}
