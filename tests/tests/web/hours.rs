//! The lines of the last 24 hours on the overview.

use std::sync::Arc;

use workflow_runtime::engine::{Environment, System};
use workflow_runtime::store::{Figure, MemoryStore, RecordCounts, Store};
use workflow_runtime::{Engine, Status, web};

use crate::support::{get, serve};
use crate::world::{is, naps};

/// The present hour.
fn now() -> u64 {
    System.now() / 3_600_000
}

/// The line of a figure, by its name in the label: the label and the points of each part.
fn line(page: &str, what: &str) -> Option<(String, Vec<String>)> {
    let label = format!("aria-label=\"Runs that were {what} in each of the last 24 hours");
    let rest = page.split(&label).nth(1)?;
    let (end, rest) = rest.split_once('"')?;
    let svg = rest.split("</svg>").next()?;
    let points = svg.split("points=\"").skip(1).filter_map(|points| points.split('"').next());
    Some((end.to_owned(), points.map(str::to_owned).collect()))
}

case! {
    async fn the_overview_has_a_line_of_each_figure_with_gaps() {
        let store = MemoryStore::new();
        let engine = Engine::builder().store(Arc::new(store.clone())).open().await.expect("an engine");
        engine.start(naps, ()).id("naps").await.expect("it is started");
        is(&engine, "naps", Status::Suspended).await;
        let to = serve(web::router(&engine).into()).await;
        let page = get(to, "/overview").await.body;
        assert!(!page.contains("Runs that were"), "no earlier count is known: {page}");
        // An hour may end during the test.
        let page = loop {
            let now = now();
            for (ago, waiting) in [(30, 9), (23, 0), (5, 1), (2, 4), (1, 2), (0, 3)] {
                let counts = vec![(Figure::Waiting, waiting), (Figure::Running, ago), (Figure::Stuck, 0)];
                let record = RecordCounts { hour: now - ago, counts, kept_from: 0 };
                store.commit(&[record.into()]).await.expect("it is recorded");
            }
            let page = get(to, "/overview").await.body;
            if now == self::now() {
                break page;
            }
        };
        let (label, parts) = line(&page, "waiting").expect("a line");
        assert_eq!(label, ", of which 19 have no count");
        // The last point is the present number, not the one that was recorded in this hour.
        assert_eq!(parts, ["0,22 3,22", "177,17 183,17", "210,2 220,12 230,17"]);
        let (_, parts) = line(&page, "running").expect("a line");
        assert_eq!(parts, ["0,2 3,2", "177,18 183,18", "210,21 220,22 230,22"]);
        assert!(page.contains("at most 23 in 24 hours"), "{page}");
        assert_eq!(line(&page, "failing"), None, "it was never counted");
        assert_eq!(line(&page, "stuck"), None, "none was stuck");
        engine.shutdown().await.unwrap();
    }
}
