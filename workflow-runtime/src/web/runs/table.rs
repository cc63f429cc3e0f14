//! Runs as the rows of a table.

use maud::{Markup, html};

use super::super::query::{encoded, link};
use super::super::survey::Row;
use super::super::text::cut_id;
use super::super::visit::Visit;
use super::super::{sentence, time};
use crate::model::Status;
use crate::steering::text::{safe, shortened};

const ERROR_CHARACTERS: usize = 300;

/// A table of runs, with a box to select each where something can be done.
pub(in crate::web) fn table(visit: &Visit, rows: &[Row], selects: bool) -> Markup {
    let selects = selects && !visit.is_read_only();
    html! {
        table.fix.runs.cards {
            colgroup {
                @if selects { col.w-box; }
                col.w-status; col.w-run; col.w-workflow; col.w-attempt; col.w-waits; col; col.w-age;
            }
            thead {
                tr {
                    @if selects { th { span.sr { "Select" } } }
                    th { "Status" } th { "Run" } th { "Workflow" } th.num { "Attempt" } th { "Waits for" } th { "Last error" }
                    th.num { "Age" }
                }
            }
            tbody data-rows="" { @for row in rows { (line(visit, row, selects)) } }
        }
    }
}

fn line(visit: &Visit, row: &Row, selects: bool) -> Markup {
    let info = &row.info;
    let icon = sentence::icon(info, row.reason());
    // A stuck run's error is its sentence.
    let error = row.error().filter(|_| !matches!(info.status, Status::Stuck | Status::Cancelled));
    let error = error.map(|error| shortened(&error.text, ERROR_CHARACTERS));
    let sentence = html! {
        @match (info.status, row.reason()) {
            (Status::Cancelled, _) => {
                "Cancelled" @if let Some(error) = row.error() { ": " (safe(&shortened(&error.text, ERROR_CHARACTERS))) }
            },
            (status, _) if status.is_terminal() => {},
            (_, Some(reason)) => (sentence::of_both(reason, row.other.as_ref(), visit.now)),
            (_, None) => {},
        }
        @if row.waiting.len() > 1 { span.dim { " and " (row.waiting.len() - 1) " more" } }
    };
    let key = encoded(&info.id);
    html! {
        tr.(icon.name()) data-row=(key) {
            @if selects {
                td.box { input type="checkbox" name="r" value=(key) aria-label=(format!("Select {}", safe(&info.id))); }
            }
            td.c-status { (icon.status()) }
            td.cut.c-run { a.mono href=(link("run", "id", &info.id)) title=(safe(&info.id)) { (cut_id(&info.id)) } }
            td.mid.cut.c-workflow title=(safe(&info.workflow)) { (safe(&info.workflow)) }
            td.num.nw.c-attempt { (row.reason().and_then(sentence::attempt).unwrap_or_default()) }
            td.cut.full.c-waits colspan=[error.is_none().then_some("2")] { (sentence) }
            @if let Some(error) = error { td.cut.full.err.c-error title=(safe(&error)) { (safe(&error)) } }
            td.num.nw.mid.c-age { (time::age(info.created_at, visit.now)) }
        }
    }
}
