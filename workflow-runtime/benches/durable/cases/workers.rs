//! The memory store on two worker threads and on one.

use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use workflow_runtime::{Engine, Result as RunResult, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, Watch};
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "workers",
    about: "1,000 runs at once of 10 steps each on the memory store: two worker threads, against one",
    measure,
};

const RUNS: u32 = 1_000;
const STEPS: u32 = 10;
/// The rounds of one measurement, which would otherwise take some milliseconds.
const ROUNDS: u32 = 10;

#[workflow]
async fn ten_steps_in_memory() -> RunResult<u32> {
    for number in 0..STEPS {
        no_op(number).await?;
    }
    Ok(STEPS)
}

struct InMemory {
    runtime: Runtime,
    engine: Engine,
}

impl InMemory {
    fn open(workers: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
        let engine = runtime.block_on(async { Engine::builder().url("memory:").open().await })?;
        Ok(InMemory { runtime, engine })
    }

    fn run(&self) -> Result<Spent> {
        let watch = Watch::start();
        for _ in 0..ROUNDS {
            let engine = self.engine.clone();
            // On a worker, as an application does: the thread that blocks on the runtime would be another one.
            self.runtime.block_on(self.runtime.spawn(async move {
                let runs = try_join_all((0..RUNS).map(|_| engine.start(ten_steps_in_memory, ()).into_future())).await?;
                try_join_all(runs.into_iter().map(IntoFuture::into_future)).await
            }))??;
        }
        Ok(watch.stop(ROUNDS * RUNS * STEPS))
    }
}

fn measure(disk: &Disk) -> Result<Row> {
    let (two, one) = (InMemory::open(2)?, InMemory::open(1)?);
    two.run()?;
    one.run()?;
    let pairs = pairs::measure(disk, Spent::units_per_second, || two.run(), || one.run())?;
    Ok(Row::paired(CASE.name, "steps/s, with one worker", &pairs, Bar::AtLeast(1.0)))
}
