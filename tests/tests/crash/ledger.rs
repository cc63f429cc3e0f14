//! Transactional steps in processes that are killed around the commit: each step's SQL takes effect exactly once.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_harness::postgres;
use workflow_runtime::Client;

use super::child::{Child, command, was_killed};
use super::{blocking, full, seed};

const RUNS: u32 = 40;
const ENTRIES: i64 = 6;

case! {
    #[postgres]
    async fn each_entry_is_booked_once_whenever_the_process_is_killed() {
        let url = format!("{}&lease=1s", postgres::url());
        // Connecting creates the schema.
        drop(Client::connect(&url).await.expect("the client connects"));
        let database = postgres::connect(&url).await;
        let schema: String = database.query_one("SELECT current_schema()", &[]).await.unwrap().get(0);
        let table = format!("{schema}.booked");
        database.batch_execute(&format!("CREATE TABLE {table} (run text NOT NULL, entry bigint NOT NULL)")).await.unwrap();
        let (runs, entries) = (RUNS.to_string(), ENTRIES.to_string());
        let life = |point: Option<u64>| {
            let mut command = command(env!("CARGO_BIN_EXE_ledger"), [&*url, &*table, &*runs, &*entries]);
            if let Some(point) = point {
                command.env("WORKFLOW_FAIL_POINT", point.to_string());
            }
            Child::spawn(command)
        };
        let mut random = StdRng::seed_from_u64(seed());
        let mut killed = 0;
        for _ in 0..if full() { 200 } else { 12 } {
            let mut child = life(Some(random.random_range(8..70)));
            let status = blocking(|| child.end());
            killed += u32::from(was_killed(status));
            let twice = format!("SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY run, entry HAVING count(*) > 1) AS twice");
            assert_eq!(database.query_one(&twice, &[]).await.unwrap().get::<_, i64>(0), 0, "seed {}", seed());
        }
        let mut last = life(None);
        blocking(|| last.end_well());
        let expected = format!("{:?}", (1..=ENTRIES).collect::<Vec<_>>());
        let counts = last.said("counts");
        assert_eq!(counts, vec![expected.as_str(); RUNS as usize]);
        let booked: i64 = database.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        assert_eq!(booked, i64::from(RUNS) * ENTRIES);
        assert!(killed >= 5, "{killed} processes were killed");
        println!("{killed} processes were killed, and each of {booked} entries was booked once");
    }
}
