//! Two versions of a program at the same time on one database.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use workflow_runtime::{Result, workflow};

use super::blocking;
use super::child::Child;
use super::workers::{Results, Site, ids};

const RUNS: usize = 15;
const LINKS: u32 = 2;

/// Declares the workflow of both versions, so that this test can start it.
#[workflow(id = "shop::order")]
async fn order() -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// Declares the workflow that only the first version has.
#[workflow(id = "shop::refund")]
async fn refund() -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// Declares the workflow that only the second version has.
#[workflow(id = "shop::gift")]
async fn gift() -> Result<Vec<String>> {
    Ok(Vec::new())
}

fn version(site: &Site, path: &str, life: &str) -> Child {
    let mut child = site.program(path, &site.url, life);
    blocking(|| child.wait_for("open"));
    child
}

/// Starts runs of each workflow: their ids by workflow.
async fn start(site: &Site, round: u32) -> [Vec<String>; 3] {
    let named = |what: &str| ids(&format!("{what}-{round}"), RUNS);
    let (orders, refunds, gifts) = (named("order"), named("refund"), named("gift"));
    let client = &site.client;
    try_join_all(orders.iter().map(|id| client.start(order, ()).id(id).into_future())).await.unwrap();
    try_join_all(refunds.iter().map(|id| client.start(refund, ()).id(id).into_future())).await.unwrap();
    try_join_all(gifts.iter().map(|id| client.start(gift, ()).id(id).into_future())).await.unwrap();
    [orders, refunds, gifts]
}

/// How many steps each process has executed of runs whose ids have this prefix.
fn executed(site: &Site, beginning: &str) -> BTreeMap<String, usize> {
    let mut executed = BTreeMap::new();
    for execution in site.executions().iter().filter(|execution| execution.run.starts_with(beginning)) {
        let life = execution.life.split('#').next().unwrap_or_default().to_owned();
        *executed.entry(life).or_default() += 1;
    }
    executed
}

case! {
    #[postgres]
    async fn each_version_claims_the_runs_whose_workflows_it_has() {
        let site = Site::new("1s").await;
        let (one, two) = (env!("CARGO_BIN_EXE_version_one"), env!("CARGO_BIN_EXE_version_two"));
        let mut results = Results::new();
        let mut first = version(&site, one, "one");

        let [orders, refunds, gifts] = start(&site, 1).await;
        results.extend(site.results(&orders).await);
        results.extend(site.results(&refunds).await);
        let wait = "SELECT count(*) = 15 FROM runs WHERE workflow = 'shop::gift' AND status = 'pending' AND owner = 0";
        site.until(wait).await;
        assert_eq!(executed(&site, "gift"), BTreeMap::new());
        while !site.warnings("one").iter().any(|warning| warning.contains("shop::gift")) {
            workflow_harness::pause().await;
        }

        let second = version(&site, two, "two");
        results.extend(site.results(&gifts).await);
        for round in 2..6 {
            for ids in start(&site, round).await {
                results.extend(site.results(&ids).await);
            }
        }

        // The first version shuts down: only refunds wait.
        first.close();
        blocking(|| first.end_well());
        let [orders, refunds, gifts] = start(&site, 6).await;
        results.extend(site.results(&orders).await);
        results.extend(site.results(&gifts).await);
        site.until("SELECT count(*) = 15 FROM runs WHERE status = 'pending' AND workflow = 'shop::refund'").await;
        let first = version(&site, one, "one-again");
        results.extend(site.results(&refunds).await);

        assert_eq!(results.len(), 18 * RUNS);
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        let [orders, refunds, gifts] = ["order", "refund", "gift"].map(|name| executed(&site, name));
        println!("orders {orders:?}, refunds {refunds:?}, gifts {gifts:?}");
        assert!(orders.contains_key("one") && orders.contains_key("two"), "{orders:?}");
        assert_eq!(refunds, BTreeMap::from([("one".to_owned(), 5 * 2 * RUNS), ("one-again".to_owned(), 2 * RUNS)]));
        assert_eq!(gifts, BTreeMap::from([("two".to_owned(), 6 * 2 * RUNS)]));
        for mut child in [first, second] {
            child.close();
            blocking(|| child.end_well());
        }
    }
}
