//! Two workers with many runs: one worker is killed and the other takes over its runs.

use std::time::Instant;

use workflow_tests::chain::Chain;

use super::child::was_killed;
use super::workers::{Site, ids};
use super::{blocking, full};

const LINKS: u32 = 4;
/// The number of steps that wait in each worker before one worker is killed.
const WAITING: usize = 200;

case! {
    #[postgres]
    async fn the_runs_of_a_killed_worker_continue_in_the_other_worker() {
        let (runs, lease) = if full() { (10_000, "5s") } else { (1_000, "1s") };
        let site = Site::new(lease).await;
        let mut killed = site.worker("killed");
        let [dead] = site.owners().await[..] else { panic!("there is not exactly one worker") };
        let mut other = site.worker("other");
        let (ids, gate) = (ids("run", runs), site.gate("gate"));
        let chain = Chain { links: LINKS, gate: Some((2, gate.clone())) };
        site.start(&ids, &chain).await;
        // The gate keeps each run from ending, and each worker owns some runs.
        let waiting = |life: &str| {
            let executions = site.executions();
            executions.iter().filter(|one| one.step == "hold" && one.life.starts_with(life)).count()
        };
        while waiting("killed") < WAITING || waiting("other") < WAITING {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let held: i64 = site.database.query_one("SELECT count(*) FROM runs WHERE owner = $1", &[&dead]).await.unwrap().get(0);
        let begin = Instant::now();
        assert!(was_killed(blocking(|| killed.kill())));
        std::fs::write(gate, []).unwrap();
        let orphans = format!("SELECT NOT EXISTS (SELECT 1 FROM runs WHERE owner IN ({dead}, -1) AND wake_at IS NOT NULL)");
        site.until(&format!("SELECT NOT EXISTS (SELECT 1 FROM runs WHERE owner = {dead} AND wake_at IS NOT NULL)")).await;
        let free = begin.elapsed();
        site.until(&orphans).await;
        println!("{held} of {runs} runs free after {free:?}, claimed after {:?}; the lease is {lease}", begin.elapsed());
        let results = site.results(&ids).await;
        assert_eq!(site.check(&results, LINKS, &[]).await, 0);
        other.close();
        blocking(|| other.end_well());
    }
}
