//! Executes what there is, and notes each end of a run in the file `CALLED`, until its standard input ends:
//! `callbacks URL LOG LIFE CALLED DIES`. If `DIES` is `dies` it is killed when it has noted an end, before its engine hears that the
//! callback has returned.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use workflow_runtime::{Engine, Error, Result, RunInfo};
use workflow_tests::{Log, chain};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // What is linked is what it can execute.
    let _linked = chain::chain;
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("callbacks URL LOG LIFE CALLED DIES"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    let (called, dies) = (PathBuf::from(next()?), next()? == "dies");
    let note = move |run: RunInfo| {
        let noted = OpenOptions::new().append(true).create(true).open(&called);
        let noted = noted.and_then(|mut file| file.write_all(format!("{}\n", run.id).as_bytes()));
        if dies {
            // Like a kill: the process ends without a shutdown of the engine.
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
