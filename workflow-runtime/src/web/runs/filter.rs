//! The view and the filters of a list, as its address has them.

use std::time::SystemTime;

use maud::{Markup, html};

use super::super::error::WebError;
use super::super::icons::Icon;
use super::super::query::Query;
use super::super::survey::Survey;
use super::super::text::word;
use super::super::time::midnight;
use crate::engine::Client;
use crate::handles::runs::Runs;
use crate::model::{Figure, RunInfo, Status, rfc3339};
use crate::steering::text::is_hidden;
use crate::steering::time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum View {
    All,
    Running,
    Failing,
    Waiting,
    Stuck,
    FailedToday,
    Completed,
}

impl View {
    pub const ALL: [View; 7] =
        [View::All, View::Running, View::Failing, View::Waiting, View::Stuck, View::FailedToday, View::Completed];

    pub fn name(self) -> &'static str {
        match self {
            View::All => "all",
            View::Running => "running",
            View::Failing => "failing",
            View::Waiting => "waiting",
            View::Stuck => "stuck",
            View::FailedToday => "failed",
            View::Completed => "completed",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            View::All => "All",
            View::Running => "Running",
            View::Failing => "Failing",
            View::Waiting => "Waiting",
            View::Stuck => "Stuck",
            View::FailedToday => "Failed today",
            View::Completed => "Completed",
        }
    }

    /// The statuses of its runs; none if it has all.
    pub fn statuses(self) -> &'static [Status] {
        match self {
            View::All => &[],
            View::Running => &[Status::Running],
            // An index has them.
            View::Failing => &[],
            View::Waiting => &[Status::Pending, Status::Suspended],
            View::Stuck => &[Status::Stuck],
            View::FailedToday => &[Status::Failed],
            View::Completed => &[Status::Completed],
        }
    }

    /// How many runs it has without filters.
    pub fn count(self, survey: &Survey) -> u64 {
        match self {
            View::All => survey.counts.values().sum(),
            View::Running => survey.figure(Figure::Running),
            View::Failing => survey.figure(Figure::Failing),
            View::Waiting => survey.figure(Figure::Waiting),
            View::Stuck => survey.figure(Figure::Stuck),
            View::FailedToday => survey.failed_today,
            View::Completed => survey.count(Status::Completed),
        }
    }
}

/// The names of the parameters that choose runs.
const NAMES: [&str; 9] = ["view", "status", "workflow", "attribute", "parent", "since", "until", "contains", "class"];

#[derive(Clone, Debug)]
pub(in crate::web) struct Filter {
    pub view: View,
    statuses: Vec<Status>,
    workflows: Vec<String>,
    attributes: Vec<(String, String)>,
    parent: Option<String>,
    /// The time, and how it is written.
    since: Option<(SystemTime, String)>,
    until: Option<(SystemTime, String)>,
    contains: Option<String>,
    /// What errors have in common: see [`RunError::class`](crate::RunError::class).
    pub class: Option<String>,
    /// The beginning of the day.
    today: SystemTime,
}

/// A filter as it is shown.
pub(in crate::web) struct Chip {
    /// The parameter and its value.
    pub name: &'static str,
    pub value: String,
    pub word: &'static str,
    pub shown: String,
}

impl Filter {
    pub fn parse(query: &Query, now: SystemTime) -> Result<Filter, WebError> {
        let view = query.get("view").unwrap_or("all");
        let view = View::ALL.into_iter().find(|known| known.name() == view);
        let status =
            |word: &str| Status::parse(word).ok_or_else(|| WebError::invalid(format!("`{word}` is no status")));
        let pair = |text: &str| {
            let pair = text.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
            pair.ok_or_else(|| WebError::invalid("An attribute is written as KEY=VALUE"))
        };
        let read = |name| {
            let read = |text: &str| time::time(text).map(|time| (time, text.to_owned())).map_err(WebError::invalid);
            query.get(name).map(read).transpose()
        };
        Ok(Filter {
            view: view.ok_or_else(|| WebError::invalid("There is no such view"))?,
            statuses: query.all("status").map(status).collect::<Result<_, _>>()?,
            workflows: query.all("workflow").map(str::to_owned).collect(),
            attributes: query.all("attribute").map(pair).collect::<Result<_, _>>()?,
            parent: query.get("parent").map(str::to_owned),
            since: read("since")?,
            until: read("until")?,
            contains: query.get("contains").map(str::to_owned),
            class: query.get("class").map(str::to_owned),
            today: midnight(now),
        })
    }

    /// The query for the runs that match, but for what [`matches`](Self::matches) looks at.
    pub fn runs(&self, client: &Client) -> Runs {
        let statuses = self.all_statuses();
        let mut runs = statuses.iter().fold(client.runs(), |runs, status| runs.status(*status));
        runs = self.workflows.iter().fold(runs, |runs, id| runs.workflow(id));
        runs = self.attributes.iter().fold(runs, |runs, (key, value)| runs.attribute(key, value));
        if let Some(parent) = &self.parent {
            runs = runs.parent(parent);
        }
        let today = (self.view == View::FailedToday).then_some(self.today);
        if let Some(since) = self.since.as_ref().map(|(time, _)| *time).max(today) {
            runs = runs.created_after(since);
        }
        if let Some((until, _)) = &self.until {
            runs = runs.created_before(*until);
        }
        if self.view == View::Failing {
            runs = runs.failing();
        }
        match &self.contains {
            Some(text) => runs.id_contains(text),
            None => runs,
        }
    }

    /// The statuses that match; none if all do.
    pub fn all_statuses(&self) -> Vec<Status> {
        match (self.view.statuses(), &self.statuses[..]) {
            (of_view, []) => of_view.to_vec(),
            ([], chosen) => chosen.to_vec(),
            (of_view, chosen) => chosen.iter().filter(|status| of_view.contains(status)).copied().collect(),
        }
    }

    /// The earlier of a time and the end of the filter.
    pub fn before(&self, time: SystemTime) -> SystemTime {
        self.until.as_ref().map_or(time, |(until, _)| time.min(*until))
    }

    /// Whether a run that was read matches also what no index has: the class of errors that the filter names, and that the
    /// runs of the view *Running* are not failing.
    pub fn matches(&self, info: &RunInfo) -> bool {
        let is_of = |class: &String| info.error.as_ref().is_some_and(|error| error.class == *class);
        self.class.as_ref().is_none_or(is_of) && !(self.view == View::Running && info.failing_since.is_some())
    }

    /// Whether runs that the query finds may not match.
    pub fn scans(&self) -> bool {
        self.class.is_some() || self.view == View::Running
    }

    /// The parameters that choose the runs, for another page.
    pub fn parameters(&self, query: &Query) -> Query {
        query.clone().only(&NAMES)
    }

    /// The filters besides the view.
    pub fn chips(&self) -> Vec<Chip> {
        let chip = |name, word, value: &str| Chip { name, word, value: value.to_owned(), shown: value.to_owned() };
        let mut chips = Vec::new();
        chips.extend(self.statuses.iter().map(|status| chip("status", "status", status.as_str())));
        chips.extend(self.workflows.iter().map(|id| chip("workflow", "workflow", id)));
        for (key, value) in &self.attributes {
            let shown = format!("{key} = {value}");
            chips.push(Chip { name: "attribute", word: "attribute", value: format!("{key}={value}"), shown });
        }
        chips.extend(self.parent.iter().map(|id| chip("parent", "child of", id)));
        let time = |name, word, given: &(SystemTime, String)| Chip {
            name,
            word,
            value: given.1.clone(),
            shown: if given.1.starts_with(|letter: char| letter.is_ascii_digit()) && given.1.contains('-') {
                rfc3339::shown(given.0)
            } else {
                format!("{} ago", given.1)
            },
        };
        chips.extend(self.since.iter().map(|given| time("since", "started after", given)));
        chips.extend(self.until.iter().map(|given| time("until", "started before", given)));
        chips.extend(self.contains.iter().map(|text| chip("contains", "id contains", text)));
        chips.extend(self.class.iter().map(|class| chip("class", "error", class)));
        chips
    }

    /// The options of the command line that choose the same runs, as far as it has them.
    pub fn options(&self) -> String {
        let mut options = String::new();
        let mut option = |name: &str, value: &str| options.push_str(&format!(" --{name} {}", word(value)));
        self.all_statuses().iter().for_each(|status| option("status", status.as_str()));
        self.workflows.iter().for_each(|id| option("workflow", id));
        self.attributes.iter().for_each(|(key, value)| option("attribute", &format!("{key}={value}")));
        self.parent.iter().for_each(|id| option("parent", id));
        match self.view {
            View::Failing => options.push_str(" --failing"),
            View::Running => options.push_str(" --not-failing"),
            _ => {}
        }
        let mut option = |name: &str, value: &str| options.push_str(&format!(" --{name} {}", word(value)));
        if self.view == View::FailedToday && self.since.is_none() {
            option("since", &rfc3339::format(self.today));
        }
        self.since.iter().for_each(|(_, text)| option("since", text));
        self.until.iter().for_each(|(_, text)| option("until", text));
        self.contains.iter().for_each(|text| option("id", text));
        self.class.iter().for_each(|class| option("error-class", class));
        options
    }
}

/// The form that adds a filter.
pub(super) fn editor(filter: &Filter, query: &Query) -> Markup {
    let given = |name: &str| query.get(name).filter(|text| !text.contains(is_hidden)).unwrap_or_default().to_owned();
    let fields = [
        ("workflow", "Workflow", "its id"),
        ("attribute", "Attribute", "shop=ulm"),
        ("since", "Started after", "2d, 1h, 2026-11-29"),
        ("until", "Started before", "1h, 2026-11-29T18:00:00Z"),
        ("contains", "Id contains", "2026-11"),
        ("parent", "Child of", "the id of a run"),
    ];
    html! {
        details.menu {
            summary.chip { (Icon::Plus.svg()) "Filter" }
            form.panel action="runs" {
                @for (name, value) in query.pairs().filter(|(name, value)| ["view", "group", "status", "class"].contains(name) && !value.contains(is_hidden)) {
                    input type="hidden" name=(name) value=(value);
                }
                @for (name, label, example) in fields {
                    p.fld {
                        label for=(format!("f-{name}")) { (label) }
                        input id=(format!("f-{name}")) name=(name) value=(given(name)) placeholder=(example);
                    }
                }
                @if filter.view == View::All && filter.statuses.is_empty() {
                    p.fld {
                        label for="f-status" { "Status" }
                        select #f-status name="status" {
                            option value="" { "any" }
                            @for status in Status::ALL { option { (status) } }
                        }
                    }
                }
                button.btn.pri { "Apply" }
            }
        }
    }
}
