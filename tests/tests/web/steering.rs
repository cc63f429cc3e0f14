//! What the page says of the places of workers, of stuck runs and what helps, and of runs that run without failing.

use std::time::Duration;

use tokio::sync::Semaphore;
use workflow_runtime::web;
use workflow_runtime::{Engine, Error, Result, Status, Waiting, sleep, step, workflow};

use crate::support::{get, post, serve, soon};
use crate::world::{filled, is};

/// A permit for each attempt that may end.
static GATE: Semaphore = Semaphore::const_new(0);

#[step(id = "holds")]
async fn holds() -> Result<()> {
    GATE.acquire().await.map_err(Error::boxed)?.forget();
    Ok(())
}

#[step(id = "prints", queue = "printers")]
async fn prints() -> Result<()> {
    holds().await
}

#[workflow(id = "busy")]
async fn busy() -> Result<()> {
    holds().await
}

/// Is cancelled by its test.
#[step(id = "holds_for_ever")]
async fn holds_for_ever() -> Result<()> {
    std::future::pending().await
}

#[workflow(id = "busy_for_ever")]
async fn busy_for_ever() -> Result<()> {
    holds_for_ever().await
}

#[workflow(id = "prints_one")]
async fn prints_one() -> Result<()> {
    prints().await
}

#[workflow(id = "bugs")]
async fn bugs() -> Result<()> {
    sleep(Duration::from_millis(1)).await;
    panic!("a bug")
}

async fn executes(engine: &Engine, id: &str) {
    let run = engine.get_run::<(), Error>(id);
    soon(async {
        while !matches!(run.waiting().await.expect("it exists")[..], [Waiting::Executing { .. }]) {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// The rows of the table in a part of a page.
fn part<'p>(page: &'p str, live: &str) -> &'p str {
    let part = page.split(&format!("data-live=\"{live}\"")).nth(1).expect("the part");
    part.split("</table>").next().expect("its table")
}

case! {
    async fn the_places_of_workers_and_queues_have_meters() {
        let builder = Engine::builder().url("memory:").concurrency(8).blocking_concurrency(2).queue("printers", 1);
        let engine = builder.open().await.unwrap();
        let to = serve(web::router(&engine).into()).await;
        assert!(part(&get(to, "/workers").await.body, "workers").contains("</svg>0 of 10</span>"));
        for number in 0..3 {
            let id = format!("busy-{number}");
            engine.start(busy, ()).id(&id).await.unwrap();
            executes(&engine, &id).await;
        }
        engine.start(prints_one, ()).id("prints-1").await.unwrap();
        executes(&engine, "prints-1").await;
        engine.start(prints_one, ()).id("prints-2").await.unwrap();
        // A look at the runs is kept for a while.
        let (workers, page) = soon(async {
            loop {
                let page = get(to, "/workers").await.body;
                let workers = part(&page, "workers").to_owned();
                if workers.contains("4 of 10") {
                    break (workers, page);
                }
                workflow_harness::pause().await;
            }
        })
        .await;
        assert!(workers.contains("width=\"40%\""), "{workers}");
        let queues = part(&page, "queues");
        assert!(queues.contains("1 of 1") && queues.contains("width=\"100%\""), "{queues}");
        assert!(queues.contains("data-l=\"Waiting\">1</td>"), "one step waits: {queues}");
        assert!(!page.contains(" style="), "the widths are attributes");
        let overview = get(to, "/overview").await.body;
        assert!(part(&overview, "workers").contains("4 of 10"), "{overview}");
        let waiting = part(&overview, "waiting").split("<code>printers</code>").nth(1).expect("the queue");
        assert!(waiting.contains("<td class=\"num\">1</td>"), "one step waits: {waiting}");
        GATE.add_permits(5);
        for id in ["busy-0", "busy-1", "busy-2", "prints-1", "prints-2"] {
            is(&engine, id, Status::Completed).await;
        }
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_stuck_run_is_shown_with_what_helps() {
        let engine = Engine::builder().url("memory:").deployment("v7").open().await.unwrap();
        engine.start(bugs, ()).id("bugs-1").await.unwrap();
        is(&engine, "bugs-1", Status::Stuck).await;
        let to = serve(web::router(&engine).into()).await;
        let page = get(to, "/run?id=bugs-1").await.body;
        let head = page.split("data-live=\"why\"").nth(1).and_then(|rest| rest.split("</dl></div>").next()).expect("a head");
        assert!(head.contains("<dt>help</dt><dd>"), "{page}");
        // The only deployment that has the workflow has refused the run.
        assert!(page.contains("Fits: no other deployment has the code"), "{page}");
        let overview = get(to, "/overview").await.body;
        let stuck = part(&overview, "stuck");
        assert!(stuck.contains("<th>What helps</th>") && stuck.contains("data-l=\"What helps\" title=\"fix the"), "{stuck}");
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn a_failing_run_is_not_among_the_running_ones() {
        let engine = filled("the bank is closed").await;
        engine.start(busy_for_ever, ()).id("busy").await.unwrap();
        executes(&engine, "busy").await;
        assert_eq!(engine.get_run::<(), Error>("retries").status().await.unwrap(), Status::Running);
        let to = serve(web::router(&engine).access(|_| true).into()).await;
        let list = get(to, "/runs?view=running").await.body;
        let rows = part(&list, "views");
        assert!(rows.contains("data-row=\"busy\"") && !rows.contains("data-row=\"retries\""), "{list}");
        assert!(list.contains("aria-current=\"page\">Running <span class=\"n\">1</span>"), "{list}");
        let tile = get(to, "/overview").await.body;
        let tile = tile.split("href=\"runs?view=running\"").nth(1).and_then(|rest| rest.split("</li>").next()).expect("a tile");
        assert!(tile.contains("<b>1</b>"), "{tile}");
        // An action on all of the view acts on the same runs, and so does the command.
        let plan = get(to, "/bulk?view=running&all=1&do=cancel").await.body;
        assert!(plan.contains("Cancel 1 run?") && plan.contains(" --status running --not-failing"), "{plan}");
        let form = plan.split("<form method=\"post\" action=\"act\">").nth(1).expect("a form");
        let fields = form.split("<input type=\"hidden\" name=\"").skip(1).map(|field| {
            let (name, rest) = field.split_once("\" value=\"").expect("a value");
            format!("{name}={}", rest.split('"').next().unwrap_or_default())
        });
        let fields: Vec<String> = fields.collect();
        assert_eq!(post(to, "/act", &fields.join("&")).await.status, 200);
        is(&engine, "busy", Status::Cancelled).await;
        assert_eq!(engine.get_run::<(), Error>("retries").status().await.unwrap(), Status::Running);
        engine.shutdown().await.unwrap();
    }
}
