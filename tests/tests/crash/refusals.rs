//! A database that refuses statements at random, writes for a while, or connections for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use workflow_harness::postgres::Cluster;
use workflow_runtime::{Code, Result, Run, Status};
use workflow_tests::chain::Chain;
use workflow_tests::everything::{Outcome, everything};

use super::restarts::site_on;
use super::workers::{Site, ids};
use super::{blocking, full};

const LINKS: u32 = 6;
const RUNS: usize = 20;

/// Refuses one statement in fifty, and one row in fifty at its commit, with errors that a client may retry.
const REFUSE: &str = "
CREATE TABLE refused (state text NOT NULL);
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE states text[] := ARRAY['40001', '40P01', '57014', '53200', '55P03'];
BEGIN
    IF random() < 0.02 THEN
        RAISE EXCEPTION 'refused %', nextval('refusals') USING ERRCODE = states[1 + floor(random() * 5)::int];
    END IF;
    RETURN NULL;
END $$;";

/// The tables whose changes are refused, and whether they are refused at the commit, too. The tables of streams are not
/// among them: a step that writes to a stream would get the error.
const TABLES: [(&str, bool); 7] = [
    ("workers", false),
    ("runs", true),
    ("journal", true),
    ("inbox", true),
    ("tokens", false),
    ("watchers", false),
    ("dedupe", false),
];

/// Waits until all runs complete, and ignores errors of the database meanwhile.
async fn outcomes(runs: &[Run<Outcome>]) {
    let outcome = async |run: &Run<Outcome>| -> Result<()> {
        loop {
            match run.await {
                // The run has ended: this is its own error and not one of the database.
                Err(error) if error.code() == Code::Store && run.status().await.is_ok_and(Status::is_terminal) => {
                    return Err(error);
                }
                Err(error) if error.code() == Code::Store => {}
                Err(error) => return Err(error),
                Ok(outcome) => {
                    outcome.assert_possible(run.id());
                    return Ok(());
                }
            }
        }
    };
    try_join_all(runs.iter().map(outcome)).await.expect("the runs complete");
}

async fn start_all(site: &Site, count: u64) -> Vec<Run<Outcome>> {
    let start = async |number: u64| loop {
        match site.client.start(everything, number).id(format!("all-{number}")).await {
            Err(error) if [Code::Store, Code::InDoubt].contains(&error.code()) => {}
            started => return started,
        }
    };
    try_join_all((0..count).map(start)).await.expect("the runs start")
}

case! {
    #[postgres]
    async fn runs_complete_when_statements_and_commits_are_refused_at_random() {
        let site = Site::new("1s").await;
        let mut workers = [site.worker("one"), site.worker("other")];
        let schema: String = site.database.query_one("SELECT current_schema()", &[]).await.unwrap().get(0);
        let mut refuse = REFUSE.replace("AS $$", &format!("SET search_path = {schema} AS $$"));
        for (table, commits) in TABLES {
            refuse += &format!("CREATE TRIGGER refuse AFTER INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION refuse();");
            if commits {
                refuse += &format!(
                    "CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT OR UPDATE ON {table}
                     DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();"
                );
            }
        }
        site.database.batch_execute(&refuse).await.unwrap();
        let (chain, scale) = (Chain { links: LINKS, gate: None }, if full() { 50 } else { 2 });
        let ids = ids("run", RUNS * scale);
        let all = start_all(&site, 3 * scale as u64).await;
        site.start(&ids, &chain).await;
        let results = site.results(&ids).await;
        outcomes(&all).await;
        for worker in &mut workers {
            worker.close();
            blocking(|| worker.end_well());
        }
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        let refused: i64 = site.database.query_one("SELECT last_value FROM refusals", &[]).await.unwrap().get(0);
        println!("{refused} refusals, {} runs", ids.len() + all.len());
        assert!(refused > 10, "{refused} refusals");
    }
}

/// Starts runs and waits until all of them are in their third step: their ids.
async fn waiting(site: &Site, chain: &Chain) -> Vec<String> {
    let ids = ids("run", RUNS);
    site.start(&ids, chain).await;
    site.executed(RUNS * 3).await;
    ids
}

/// Asserts that a worker has logged a warning with each of these texts.
#[track_caller]
fn assert_warned(site: &Site, life: &str, words: &[&str]) {
    let warnings = site.warnings(life);
    for word in words {
        assert!(warnings.iter().any(|warning| warning.contains(word)), "no warning has {word:?}: {warnings:#?}");
    }
    let kinds: BTreeSet<_> = warnings.iter().map(|warning| warning.get(..60)).collect();
    assert!(warnings.len() < 600, "{} warnings: {kinds:#?}", warnings.len());
}

case! {
    #[cluster]
    async fn a_worker_waits_while_the_database_is_read_only() {
        let cluster = Cluster::start();
        let site = site_on(&cluster, "1s").await;
        let chain = Chain { links: LINKS, gate: Some((2, site.gate("gate"))) };
        let mut worker = site.worker("worker");
        let ids = waiting(&site, &chain).await;
        let set = async |to: &str| {
            let set = format!("ALTER SYSTEM SET default_transaction_read_only = {to}");
            site.database.batch_execute(&set).await.unwrap();
            site.database.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        };
        set("on").await;
        std::fs::write(site.gate("gate"), []).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        set("off").await;
        let results = site.results(&ids).await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        assert_warned(&site, "worker", &["read-only", "the lease of this worker has expired", "the right to execute could not be"]);
        worker.close();
        blocking(|| worker.end_well());
    }
}

/// Opens connections until the server refuses.
async fn take_all(url: &str) -> Vec<tokio_postgres::Client> {
    let mut taken = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(url, tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        taken.push(client);
    }
    taken
}

case! {
    #[cluster]
    async fn workers_wait_while_the_database_has_no_free_connection() {
        let cluster = Cluster::start_with("-c max_connections=16");
        let site = site_on(&cluster, "1s").await;
        let chain = Chain { links: LINKS, gate: Some((2, site.gate("gate"))) };
        // One connection for reads and writes, besides those of the lease and of `LISTEN`.
        let url = site.url.replace("connections=4", "connections=1");
        let mut worker = site.worker_at(&url, "worker");
        let ids = waiting(&site, &chain).await;
        let mut taken = take_all(&cluster.address.url()).await;
        for _ in 0..10 {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'workflow'";
            taken[0].batch_execute(end).await.unwrap();
            taken.extend(take_all(&cluster.address.url()).await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        std::fs::write(site.gate("gate"), []).unwrap();
        let mut another = site.worker_to_be(&url, "another");
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(taken);
        let results = site.results(&ids).await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        assert_warned(&site, "worker", &["too many clients"]);
        assert_warned(&site, "another", &["the database cannot be reached; trying again"]);
        blocking(|| another.wait_for("open"));
        for worker in [&mut worker, &mut another] {
            worker.close();
            blocking(|| worker.end_well());
        }
    }
}

case! {
    #[cluster]
    async fn a_worker_that_starts_before_the_database_waits_for_it() {
        let cluster = Cluster::start();
        let mut site = site_on(&cluster, "1s").await;
        let chain = Chain { links: LINKS, gate: None };
        let ids = ids("run", RUNS);
        site.start(&ids, &chain).await;
        blocking(|| cluster.crash());
        let mut worker = site.worker_to_be(&site.url, "worker");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(blocking(|| cluster.come_up()), "the server does not come up");
        blocking(|| worker.wait_for("open"));
        let results = site.results(&ids).await;
        site.reconnect().await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        let warnings = site.warnings("worker");
        assert!((1..20).contains(&warnings.len()), "{warnings:#?}");
        assert_warned(&site, "worker", &["the database cannot be reached; trying again"]);
        worker.close();
        blocking(|| worker.end_well());
    }
}
