//! Workers that are stopped past the end of their lease and then continue.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_tests::chain::Chain;

use super::workers::{Results, Site, ids};
use super::{blocking, full, seed};

const LINKS: u32 = 10;
const RUNS: usize = 30;

case! {
    #[postgres]
    async fn a_worker_that_was_stopped_past_its_lease_writes_nothing_stale() {
        let mut random = StdRng::seed_from_u64(seed());
        let site = Site::new("400ms").await;
        let mut worker = site.worker("stopped");
        let mut other = site.worker("other");
        let (moments, chain) = (if full() { 1_000 } else { 10 }, Chain { links: LINKS, gate: None });
        let mut results = Results::new();
        for moment in 0..moments {
            let ids = ids(&format!("run-{moment}"), RUNS);
            let executed = site.executions().len();
            site.start(&ids, &chain).await;
            // Stop the worker somewhere between the first step and the last.
            site.executed(executed + random.random_range(1..RUNS * LINKS as usize / 2)).await;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..3_000))).await;
            worker.stop();
            site.until("SELECT (SELECT count(*) FROM workers) < 2").await;
            // Let it continue during or after the takeover of its runs.
            tokio::time::sleep(Duration::from_micros(random.random_range(0..30_000))).await;
            worker.resume();
            results.extend(site.results(&ids).await);
            site.until("SELECT (SELECT count(*) FROM workers) = 2").await;
        }
        let late = site.check(&results, LINKS, &["stopped"]).await;
        println!("{moments} stops, {} runs; {late} steps executed under an expired lease", results.len());
        for child in [&mut worker, &mut other] {
            child.close();
            blocking(|| child.end_well());
        }
    }
}
