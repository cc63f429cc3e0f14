//! The first page: what does not move, and why.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::document::Tab;
use super::error::WebError;
use super::hours::{self, Ends, Figures};
use super::icons::Icon;
use super::layout;
use super::query::{Query, link};
use super::runs::View;
use super::survey::{Row, Survey};
use super::text::{counted, cut_id, number};
use super::visit::Visit;
use super::{sentence, time};
use crate::model::{Figure, RunInfo, Status, Waiting, WorkerInfo};
use crate::steering::fits;
use crate::steering::text::{safe, shortened};

const KEYS: [(&str, &str); 4] = [("g o", "overview"), ("g r", "runs"), ("g p", "people"), ("/", "find a run")];
const ROWS: usize = 8;
const ERROR_CHARACTERS: usize = 200;

pub(super) async fn page(visit: &Visit) -> Result<Markup, WebError> {
    let survey = async { Ok::<_, WebError>(visit.survey().await?) };
    let workers = async { Ok(visit.client.workers().await?) };
    let (survey, workers, ended, recorded) =
        tokio::try_join!(survey, workers, hours::ended(visit), hours::recorded(visit))?;
    let figures = Figures::of(&recorded, &survey);
    let ends = Ends::of(visit, &ended);
    let failing = survey.figure(Figure::Failing);
    let people = survey.people();
    let stuck = survey.figure(Figure::Stuck);
    let body = html! {
        div.head {
            h1 data-live="title" aria-live="polite" { (title(failing, stuck, people, &survey, &workers)) }
            span.push.dim.sm { "last 24 hours" }
        }
        (stats(visit, &survey, &ended, &ends, &figures))
        div.cols {
            div {
                (failing_now(visit, &survey, failing))
                (stuck_now(visit, &survey, stuck).await?)
                (ends.bars())
            }
            div { (waiting(visit, &survey)) (live_workers(visit, &survey, &workers)) }
        }
    };
    Ok(layout::page(visit, Tab::Overview, "Overview", &KEYS, body))
}

/// The sentence of what does not move.
fn title(failing: u64, stuck: u64, people: u64, survey: &Survey, workers: &[WorkerInfo]) -> String {
    let (is, are) = ("is", "are");
    let verb = |count| if count == 1 { is } else { are };
    let mut parts = Vec::new();
    if failing > 0 {
        parts.push(format!("{} {} failing", counted(failing), verb(failing)));
    }
    if stuck > 0 {
        parts.push(format!("{} {} stuck", counted(stuck), verb(stuck)));
    }
    if people > 0 {
        parts.push(format!("{} {} for a person", number(people), if people == 1 { "waits" } else { "wait" }));
    }
    let unfinished = survey.count(Status::Running) + survey.count(Status::Pending) + survey.count(Status::Suspended);
    if unfinished > 0 && !workers.iter().any(|worker| worker.is_alive && worker.executes) {
        parts.push("no worker is live".to_owned());
    }
    if parts.is_empty() {
        return "Nothing is failing or stuck, and nobody is asked for anything".to_owned();
    }
    // The noun is said once: `1 run is failing, 2 are stuck`.
    let first = parts[0].clone();
    if let Some((count, rest)) =
        first.split_once(' ').filter(|(count, _)| count.starts_with(|letter: char| letter.is_ascii_digit()))
    {
        let noun = if count == "1" { "run" } else { "runs" };
        parts[0] = format!("{count} {noun} {rest}");
    }
    let text = parts.join(", ");
    sentence::capital(&text)
}

/// A figure of the overview.
struct Tile {
    icon: Icon,
    word: &'static str,
    view: View,
    count: String,
    below: Markup,
    /// Its last 24 hours.
    line: Markup,
}

fn stats(visit: &Visit, survey: &Survey, ended: &[RunInfo], ends: &Ends, figures: &Figures) -> Markup {
    let today = time::midnight(visit.now);
    let count = |status: Status| {
        let count = ended
            .iter()
            .filter(|info| info.status == status && info.completed_at.is_some_and(|at| at >= today))
            .count();
        format!("{}{}", number(count as u64), if hours::is_part(ended) { "+" } else { "" })
    };
    let hour_ago = visit.now - Duration::from_secs(3_600);
    let long = survey.failing.iter().filter(|info| info.failing_since.is_some_and(|since| since <= hour_ago)).count();
    let oldest = survey.rows.iter().filter(|row| row.info.status == Status::Stuck).map(|row| row.info.created_at).min();
    let unended = |icon, word, view, figure, below| Tile {
        icon,
        word,
        view,
        count: counted(survey.figure(figure)),
        below,
        line: figures.line(figure),
    };
    let most =
        html! { @if let Some(most) = figures.most(Figure::Running) { "at most " (counted(most)) " in 24 hours" } };
    let late = html! { @if long > 0 { (number(long as u64)) " for over an hour" } };
    let asked = html! { (number(survey.people())) " for a person" };
    let age = html! { @if let Some(oldest) = oldest { "oldest " (time::age(oldest, visit.now)) } };
    let ((failed, failed_line), (completed, completed_line)) = (ends.failed(), ends.completed());
    let tiles = [
        unended(Icon::Running, "Running", View::Running, Figure::Running, most),
        unended(Icon::Failing, "Failing now", View::Failing, Figure::Failing, late),
        unended(Icon::Suspended, "Waiting", View::Waiting, Figure::Waiting, asked),
        unended(Icon::Stuck, "Stuck", View::Stuck, Figure::Stuck, age),
        Tile {
            icon: Icon::Failed,
            word: "Failed today",
            view: View::FailedToday,
            count: count(Status::Failed),
            below: failed,
            line: failed_line,
        },
        Tile {
            icon: Icon::Completed,
            word: "Completed today",
            view: View::Completed,
            count: count(Status::Completed),
            below: completed,
            line: completed_line,
        },
    ];
    html! {
        ul.stats data-live="stats" {
            @for Tile { icon, word, view, count, below, line } in &tiles {
                li.(icon.name()) {
                    a href=(link("runs", "view", view.name())) {
                        span.st.mid.sm.(icon.name()) { (icon.svg()) (word) }
                        b { (count) }
                        span.dim.sm { (below) }
                        (line)
                    }
                }
            }
        }
    }
}

fn failing_now(visit: &Visit, survey: &Survey, failing: u64) -> Markup {
    struct Group<'a> {
        runs: u64,
        text: &'a str,
        workflow: &'a str,
        since: SystemTime,
    }
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for info in &survey.failing {
        let (Some(error), Some(since)) = (&info.error, info.failing_since) else { continue };
        let new = Group { runs: 0, text: &error.text, workflow: &info.workflow, since };
        let group = groups.entry(&error.class).or_insert(new);
        group.runs += 1;
        group.since = group.since.min(since);
    }
    let mut groups: Vec<(&str, Group<'_>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.runs));
    let all = Query::default().and("view", View::Failing.name());
    html! {
        section data-live="failing" {
            header {
                h2 { "Failing now, by error" }
                @if failing > 0 { a.lnk.sm.push href=(all.clone().and("group", "error").to("runs")) { "All " (counted(failing)) } }
            }
            @if groups.is_empty() { p.dim { "No run fails at the moment" } } @else {
                table.fix.cards {
                    colgroup { col; col.w-run; col.w-attempt; col.w-age; }
                    thead { tr { th { "Last error" } th { "Workflow" } th.num { "Runs" } th.num { "Since" } } }
                    tbody {
                        @for (class, group) in groups.iter().take(ROWS) {
                            tr.failing {
                                td.cut.full {
                                    a.err href=(all.clone().and("class", class).to("runs")) title=(safe(group.text)) { (safe(&shortened(group.text, ERROR_CHARACTERS))) }
                                }
                                td.cut.mid data-l="Workflow" { (safe(group.workflow)) }
                                td.num data-l="Runs" { (number(group.runs)) }
                                td.num.nw.mid data-l="Since" { (time::age(group.since, visit.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The stuck runs, each with the help of its error and the deployments that have its code.
async fn stuck_now(visit: &Visit, survey: &Survey, stuck: u64) -> Result<Markup, WebError> {
    let stuck_rows = survey.rows.iter().filter(|row| row.info.status == Status::Stuck).take(ROWS);
    let published = visit.catalogues.published(&visit.client).await?;
    let mut rows: Vec<(&Row, String)> = Vec::new();
    for row in stuck_rows {
        let found = visit.client.inner().row(&row.info.id).await?;
        let fits = found.map(|found| fits::of(&found, published.deployments())).unwrap_or_default();
        let help = row.reason().and_then(|reason| fits::remedy(reason).into_iter().find(|(name, _)| *name == "help"));
        let helps = match (fits.is_empty(), help) {
            (true, Some((_, help))) => help.to_owned(),
            (true, None) => fits::words(&fits),
            (false, _) => format!("fits {}", fits::words(&fits)),
        };
        rows.push((row, helps));
    }
    Ok(html! {
        section data-live="stuck" {
            header {
                h2 { "Stuck" }
                @if stuck > 0 {
                    span.dim.sm { "they continue by themselves when a build that fits is deployed" }
                    a.lnk.sm.push href=(link("runs", "view", "stuck")) { "All " (counted(stuck)) }
                }
            }
            @if rows.is_empty() { p.dim { "No run is stuck" } } @else {
                table.fix.cards {
                    colgroup { col.w-run; col; col.w-helps; }
                    thead { tr { th { "Run" } th { "Because" } th { "What helps" } } }
                    tbody {
                        @for (row, helps) in &rows {
                            tr {
                                td.cut { a.mono href=(link("run", "id", &row.info.id)) title=(safe(&row.info.id)) { (cut_id(&row.info.id)) } }
                                td.cut.full { @if let Some(Waiting::Stuck { error, .. }) = row.reason() { span title=(safe(error)) { (safe(&shortened(error, ERROR_CHARACTERS))) } } }
                                td.cut.full.mid data-l="What helps" title=(safe(helps)) { (safe(&shortened(helps, ERROR_CHARACTERS))) }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// What most runs wait for.
fn waiting(visit: &Visit, survey: &Survey) -> Markup {
    // What they wait for, its name, and what is wrong with it.
    let mut reasons: BTreeMap<(&str, &str, &str), (u64, SystemTime)> = BTreeMap::new();
    for row in &survey.rows {
        let Some(reason) = row.reason() else { continue };
        let reason = match reason {
            Waiting::Suspended { label, .. } => ("Person", label.as_str(), ""),
            Waiting::Hook { .. } => ("Hook", row.info.workflow.as_str(), ""),
            Waiting::Timer { .. } => ("Timer", "", ""),
            Waiting::Child { .. } => ("Child run", "", ""),
            Waiting::Run { .. } => ("Another run", "", ""),
            // The run that executes the step is counted, and not the one that has called it, which has the same reason.
            Waiting::Queued { .. } | Waiting::QueueNotServed { .. } if row.queue().is_none() => continue,
            Waiting::Queued { queue, .. } => ("Queue", queue.as_str(), ""),
            Waiting::QueueNotServed { queue, .. } => ("Queue", queue.as_str(), ", no worker"),
            Waiting::NoWorker { workflow, .. } | Waiting::OtherWorkerExecutes { workflow, .. } => {
                ("Workflow", workflow.as_str(), ", no worker")
            }
            Waiting::StoreReplaced { .. } => ("Lock", "", ", held with another file"),
            Waiting::NotBegun | Waiting::Delayed { .. } => ("Not started", "", ""),
            Waiting::Cycle { .. } => ("Each other", "", ""),
            _ => continue,
        };
        let (count, oldest) = reasons.entry(reason).or_insert((0, row.info.created_at));
        *count += 1;
        *oldest = (*oldest).min(row.info.created_at);
    }
    html! {
        section data-live="waiting" {
            header { h2 { "Waiting, by reason" } a.lnk.sm.push href=(link("runs", "view", "waiting")) { "All" } }
            @if reasons.is_empty() { p.dim { "No run waits" } } @else {
                table.fix {
                    colgroup { col; col.w-attempt; col.w-age; }
                    thead { tr { th { "Reason" } th.num { "Runs" } th.num { "Oldest" } } }
                    tbody {
                        @for ((word, of, wrong), (count, oldest)) in &reasons {
                            @let to = match *word {
                                "Person" => link("people", "label", of),
                                "Hook" => "people".to_owned(),
                                "Queue" | "Lock" => "workers".to_owned(),
                                "Workflow" => link("runs", "workflow", of),
                                _ => link("runs", "view", View::Waiting.name()),
                            };
                            tr {
                                td.cut title=(format!("{word} {}{wrong}", safe(of))) {
                                    a href=(to) { (word) @if !of.is_empty() { " " code { (safe(of)) } } (wrong) }
                                }
                                td.num { (number(*count)) @if !survey.is_complete { "+" } }
                                td.num.nw.mid { (time::age(*oldest, visit.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn live_workers(visit: &Visit, survey: &Survey, workers: &[WorkerInfo]) -> Markup {
    html! {
        section data-live="workers" {
            header { h2 { "Workers" } a.lnk.sm.push href="workers" { "All" } }
            @if workers.is_empty() { p.dim { "No worker is live: start your program" } } @else {
                table.fix {
                    colgroup { col; col.w-meter; }
                    thead.sr { tr { th { "Worker" } th { "Attempts, or its state" } } }
                    tbody {
                        @for worker in workers.iter().take(ROWS) {
                            tr {
                                td.cut { (super::workers::name(worker)) }
                                td.num.nw {
                                    @if worker.is_alive && worker.executes && !worker.is_draining && worker.concurrency.is_some() {
                                        (super::workers::places(worker, survey))
                                    } @else {
                                        (super::workers::state(worker)) span.dim { " " (time::age(worker.started_at, visit.now)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
