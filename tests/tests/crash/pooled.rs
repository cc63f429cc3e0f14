//! Workers behind PgBouncer, which may give each transaction another connection.

use std::sync::Arc;
use std::time::Duration;

use workflow_harness::postgres::{Cluster, Pooler};
use workflow_runtime::Engine;
use workflow_runtime::store::{PostgresOptions, PostgresStore};
use workflow_tests::chain::{Chain, chain};
use workflow_tests::everything::everything;

use super::blocking;
use super::restarts::site_on;
use super::workers::ids;

const LINKS: u32 = 6;
const RUNS: usize = 30;

case! {
    #[pooler]
    async fn workers_behind_a_pooler_lose_nothing_when_the_database_crashes() {
        let cluster = Cluster::start();
        let pooler = Pooler::start(&cluster);
        let mut site = site_on(&cluster, "1s").await;
        let by_pooler = site.url.replace(&format!(":{}/", cluster.address.port), &format!(":{}/", pooler.port));
        let by_pooler = format!("{by_pooler}&prepared=off");
        // The workers poll for changes; the client listens on a connection that bypasses the pooler.
        let url = format!("{by_pooler}&listen=off&poll=100ms");
        let mut workers = [site.worker_at(&url, "one"), site.worker_at(&url, "other")];
        let options = PostgresOptions::new(&by_pooler).unwrap().listen_at(&site.url).unwrap();
        let store = Arc::new(PostgresStore::open_with(options).await.unwrap());
        site.client = Engine::builder().store(store).connect().await.unwrap();

        let links = Chain { links: LINKS, gate: None };
        let mut results = site.results(&{
            let ids = ids("before", RUNS);
            site.start(&ids, &links).await;
            ids
        }).await;
        for round in 0..3 {
            site.client.start(everything, round).id(format!("all-{round}")).await.unwrap().await.unwrap();
        }
        for crash in 0..2 {
            let ids = ids(&format!("run-{crash}"), RUNS);
            site.start(&ids, &links).await;
            blocking(|| cluster.restart());
            results.extend(site.results(&ids).await);
        }
        // The client is notified of the end of a run that it does not poll for.
        site.reconnect().await;
        let gated = Chain { links: 2, gate: Some((1, site.gate("gate"))) };
        let run = site.client.start(chain, gated).id("gated").await.unwrap();
        let waiting = tokio::spawn(run.into_future());
        site.until("SELECT count(*) = 1 FROM runs WHERE awaited AND id = 'gated'").await;
        std::fs::write(site.gate("gate"), []).unwrap();
        let result = tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the client gets the result");
        assert_eq!(result.unwrap().unwrap().len(), 2);

        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        println!("{} runs", results.len());
        for worker in &mut workers {
            worker.close();
            blocking(|| worker.end_well());
        }
    }
}
