//! The parents and the children of a run.

use futures_util::{StreamExt, TryStreamExt, stream};
use maud::{Markup, html};

use super::source::Source;
use crate::error::Code;
use crate::model::RunInfo;
use crate::steering::text::safe;
use crate::web::error::WebError;
use crate::web::icons::Icon;
use crate::web::query::link;
use crate::web::text::{cut_id, number};
use crate::web::time;
use crate::web::visit::Visit;

const PARENTS_MAX: usize = 16;
const CHILDREN_MAX: usize = 200;
const READS: usize = 8;

async fn info(visit: &Visit, id: &str) -> Result<Option<RunInfo>, WebError> {
    match visit.run(id).info().await {
        Ok(info) => Ok(Some(info)),
        // It was deleted.
        Err(error) if error.code() == Code::RunNotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn row(id: &str, info: Option<&RunInfo>, visit: &Visit) -> Markup {
    html! {
        tr {
            td { a.lnk.mono href=(link("run", "id", id)) title=(safe(id)) { (cut_id(id)) } }
            @match info {
                Some(info) => {
                    td { (safe(&info.workflow)) }
                    td { (Icon::of(info.status).status()) }
                    td.nw.sm { (time::at(info.created_at, visit.now)) }
                },
                None => td colspan="3" { span.dim { "deleted" } },
            }
        }
    }
}

fn table(rows: &[(String, Option<RunInfo>)], visit: &Visit) -> Markup {
    html! {
        table.fix {
            thead { tr { th scope="col" { "Run" } th scope="col" { "Workflow" } th scope="col" { "Status" } th scope="col" { "Created" } } }
            tbody { @for (id, info) in rows { (row(id, info.as_ref(), visit)) } }
        }
    }
}

/// The tab.
pub(super) async fn tab(visit: &Visit, source: &Source) -> Result<Markup, WebError> {
    let mut parents = Vec::new();
    let mut next = source.info.parent.clone();
    while let Some(id) = next.take().filter(|_| parents.len() < PARENTS_MAX) {
        let info = info(visit, &id).await?;
        next = info.as_ref().and_then(|info| info.parent.clone());
        parents.push((id, info));
    }
    parents.reverse();
    let ids = visit.run(&source.info.id).children().await?;
    let count = ids.len() as u64;
    let shown = ids.into_iter().take(CHILDREN_MAX);
    let children: Vec<_> = stream::iter(shown.map(|id| async move {
        let info = info(visit, &id).await?;
        Ok::<_, WebError>((id, info))
    }))
    .buffered(READS)
    .try_collect()
    .await?;
    Ok(html! {
        section {
            header { h2 { "Parents" } }
            @if parents.is_empty() { p.dim { "No run has started this one" } } @else { (table(&parents, visit)) }
        }
        section data-live="children" {
            header { h2 { "Children" } span.dim.sm { (number(count)) } }
            @if children.is_empty() { p.dim { "The run has started no others" } } @else { (table(&children, visit)) }
            @if count > CHILDREN_MAX as u64 {
                p.pager { a.lnk href=(link("runs", "parent", &source.info.id)) { "All " (number(count)) " children" } }
            }
        }
    })
}
