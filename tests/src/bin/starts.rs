//! Creates runs and starts one for each line of its standard input: `starts URL LOG NAME ROUNDS`. It prints the answer
//! of each start, and at the end the result of each run: the name of the process whose start succeeded.

use std::future::IntoFuture;
use std::path::PathBuf;

use futures::future::try_join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use workflow_runtime::{Engine, Error, Result, step, workflow};
use workflow_tests::Log;

#[step]
async fn notes(#[resource] log: &Log, by: String) -> Result<String> {
    log.note();
    Ok(by)
}

#[workflow]
async fn started(by: String) -> Result<String> {
    notes(by).await
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("starts URL LOG NAME ROUNDS"));
    let (url, log, name, rounds) = (next()?, PathBuf::from(next()?), next()?, next()?.parse::<u32>()?);
    let engine = Engine::builder().url(url).resource(Log::file(log, name.clone())).open().await?;
    let creates = (0..rounds).map(|round| engine.create_run(started).id(format!("round-{round}")).into_future());
    let created = try_join_all(creates).await?;
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    for created in &created {
        lines.next_line().await?;
        let answer = created.start(name.clone()).await;
        println!("answer {}", answer.map_or_else(|error| error.code().as_str(), |_| "ok"));
    }
    for created in created {
        println!("result {} {}", created.id(), created.run().await?);
    }
    engine.shutdown().await
}
