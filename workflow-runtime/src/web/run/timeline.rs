//! The timeline of a run: the minimap, the journal with its bars, and the details of a row.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use maud::{Markup, html};

use super::source::Source;
use super::{bars, journal, minimap, panel};
use crate::error::Code;
use crate::model::{Status, Waiting};
use crate::timeline::{Branch, Collected, Look, Place, lay_out, milliseconds};
use crate::web::error::WebError;
use crate::web::query::Query;
use crate::web::text::number;
use crate::web::visit::Visit;

/// Rows of a page, and of a child that is unfolded.
const ROWS_MAX: usize = 200;
const CHILD_ROWS_MAX: usize = 50;
/// Children that are unfolded on a page, and their levels.
const UNFOLDED_MAX: usize = 12;
const DEPTH_MAX: usize = 5;
/// Steps of queues whose runs are looked up, to know whether they wait.
const QUEUED_MAX: usize = 24;
/// Ids with more bytes than these make fewer rows, since each row has the id in its links.
const SHORT_ID_BYTES: usize = 100;

/// The rows of a page of a run with this id.
pub(super) fn rows_max(id: &str) -> usize {
    if id.len() <= SHORT_ID_BYTES { ROWS_MAX } else { ROWS_MAX / 4 }
}

/// The switches beside the tabs.
pub(super) fn switches(query: &Query) -> Markup {
    let errors = query.get("errors").is_some();
    let to = match errors {
        true => query.clone().without("errors"),
        false => query.clone().without("from").without("to").with("errors", "1"),
    };
    html! {
        span.push.seg {
            a href=(to.to("run")) aria-current=[errors.then_some("true")] data-key="e" { "Errors only" }
            @if query.get("open").is_some() { a href=(query.clone().without("open").to("run")) { "Fold all" } }
        }
    }
}

/// The window that the parameters ask for: from an operation on, so many rows.
fn asked(query: &Query, most: usize) -> (Option<u64>, usize) {
    let parse = |name| query.get(name).and_then(|text| text.parse::<u64>().ok());
    match (parse("from"), parse("to")) {
        (Some(from), Some(to)) => {
            let (from, to) = (from.min(to), from.max(to));
            let rows = usize::try_from(to - from + 1).unwrap_or(most);
            (Some(from), rows.clamp(1, most))
        }
        (Some(from), None) => (Some(from), most),
        _ => (None, most),
    }
}

/// Adds the calls of children that are unfolded. Each is named by the operations that lead to it: `11.3`.
fn unfold<'a>(
    visit: &'a Visit,
    calls: &'a mut [Branch],
    open: &'a BTreeSet<String>,
    above: String,
    depth: usize,
    left: &'a mut usize,
) -> BoxFuture<'a, Result<(), WebError>> {
    Box::pin(async move {
        for call in calls {
            let path = format!("{above}{}", call.place.operation);
            let Some(run) = call.run.clone().filter(|_| open.contains(&path) && depth < DEPTH_MAX && *left > 0) else {
                continue;
            };
            *left -= 1;
            // It may have been deleted since.
            if !visit.run(&run).exists().await? {
                continue;
            }
            let child = Source::generation(visit, &run, None).await?;
            let mut collected = child.window(visit, None, CHILD_ROWS_MAX, false).await?;
            let path = format!("{path}.");
            unfold(visit, &mut collected.calls, open, path, depth + 1, left).await?;
            call.unfold(collected, child.info.started_at.map(milliseconds));
        }
        Ok(())
    })
}

/// Looks up whether the steps of queues that have not ended wait for a worker.
async fn look_up_queued(visit: &Visit, calls: &mut [Branch]) -> Result<(), WebError> {
    let is_queued = |call: &&mut Branch| {
        matches!(call.call, crate::timeline::Call::Step { .. }) && !call.state.is_over() && call.children.is_empty()
    };
    for call in calls.iter_mut().filter(is_queued).take(QUEUED_MAX) {
        let Some(run) = call.run.clone() else { continue };
        match visit.run(&run).info().await {
            Ok(info) if info.status == Status::Pending => call.unfold(Collected::default(), None),
            Ok(info) => call.unfold(Collected::default(), info.started_at.map(milliseconds)),
            Err(error) if error.code() == Code::RunNotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The tab, and what the run waits for.
pub(super) async fn tab(visit: &Visit, source: &Source, query: &Query) -> Result<(Markup, Vec<Waiting>), WebError> {
    let failures = query.get("errors").is_some();
    let (from, most) = asked(query, rows_max(&source.info.id));
    let mut collected = source.window(visit, from, most, failures).await?;
    collected.is_over = source.info.status.is_terminal() || !source.is_current();
    let waiting = source.waiting_with(visit, &collected).await?;
    let open: BTreeSet<String> = query.all("open").map(str::to_owned).collect();
    let mut left = UNFOLDED_MAX;
    unfold(visit, &mut collected.calls, &open, String::new(), 0, &mut left).await?;
    look_up_queued(visit, &mut collected.calls).await?;
    let parse = |path: &String| path.parse().ok().map(|operation| Place { generation: source.generation, operation });
    let unfolded: BTreeSet<Place> = open.iter().filter_map(parse).collect();
    let look = Look { now: milliseconds(visit.now), scale: bars::SCALE, unfolded: &unfolded };
    let timeline = lay_out(&collected, look);
    let row = query.get("row").and_then(|row| row.parse::<u64>().ok());
    let details = match row {
        Some(operation) => panel::of(visit, source, query, operation).await?,
        None => None,
    };
    let all = collected.before == 0 && collected.after == 0;
    let markup = html! {
        (bars::patterns())
        (generations(source, query))
        @if !failures && !timeline.rows.is_empty() {
            @if all { (minimap::of_rows(&timeline)) } @else { (minimap::of_run(visit, source, query, &collected).await?) }
        }
        div.run data-live="journal" {
            div {
                @if timeline.rows.is_empty() { (empty(source, failures)) } @else {
                    (more(query, "before", collected.before, &collected, most, failures))
                    (journal::table(source, query, &collected, &timeline, row))
                    (more(query, "after", collected.after, &collected, most, failures))
                    (bars::legend())
                }
            }
            @if let Some(details) = details { (details) }
        }
    };
    Ok((markup, waiting))
}

fn empty(source: &Source, failures: bool) -> Markup {
    html! {
        div.empty {
            @if failures { b { "No attempt has failed" } }
            @else if source.calls == 0 { b { "Nothing was called yet" } "Steps, sleeps, hooks and children of the run appear here." }
            @else { b { "There are no calls in this window" } }
        }
    }
}

/// The generations, if there are several.
fn generations(source: &Source, query: &Query) -> Markup {
    let (first, last, this) = (source.first_generation, source.last_generation, source.generation);
    let query = query.clone().only(&["id", "tab"]);
    let to = |generation: u64| match generation == last {
        true => query.clone().to("run"),
        false => query.clone().with("generation", &generation.to_string()).to("run"),
    };
    html! {
        @if first < last {
            p.pager {
                "Generation " b { (number(this)) } " of " (number(first)) " to " (number(last))
                @if this > first { " " a.lnk href=(to(this - 1)) { "Earlier" } }
                @if this < last { " " a.lnk href=(to(this + 1)) { "Later" } " " a.lnk href=(to(last)) { "Current" } }
            }
        }
    }
}

/// How many calls are before or after the window, with a link to them.
fn more(query: &Query, word: &str, count: u64, collected: &Collected, most: usize, failures: bool) -> Markup {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let first = collected.before;
    let query = query.clone().without("to").without("row");
    let to = match word {
        "before" => query.with("from", &first.saturating_sub(most).to_string()),
        _ => query.with("from", &(first + u64::try_from(collected.calls.len()).unwrap_or_default()).to_string()),
    };
    html! {
        @if count > 0 {
            p.pager {
                a.lnk href=(to.to("run")) { (number(count)) @if count == 1 { " call " } @else { " calls " } (word) }
                @if failures { " were not looked through" }
            }
        }
    }
}
