//! The database crashes or is down while workers execute. The workers recover without a restart.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_harness::postgres::Cluster;
use workflow_tests::chain::Chain;

use super::workers::{Results, Site, ids};
use super::{blocking, full, seed};

const LINKS: u32 = 6;
const RUNS: usize = 20;

/// A site on this cluster.
pub async fn site_on(cluster: &Cluster, lease: &str) -> Site {
    Site::on(format!("{}?schema=faults&connections=4&lease={lease}", cluster.address.url())).await
}

case! {
    #[cluster]
    async fn runs_complete_when_the_database_crashes_repeatedly() {
        let mut random = StdRng::seed_from_u64(seed());
        let cluster = Cluster::start();
        let mut site = site_on(&cluster, "1s").await;
        let mut workers = [site.worker("one"), site.worker("other")];
        let chain = Chain { links: LINKS, gate: None };
        let (crashes, mut all) = (if full() { 60 } else { 4 }, Vec::new());
        for crash in 0..crashes {
            let ids = ids(&format!("run-{crash}"), RUNS);
            site.start(&ids, &chain).await;
            all.extend(ids);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
            blocking(|| cluster.restart());
            // The next crash may come before the workers have recovered.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
        }
        let results: Results = site.results(&all).await;
        site.reconnect().await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        println!("{crashes} crashes, {} runs", results.len());
        for worker in &mut workers {
            worker.close();
            blocking(|| worker.end_well());
        }
    }
}

case! {
    #[cluster]
    async fn a_worker_waits_for_a_database_that_is_down_and_reconnects_a_few_times_a_second() {
        let cluster = Cluster::start();
        let mut site = site_on(&cluster, "500ms").await;
        let chain = Chain { links: LINKS, gate: Some((2, site.gate("gate"))) };
        let way = super::proxy::Proxy::start(&site.url).await;
        let mut worker = site.worker_at(&way.url(&site.url), "worker");
        let ids = ids("run", RUNS);
        site.start(&ids, &chain).await;
        site.executed(RUNS * 3).await;
        let mut connections = way.accepted();
        for away in [2, 4] {
            blocking(|| cluster.crash());
            tokio::time::sleep(Duration::from_secs(away)).await;
            // A few attempts a second for each of three purposes: the runs, the lease, and `LISTEN`.
            let tried = way.accepted() - connections;
            println!("{away} s down: {tried} connections, {} warnings", site.warnings("worker").len());
            assert!(tried <= 20 * usize::try_from(away).expect("a few"), "{tried} connections in {away} s");
            assert!(blocking(|| cluster.come_up()), "the server does not come up");
            connections = way.accepted();
        }
        // The worker did not crash, so it must own its runs again without a recovery.
        site.reconnect().await;
        let taken = "SELECT count(*) = 0 FROM runs WHERE owner NOT IN (SELECT owner FROM workers WHERE expires_at > now())";
        site.until(taken).await;
        let recoveries: i32 = site.database.query_one("SELECT max(recoveries) FROM runs", &[]).await.unwrap().get(0);
        assert_eq!(recoveries, 0);
        std::fs::write(site.gate("gate"), []).unwrap();
        let results = site.results(&ids).await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        let warnings = site.warnings("worker");
        assert!((1..400).contains(&warnings.len()), "{} warnings: {warnings:#?}", warnings.len());
        worker.close();
        blocking(|| worker.end_well());
    }
}
