//! An idle worker sends few queries and writes only its lease.

use std::time::Duration;

use tokio::runtime::Runtime;
use workflow_runtime::Engine;

use super::{Case, run_all};
use crate::Result;
use crate::disk::Disk;
use crate::postgres::{Proxy, connect, schema};
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_idle",
    about: "a worker on PostgreSQL that has nothing to do: its statements, and the rows that it writes beside its lease",
    measure,
};

const RUNS: u32 = 10;
/// An idle connection of the database reports its writes up to ten seconds late.
const SETTLING: Duration = Duration::from_secs(12);
const WATCHED: Duration = Duration::from_secs(60);

/// Rows written to the table of leases, and to all other tables.
const WRITES: &str = "
SELECT coalesce(sum(n) FILTER (WHERE relname = 'workers'), 0)::bigint,
    coalesce(sum(n) FILTER (WHERE relname <> 'workers'), 0)::bigint
FROM (SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables
    WHERE schemaname = current_schema()) AS tables";

fn measure(_: &Disk) -> Result<Row> {
    let url = schema()?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let proxy = Proxy::start(&url).await?;
        let engine = Engine::open(&proxy.url).await?;
        run_all(&engine, RUNS).await?;
        tokio::time::sleep(SETTLING).await;
        let client = connect(&url).await;
        let writes = async || -> Result<(i64, i64)> {
            let row = client.query_one(WRITES, &[]).await?;
            Ok((row.try_get(0)?, row.try_get(1)?))
        };
        let (queries, (leases, others)) = (proxy.queries(), writes().await?);
        tokio::time::sleep(WATCHED).await;
        let (queries, (leases_now, others_now)) = (proxy.queries() - queries, writes().await?);
        engine.shutdown().await?;
        let per_second = |count: f64| count / WATCHED.as_secs_f64();
        Ok(Row::counted(CASE.name, "queries/s", per_second(queries as f64), Bar::AtMost(1.0))
            .with("renewals_per_s", report::number(per_second((leases_now - leases) as f64)))
            .with_bar("other_rows", (others_now - others) as f64, Bar::AtMost(0.0)))
    })
}
