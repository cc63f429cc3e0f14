//! Executes runs until its standard input ends, and its completion callback appends the id of each finished run to the
//! file
//! `CALLED`: `callbacks URL LOG LIFE CALLED DIES`. If `DIES` is `dies`, the callback aborts the process instead of
//! returning.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use workflow_runtime::{Engine, Error, Result, RunInfo};
use workflow_tests::{Log, chain};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // Link the workflow, so that the engine can execute it.
    let _linked = chain::chain;
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("callbacks URL LOG LIFE CALLED DIES"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    let (called, dies) = (PathBuf::from(next()?), next()? == "dies");
    let note = move |run: RunInfo| {
        let noted = OpenOptions::new().append(true).create(true).open(&called);
        let noted = noted.and_then(|mut file| file.write_all(format!("{}\n", run.id).as_bytes()));
        if dies {
            // Like a kill: the process exits without a shutdown of the engine.
            std::process::abort();
        }
        std::future::ready(noted.map_err(Error::from))
    };
    let builder = Engine::builder().url(url).resource(Log::file(log, life)).recoveries(u32::MAX);
    let engine = builder.on_completed(note).open().await?;
    println!("open");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    engine.shutdown().await
}
