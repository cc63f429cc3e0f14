//! A hot standby of PostgreSQL: it is read like its primary, and nothing is written to it.

use std::time::{Duration, Instant};

use workflow_harness::postgres::Cluster;
use workflow_runtime::{Engine, Error};

use crate::support::{Place, soon};
use crate::world::filled;

fn place(server: &Cluster) -> Place {
    Place { url: format!("{}?schema=shop&connections=4", server.address.url()), ..Place::sqlite() }
}

/// Waits until the standby has what the primary has committed.
async fn caught_up(primary: &Place, standby: &Place) {
    let (primary, standby) = (connect(primary).await, connect(standby).await);
    let committed: String =
        primary.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.expect("the primary's position").get(0);
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{committed}'::pg_lsn");
    soon(async { while !standby.query_one(&sql, &[]).await.expect("its position").get::<_, bool>(0) {} }).await;
}

async fn connect(place: &Place) -> tokio_postgres::Client {
    workflow_harness::postgres::connect(&place.url).await
}

const READING: [&str; 22] = [
    "ls -o jsonl",
    "ls --failing",
    "ls --status failed --workflow checkout -o ids",
    "ls --waiting -o jsonl",
    "ls --error declined -o ids",
    "ls --attribute customer=Eve -o ids",
    "ls --group-by error -o jsonl",
    "count",
    "show nap-1 -o json",
    "show asks-1 -o json",
    "show family-1 -o json",
    "steps order-2 -o jsonl",
    "events order-1 -o jsonl",
    "trace family-1 --time iso",
    "stream writes-1 log",
    "result order-1",
    "hooks -o jsonl",
    "workflows -o jsonl",
    "workers -o jsonl",
    "deployments -o jsonl",
    "queues -o jsonl",
    "export nap-1",
];

const WRITING: [&str; 9] = [
    "start checkout 4 --id order-4",
    "send approve-7 true",
    "resume asks-1 --label question --value true",
    "cancel nap-1 --yes",
    "retry order-2 --yes",
    "fork order-1 --at 1",
    "wake nap-1 --yes",
    "delete order-1 --yes",
    "cancel --all --status suspended --yes",
];

case!(
    #[cluster]
    async fn a_hot_standby_is_read_and_checked_like_its_primary_and_is_not_written() {
        let server = Cluster::start();
        let primary = place(&server);
        filled(&primary).await;
        let copy = server.standby();
        let standby = place(&copy);
        caught_up(&primary, &standby).await;

        for line in READING {
            let (there, here) = (primary.run(line), standby.run(line));
            assert_eq!((here.code, here.out, here.err), (there.code, there.out, there.err), "{line}");
        }
        let checked = standby.own("check -o json");
        assert_eq!(
            (checked.code, &checked.json()["checked"]),
            (3, &5.into()),
            "a build without the workflows: {checked:?}"
        );
        let client = Engine::builder().url(&standby.url).must_exist().connect().await.expect("a client of the standby");
        let report = client.runs().check().await.expect("the standby can be read");
        assert_eq!((report.compatible, report.incompatible), (5, 0), "{report}");

        for line in WRITING {
            let begun = Instant::now();
            let refused = standby.run(line);
            assert!([1, 3].contains(&refused.code), "{line}: {refused:?}");
            let text = refused.out + &refused.err;
            assert!(text.contains("in a read-only transaction") || text.contains("during recovery"), "{line}: {text}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{line} took {:?}", begun.elapsed());
        }
        let refused = standby.own("worker");
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains("a replica cannot be written"), "{refused:?}");
        assert_eq!(standby.run("ls -o jsonl").out, primary.run("ls -o jsonl").out);

        // A standby sends no notifications: what the primary commits later is looked for.
        let answered = client.get_run::<bool, Error>("approval-7");
        let answered = tokio::spawn(async move { answered.await });
        let engine = Engine::open(&primary.url).await.expect("the engine opens");
        primary.run("send approve-7 true").ok();
        assert!(soon(answered).await.expect("no panic").expect("the run completes"));
        engine.shutdown().await.expect("the engine stops");
    }
);
