//! Actions on many runs: given by their ids, or all that match a filter.
//!
//! A filter is evaluated once: runs that are created after the action has begun do not belong to it. The runs are read page by page, so that any number of them needs little memory, and the status of each is read again
//! before it is acted on: a run that no longer matches is skipped and counted.

use std::time::{Duration, SystemTime};

use super::AnyRun;
use crate::engine::Client;
use crate::error::{Code, Result};
use crate::handles::runs::{Cursor, Runs};
use crate::model::{RunInfo, Status, time};

const PAGE: usize = 100;
/// A run that was created in the millisecond in which the action begins belongs to the filter.
const MILLISECOND: Duration = Duration::from_millis(1);

/// What an action is called, and which runs it is for.
#[derive(Clone, Copy)]
pub(crate) struct Verb {
    pub name: &'static str,
    /// What a run is afterwards.
    pub done: &'static str,
    /// Whether a run with this status can be acted on.
    pub applies: fn(Status) -> bool,
    /// Whether what it does cannot be repaired, so that a person has to type how many runs it is done to.
    pub is_final: bool,
}

pub(crate) const CANCEL: Verb =
    Verb { name: "cancel", done: "cancel requested", applies: |status| !status.is_terminal(), is_final: false };
pub(crate) const RETRY: Verb = Verb {
    name: "retry",
    done: "retried",
    applies: |status| matches!(status, Status::Failed | Status::Cancelled | Status::Stuck),
    is_final: false,
};
pub(crate) const WAKE: Verb =
    Verb { name: "wake", done: "woken", applies: |status| !status.is_terminal(), is_final: false };
/// One that was created and not started can be deleted too: the library decides.
pub(crate) const DELETE: Verb = Verb {
    name: "delete",
    done: "deleted",
    applies: |status| status.is_terminal() || status == Status::Pending,
    is_final: true,
};

/// What an action has done to a run.
pub(crate) enum Done {
    Done,
    /// Nothing, for this reason.
    Skipped(String),
}

/// Requests the cancel of a run.
pub(crate) async fn request_cancel(run: &AnyRun, reason: &str) -> Result<Done> {
    Ok(if run.request_cancel(reason).await? { Done::Done } else { ended_before() })
}

pub(crate) fn ended_before() -> Done {
    Done::Skipped("it had ended before".to_owned())
}

/// The counts of a bulk action.
#[derive(Default)]
pub(crate) struct Tally {
    pub done: u64,
    pub skipped: u64,
    pub failed: u64,
}

impl Tally {
    pub fn add(&mut self, result: &Result<Done>) {
        match result {
            Ok(Done::Done) => self.done += 1,
            Ok(Done::Skipped(_)) => self.skipped += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// Which runs are acted on, and how.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// The statuses of the filter; none if all match.
    pub statuses: &'a [Status],
    /// Whether the runs match a filter, and were not named by a person.
    pub is_filter: bool,
    pub is_dry_run: bool,
}

/// The runs of a query that were created before now, and before the end of its filter if it has one: those that are created
/// later do not belong to it. `now` is by the clock of the store, which sets the times of creation.
pub(crate) fn bounded(client: &Client, query: Runs, until: Option<SystemTime>) -> Runs {
    let now = time(client.inner().store_time()) + MILLISECOND;
    query.created_before(until.map_or(now, |until| until.min(now))).limit(PAGE)
}

/// The action that is applied to a run.
pub(crate) enum Due {
    Act(AnyRun),
    /// Nothing: it is a dry run, or the status of the run is not one that the action is for.
    Nothing(Done),
}

/// Looks whether the status of a run is still one that the action is for.
pub(crate) async fn due(client: &Client, id: &str, verb: &Verb, limits: Limits<'_>) -> Result<Due> {
    let run: AnyRun = client.get_run(id);
    let status = match run.status().await {
        Ok(status) => status,
        Err(error) if limits.is_filter && error.code() == Code::RunNotFound => {
            return Ok(Due::Nothing(Done::Skipped("it was deleted".to_owned())));
        }
        Err(error) => return Err(error),
    };
    let matches = limits.statuses.is_empty() || limits.statuses.contains(&status);
    if !matches || !(verb.applies)(status) {
        let help = match (verb.name, status) {
            ("retry", Status::Running) => "; wake it, and a step that waits for a retry is tried again now",
            _ => "",
        };
        return Ok(Due::Nothing(Done::Skipped(format!("it is {status}{help}"))));
    }
    Ok(if limits.is_dry_run { Due::Nothing(Done::Done) } else { Due::Act(run) })
}

/// The result of an action on a run that may have changed between the look and the action.
pub(crate) fn settled(result: Result<Done>, limits: Limits<'_>) -> Result<Done> {
    match result {
        Err(error)
            if [Code::NotRepairable, Code::NotEnded, Code::RunNotFound].contains(&error.code()) && limits.is_filter =>
        {
            Ok(Done::Skipped(error.message().to_owned()))
        }
        done => done,
    }
}

/// The ids of the runs that match a query, read page by page.
pub(crate) struct Pages {
    query: Runs,
    /// Whether a run of a page belongs to the filter: for what the store does not look at.
    matches: Box<dyn Fn(&RunInfo) -> bool + Send + Sync>,
    page: std::vec::IntoIter<String>,
    next: Next,
}

enum Next {
    First,
    After(Cursor),
    End,
}

impl Pages {
    pub fn of(query: Runs, matches: impl Fn(&RunInfo) -> bool + Send + Sync + 'static) -> Self {
        Pages { query, matches: Box::new(matches), page: Vec::new().into_iter(), next: Next::First }
    }

    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(id) = self.page.next() {
                return Ok(Some(id));
            }
            let query = match self.next {
                Next::First => self.query.clone(),
                Next::After(cursor) => self.query.clone().after(cursor),
                Next::End => return Ok(None),
            };
            let page = query.await?;
            self.next = page.next.map_or(Next::End, Next::After);
            let runs = page.runs.into_iter().filter(|run| (self.matches)(run));
            self.page = runs.map(|run| run.id).collect::<Vec<_>>().into_iter();
        }
    }
}
