//! Why a run does not move, as a sentence of the page.

use std::time::SystemTime;

use maud::{Markup, PreEscaped, html};

use super::icons::Icon;
use super::query::link;
use super::time::{age, ahead, at, until};
use crate::model::{Attempt, RunInfo, Status, Waiting};
use crate::steering::text::{safe, shortened};

const ERROR_CHARACTERS: usize = 300;

/// How a run is shown: by its status; a run that retries is shown as failing, and a suspension differs from other waits.
pub(super) fn icon(info: &RunInfo, waiting: Option<&Waiting>) -> Icon {
    match (info.status, waiting) {
        (status, _) if status.is_terminal() => Icon::of(status),
        (Status::Stuck, _) => Icon::Stuck,
        _ if info.failing_since.is_some() => Icon::Failing,
        (_, Some(waiting)) => of_reason(waiting).unwrap_or(Icon::of(info.status)),
        (status, None) => Icon::of(status),
    }
}

fn of_reason(waiting: &Waiting) -> Option<Icon> {
    Some(match waiting {
        Waiting::Retrying { .. } => Icon::Failing,
        Waiting::Executing { .. } => Icon::Running,
        Waiting::Suspended { .. } => Icon::Person,
        Waiting::Timer { .. } => Icon::Clock,
        Waiting::NotBegun | Waiting::Delayed { .. } => Icon::Pending,
        Waiting::BeforeRollback { waits_for, .. } | Waiting::RollingBack { waits_for, .. } => {
            return of_reason(waits_for);
        }
        _ => return None,
    })
}

/// The attempt that a reason names: `4 of 10`.
pub(super) fn attempt(waiting: &Waiting) -> Option<String> {
    match waiting {
        Waiting::Retrying { attempt, attempts_max: Some(most), .. }
        | Waiting::Executing { attempt, attempts_max: Some(most), .. } => Some(format!("{attempt} of {most}")),
        Waiting::Retrying { attempt, .. } | Waiting::Executing { attempt, .. } => Some(attempt.to_string()),
        Waiting::BeforeRollback { waits_for, .. } | Waiting::RollingBack { waits_for, .. } => self::attempt(waits_for),
        _ => None,
    }
}

fn named(step: &str, name: &Option<String>) -> Markup {
    html! { code { (safe(step)) } @if let Some(name) = name { " (" (safe(name)) ")" } }
}

fn run_link(run: &str) -> Markup {
    html! { a href=(link("run", "id", run)) { code { (safe(run)) } } }
}

fn state(status: &Option<Status>) -> Markup {
    html! {
        @match status {
            Some(Status::Pending) => "has not begun",
            Some(status) => { "is " (status) },
            None => "does not exist",
        }
    }
}

/// For how long a wait lasts, if that is recorded.
fn lasts(since: Option<SystemTime>, now: SystemTime) -> Markup {
    html! { @if let Some(since) = since { " since " (age(since, now)) } }
}

/// What another run does that a run waits for: `which retries charge in 12 s`.
fn does(waiting: &Waiting, now: SystemTime) -> Option<Markup> {
    let has_verb = matches!(
        waiting,
        Waiting::Executing { .. }
            | Waiting::Retrying { .. }
            | Waiting::Queued { .. }
            | Waiting::Child { .. }
            | Waiting::Run { .. }
            | Waiting::Hook { .. }
            | Waiting::Suspended { .. }
            | Waiting::Timer { .. }
            | Waiting::BeforeRollback { .. }
            | Waiting::RollingBack { .. }
    );
    let mut sentence = has_verb.then(|| of(waiting, now))?.into_string();
    sentence.get_mut(..1)?.make_ascii_lowercase();
    Some(PreEscaped(sentence))
}

/// The sentence of a run whose first reason is another run, with what that one waits for.
pub(super) fn of_both(waiting: &Waiting, other: Option<&Waiting>, now: SystemTime) -> Markup {
    let Some(does) = other.and_then(|other| does(other, now)) else { return of(waiting, now) };
    html! {
        @match waiting {
            Waiting::Child { run, .. } => { "Waits for its child " (run_link(run)) ", which " (does) },
            Waiting::Run { run, .. } => { "Waits for run " (run_link(run)) ", which " (does) },
            _ => (of(waiting, now)),
        }
    }
}

/// The sentence: the verb first, then since, then until.
pub(super) fn of(waiting: &Waiting, now: SystemTime) -> Markup {
    html! {
        @match waiting {
            Waiting::Stuck { error, .. } => { "Stuck: " (safe(&shortened(error, ERROR_CHARACTERS))) },
            Waiting::NoWorker { workflow, deployment: None } => {
                "No live worker has workflow " code { (safe(workflow)) }
            },
            Waiting::NoWorker { workflow, deployment: Some(deployment) } => {
                "No live worker of deployment " code { (safe(deployment)) } " has workflow " code { (safe(workflow)) }
            },
            Waiting::OtherWorkerExecutes { workflow, executes, deployment, candidates } => {
                "Process " (executes)
                @if let Some(deployment) = deployment { " of deployment " code { (safe(deployment)) } }
                " executes and does not have workflow " code { (safe(workflow)) } "; "
                @for (at, candidate) in candidates.iter().enumerate() { @if at > 0 { ", " } (candidate) }
                @if candidates.len() == 1 { " has it" } @else { " have it" }
            },
            Waiting::StoreReplaced { process } => {
                "Process " (process) " holds the lock of the database and has another file open, which this one has replaced"
            },
            Waiting::NotBegun => "Created, not started",
            Waiting::Delayed { until: time } => { "Starts at " (until(*time, now)) },
            Waiting::Due => "Ready: a worker takes it up next",
            Waiting::Executing { step, name, attempt, attempts_max, dispatched_at, .. } => {
                "Executes " (named(step, name)) @if *attempt > 1 { ", " (Attempt(*attempt, *attempts_max)) }
                " since " (at(*dispatched_at, now))
            },
            Waiting::Retrying { step, name, next_at, .. } => {
                "Retries " (named(step, name)) " "
                @if *next_at > now { "in " (ahead(*next_at, now)) } @else { "now" }
            },
            Waiting::Queued { queue, step, .. } => {
                "Waits for a free place in queue " code { (safe(queue)) } " for " code { (safe(step)) }
            },
            Waiting::QueueNotServed { queue, step, .. } => {
                "No live worker serves queue " code { (safe(queue)) } " of " code { (safe(step)) }
            },
            Waiting::Child { run, status, .. } => { "Waits for its child " (run_link(run)) ", which " (state(status)) },
            Waiting::Run { run, status } => { "Waits for run " (run_link(run)) ", which " (state(status)) },
            Waiting::Cycle { runs } => {
                "Runs wait for each other: "
                @for run in runs { (run_link(run)) " for " }
                @if let Some(first) = runs.first() { code { (safe(first)) } }
            },
            Waiting::Hook { token, since, .. } => {
                "Waits for a payload to hook " code { (safe(token)) } (lasts(*since, now))
            },
            Waiting::Suspended { label, step, since, .. } => {
                "Waits for a person to answer " code { (safe(label)) }
                @if let Some(step) = step { ", asked by " code { (safe(step)) } }
                (lasts(*since, now))
            },
            Waiting::Timer { until: time } => { "Sleeps until " (until(*time, now)) },
            Waiting::BeforeRollback { waits_for, .. } => { "Waits before it rolls back: " (of(waits_for, now)) },
            Waiting::RollingBack { waits_for, .. } => { "Rolls back: " (of(waits_for, now)) },
            Waiting::Ended { status } => { (capital(status.as_str())) },
            _ => "Waits for something that this version does not know",
        }
    }
}

/// A word with a capital.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
