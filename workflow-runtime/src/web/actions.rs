//! The actions: each is a page with a form, and its equivalent on the command line.

mod bulk;
mod deploy;
mod fork;
mod payload;
mod start;

use maud::{Markup, html};

pub(super) use self::bulk::{act, confirm};
pub(super) use self::deploy::{changes, deployment, deployment_form};
pub(super) use self::fork::{fork, fork_form};
pub(super) use self::payload::{hook, resume, resume_form, send, send_form, suspension};
pub(super) use self::start::{start, start_form};
use super::access::Action;
use super::error::WebError;
use super::query::{Query, encoded, link};
use super::visit::Visit;
use crate::model::{RunInfo, Waiting};
use crate::steering::bulk::{CANCEL, DELETE, RETRY, Verb, WAKE};
use crate::steering::text::safe;

/// The actions that can be done to many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bulk {
    Retry,
    Wake,
    Cancel,
    Delete,
}

impl Bulk {
    pub const ALL: [Bulk; 4] = [Bulk::Retry, Bulk::Wake, Bulk::Cancel, Bulk::Delete];

    pub fn verb(self) -> &'static Verb {
        match self {
            Bulk::Retry => &RETRY,
            Bulk::Wake => &WAKE,
            Bulk::Cancel => &CANCEL,
            Bulk::Delete => &DELETE,
        }
    }

    pub fn parse(name: &str) -> Result<Bulk, WebError> {
        let bulk = Bulk::ALL.into_iter().find(|bulk| bulk.name() == name);
        bulk.ok_or_else(|| WebError::invalid("There is no such action"))
    }

    pub fn name(self) -> &'static str {
        self.verb().name
    }

    /// What it does.
    fn explained(self) -> &'static str {
        match self {
            Bulk::Retry => "Steps that succeeded do not run again. Those that failed run once more.",
            Bulk::Wake => {
                "Sleeps end now, before their deadlines, and steps that wait for a retry are tried again now."
            }
            Bulk::Cancel => "The runs end once a worker has executed their rollbacks. A cancel cannot be taken back.",
            Bulk::Delete => "All data of the runs is removed for good.",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Bulk::Retry => "Retry",
            Bulk::Wake => "Wake up",
            Bulk::Cancel => "Cancel",
            Bulk::Delete => "Delete",
        }
    }

    pub fn action(self) -> Action {
        match self {
            Bulk::Retry => Action::Retry,
            Bulk::Wake => Action::Wake,
            Bulk::Cancel => Action::Cancel,
            Bulk::Delete => Action::Delete,
        }
    }

    /// Whether it ends or removes runs.
    pub fn ends(self) -> bool {
        matches!(self, Bulk::Cancel | Bulk::Delete)
    }
}

/// The equivalent on the command line.
fn command(line: &str) -> Markup {
    html! { div.cmd { div.row { span.sm.dim { "The same as a command" } (copy()) } pre { (safe(line)) } } }
}

/// A command line that can be copied.
pub(super) fn line(line: &str) -> Markup {
    html! { div.cmd { pre { (safe(line)) } (copy()) } }
}

/// The button that copies the command line beside it. Without the script there is none.
fn copy() -> Markup {
    html! { button.btn.tiny.copy type="button" data-copy="" data-key="c" aria-live="polite" title="Copy as a command" { "Copy" } }
}

/// The page of an action on one run.
fn address(bulk: Bulk, run: &str) -> String {
    Query::default().and("do", bulk.name()).and("r", &encoded(run)).to("bulk")
}

/// The page that forks a run from an event.
pub(super) fn fork_address(run: &str, event: u64) -> String {
    Query::default().and("run", run).and("at", &event.to_string()).to("fork")
}

/// The actions that apply to a run now.
pub(super) fn bar(visit: &Visit, info: &RunInfo, waiting: &[Waiting]) -> Markup {
    // For the first reason there is a button beside the sentence. Of a long run the others are not known.
    let mut others = waiting.iter().skip(1);
    let wakes = waiting.is_empty() || others.any(|it| matches!(it, Waiting::Retrying { .. } | Waiting::Timer { .. }));
    let may = |action| visit.may(action, Some(&info.id));
    let bulk = |bulk: Bulk| may(bulk.action()) && (bulk.verb().applies)(info.status);
    html! {
        div.row.actions {
            @for one in Bulk::ALL.into_iter().filter(|one| bulk(*one) && (wakes || *one != Bulk::Wake)) {
                a.btn.danger[one.ends()] href=(address(one, &info.id)) { (one.word()) "…" }
            }
            @if may(Action::Fork) { a.btn href=(link("fork", "run", &info.id)) { "Fork…" } }
            @if may(Action::Start) { a.btn href=(link("start", "like", &info.id)) data-key="s" { "Start like it…" } }
        }
    }
}

/// The one button that ends what a run waits for, if there is one.
pub(super) fn ends_wait(visit: &Visit, info: &RunInfo, waiting: &[Waiting]) -> Markup {
    let may = |action| visit.may(action, Some(&info.id));
    html! {
        @match waiting.first() {
            Some(Waiting::Suspended { .. }) if may(Action::Resume) => {
                a.btn.pri href=(link("resume", "run", &info.id)) data-key="a" { "Answer" }
            },
            Some(Waiting::Hook { token, .. }) if visit.may(Action::SendPayload, Some(token)) => {
                a.btn href=(link("send", "token", token)) { "Send…" }
            },
            Some(Waiting::Retrying { run, .. }) if may(Action::Wake) => {
                a.btn href=(address(Bulk::Wake, run.as_deref().unwrap_or(&info.id))) data-key="w" { "Retry now…" }
            },
            Some(Waiting::Timer { .. }) if may(Action::Wake) => { a.btn href=(address(Bulk::Wake, &info.id)) data-key="w" { "Wake up…" } },
            Some(Waiting::Child { run, .. }) => { a.btn href=(link("run", "id", run)) { "Open the child" } },
            Some(Waiting::Run { run, .. }) => { a.btn href=(link("run", "id", run)) { "Open the run" } },
            Some(Waiting::Queued { .. } | Waiting::QueueNotServed { .. } | Waiting::NoWorker { .. } | Waiting::OtherWorkerExecutes { .. }) => {
                a.btn href="workers" { "Open the workers" }
            },
            Some(Waiting::Stuck { .. }) if may(Action::Retry) => { a.btn href=(address(Bulk::Retry, &info.id)) { "Retry…" } },
            _ => {},
        }
    }
}
