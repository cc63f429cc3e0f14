//! The disk of the database is full for a while.

use std::time::Duration;

use workflow_harness::disk::Disk;
use workflow_harness::postgres::Cluster;
use workflow_tests::chain::Chain;

use super::blocking;
use super::restarts::site_on;
use super::workers::ids;

const LINKS: u32 = 6;
const RUNS: usize = 50;

case! {
    #[cluster_on_disk]
    async fn workers_wait_until_a_full_disk_has_room() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Disk::mount(directory.path(), "128m").expect("the disk is mounted");
        let home = directory.path().join("postgres");
        std::fs::create_dir(&home).expect("a directory on the disk");
        let cluster = Cluster::start_in(home, "-c max_wal_size=32MB -c min_wal_size=32MB");
        let mut site = site_on(&cluster, "1s").await;
        let chain = Chain { links: LINKS, gate: Some((2, site.gate("gate"))) };
        let mut worker = site.worker("worker");
        let ids = ids("run", RUNS);
        site.start(&ids, &chain).await;
        site.executed(RUNS * 3).await;

        let filler = disk.fill();
        std::fs::write(site.gate("gate"), []).unwrap();
        // The server may have allocated room for small writes, so write more than that.
        let grow = "CREATE TABLE grown AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 1000000)";
        let refused = site.database.batch_execute(grow).await.expect_err("there is no room");
        let state = refused.code().cloned();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let log = std::fs::read_to_string(cluster.directory.join("log")).unwrap_or_default();
        assert!(log.contains("No space left on device"), "{log}");
        std::fs::remove_file(filler).expect("the filler is removed");
        // A server that cannot extend its write-ahead log exits.
        assert!(blocking(|| cluster.come_up()), "the server does not come up");

        let results = site.results(&ids).await;
        site.reconnect().await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        let warnings = site.warnings("worker");
        println!("{state:?}; {} runs, {} warnings", ids.len(), warnings.len());
        assert!(warnings.iter().any(|warning| warning.contains("No space left on device")), "{warnings:#?}");
        assert!(warnings.len() < 600, "{} warnings", warnings.len());
        worker.close();
        blocking(|| worker.end_well());
        drop(cluster);
        drop(disk);
    }
}
