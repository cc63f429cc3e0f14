//! Connections to PostgreSQL that break at each message of the protocol, in each way that the proxy supports.

use std::time::Duration;

use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::{Client, Code, Error};
use workflow_tests::chain::{self, Chain};
use workflow_tests::everything::{Outcome, everything};

use super::proxy::{self, Cut, How, KINDS, Passed, Proxy, Reach, Side};
use super::workers::{Results, Site, ids};
use super::{blocking, full, seed};

const LINKS: u32 = 6;
const RUNS: usize = 8;
const LEASE: Duration = Duration::from_secs(1);
/// The number of cuts in a sample.
const SAMPLE: usize = 20;
/// How long to wait for the message at which the connection breaks: it may never be sent.
const COMING: Duration = Duration::from_millis(500);

/// Longer than any test runs.
const FOR_EVER: Duration = Duration::from_secs(3600);

const PASSED: [Passed; 3] = [Passed::Nothing, Passed::Half, Passed::All];
const HOW: [How; 5] = [How::Closed, How::Lost(Side::Client), How::Lost(Side::Server), How::LostBoth, How::Late];

/// The cuts of every sample: the answer of a commit is lost, the commit itself is lost or delayed, or the answer of a
/// statement is lost.
const ALWAYS: [(proxy::Kind, Passed, How); 4] = [
    (proxy::COMMIT, Passed::All, How::Lost(Side::Server)),
    (proxy::COMMIT, Passed::Nothing, How::LostBoth),
    (proxy::COMMIT, Passed::Nothing, How::Late),
    (proxy::EXECUTE, Passed::All, How::Lost(Side::Client)),
];

/// The cuts in a random order.
fn cuts(random: &mut StdRng) -> Vec<Cut> {
    let mut points: Vec<(proxy::Kind, Passed, How)> = Vec::new();
    for kind in KINDS {
        points.extend(PASSED.iter().flat_map(|passed| HOW.map(|how| (kind, *passed, how))));
    }
    for place in (1..points.len()).rev() {
        points.swap(place, random.random_range(0..=place));
    }
    if !full() {
        points.truncate(SAMPLE - ALWAYS.len());
        points.extend(ALWAYS);
    }
    let cut = |(at, passed, how): (proxy::Kind, Passed, How)| {
        // A third of the cuts last longer than the lease.
        let time = LEASE.mul_f32(if random.random_range(0..3) == 0 { 1.5 } else { 0.2 });
        let reach = [Reach::One, Reach::Present, Reach::All][random.random_range(0..3)];
        Cut { at, nth: random.random_range(1..12), passed, how, time, reach }
    };
    points.into_iter().map(cut).collect()
}

case! {
    #[postgres]
    async fn a_client_with_silent_connections_learns_that_its_run_has_ended() {
        let site = Site::new("1s").await;
        let way = Proxy::start(&site.url).await;
        let url = format!("{}&timeout=2s&connect_timeout=2&poll=1s", way.url(&site.url));
        let client = Client::connect(&url).await.unwrap();
        let mut worker = site.worker("worker");
        let run = client.start(chain::chain, Chain { links: 3, gate: Some((1, site.gate("gate"))) }).id("run").await.unwrap();
        let (waiting, waits) = (tokio::spawn(run.into_future()), "SELECT count(*) = 1 FROM runs WHERE awaited");
        site.until(waits).await;
        way.cut(How::LostBoth, FOR_EVER, Reach::Present);
        std::fs::write(site.gate("gate"), []).unwrap();
        let result = tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the client gets the result");
        assert_eq!(result.unwrap().unwrap().len(), 3);
        worker.close();
        blocking(|| worker.end_well());
    }
}

case! {
    #[postgres]
    async fn writes_that_arrive_after_the_end_of_the_lease_are_refused() {
        let site = Site::new("1s").await;
        let (way, gate) = (Proxy::start(&site.url).await, site.gate("gate"));
        let mut slow = site.worker_at(&way.url(&site.url), "slow");
        let ids = ids("run", RUNS);
        site.start(&ids, &Chain { links: LINKS, gate: Some((2, gate.clone())) }).await;
        site.executed(RUNS * 3).await;
        let mut other = site.worker("other");
        // The slow worker has sent its results when the connections stop. They arrive after the other worker has
        // claimed the runs.
        way.cut(How::Late, 4 * LEASE, Reach::All);
        std::fs::write(&gate, []).unwrap();
        tokio::time::sleep(LEASE / 3).await;
        std::fs::remove_file(&gate).unwrap();
        site.executed(RUNS * 4).await;
        let refused = async {
            while !site.warnings("slow").iter().any(|warning| warning.contains("lost before its turn was recorded")
                || warning.contains("the run is another engine's now"))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), refused).await.expect("the slow worker warns of its lost runs");
        std::fs::write(&gate, []).unwrap();
        let results = site.results(&ids).await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        for worker in [&mut slow, &mut other] {
            worker.close();
            blocking(|| worker.end_well());
        }
    }
}

case! {
    #[postgres]
    async fn a_worker_with_silent_connections_keeps_its_lease() {
        let site = Site::new("5s").await;
        let way = Proxy::start(&site.url).await;
        let mut worker = site.worker_at(&format!("{}&timeout=2s&connect_timeout=2", way.url(&site.url)), "worker");
        let ids = ids("run", RUNS);
        site.start(&ids, &Chain { links: LINKS, gate: Some((2, site.gate("gate"))) }).await;
        site.executed(RUNS * 3).await;
        let owners = site.owners().await;
        way.cut(How::LostBoth, FOR_EVER, Reach::Present);
        let noticed = async {
            while !site.warnings("worker").iter().any(|warning| warning.contains("could not be renewed")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), noticed).await.expect("a renewal fails");
        std::fs::write(site.gate("gate"), []).unwrap();
        let results = site.results(&ids).await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        assert_eq!(site.owners().await, owners, "the worker has another lease: {:#?}", site.warnings("worker"));
        worker.close();
        blocking(|| worker.end_well());
    }
}

case! {
    #[postgres]
    async fn runs_complete_when_connections_break_at_random_messages() {
        let mut random = StdRng::seed_from_u64(seed());
        let site = Site::new("1s").await;
        let ways = [Proxy::start(&site.url).await, Proxy::start(&site.url).await];
        let url = |way: &Proxy| format!("{}&timeout=2s&connect_timeout=2", way.url(&site.url));
        let mut workers = [site.worker_at(&url(&ways[0]), "one"), site.worker_at(&url(&ways[1]), "other")];
        let chain = Chain { links: LINKS, gate: None };
        let (mut chains, mut all) = (Vec::new(), Vec::new());
        for (round, cut) in cuts(&mut random).into_iter().enumerate() {
            let way = &ways[random.random_range(0..ways.len())];
            let made = way.cuts();
            way.arm(cut.clone());
            let ids = ids(&format!("run-{round}"), RUNS);
            site.start(&ids, &chain).await;
            chains.extend(ids);
            all.push(site.client.start(everything, round as u64).id(format!("all-{round}")).await.unwrap());
            if !way.has_cut(made, COMING).await {
                println!("the message of {cut:?} was not sent");
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        }
        let results: Results = site.results(&chains).await;
        let outcome = async |run: &workflow_runtime::Run<Outcome, Error>| loop {
            match run.await {
                Err(error) if error.code() == Code::Store => {}
                outcome => return outcome.map(|outcome| (run.id().to_owned(), outcome)),
            }
        };
        for (id, outcome) in try_join_all(all.iter().map(outcome)).await.unwrap() {
            outcome.assert_possible(&id);
        }
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        let warnings = [site.warnings("one"), site.warnings("other")].concat();
        let read_back = warnings.iter().filter(|warning| warning.contains("a commit is in doubt; reading back")).count();
        assert!(read_back > 0, "no commit was in doubt");
        println!("{read_back} commits read back");
        println!("{} cuts, {} runs", ways.iter().map(Proxy::cuts).sum::<usize>(), results.len() + all.len());
        for worker in &mut workers {
            worker.close();
            blocking(|| worker.end_well());
        }
    }
}
