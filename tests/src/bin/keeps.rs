//! Starts a run for each line of its standard input, which is the id, and prints the answer: `keeps URL WARNINGS`. A line `?id`
//! prints why the run does not move, and what the health of the engine is.
//! Appends its warnings to the file `WARNINGS`. If the store cannot be opened, it prints the error.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, BufReader};
use workflow_runtime::{Engine, Error, Result, workflow};
use workflow_tests::{Log, warnings};

#[workflow]
async fn kept() -> Result<u64> {
    Ok(1)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("keeps URL WARNINGS"));
    let (url, file) = (next()?, PathBuf::from(next()?));
    warnings::write_to(&file);
    // The steps that are linked into this program require the resource.
    let log = Log::file(file.with_extension("log"), "keeps".to_owned());
    let engine = match Engine::builder().url(url).resource(log).open().await {
        Ok(engine) => engine,
        Err(error) => {
            println!("refused {} {}", error.code(), format!("{error:?}").replace('\n', " "));
            return Ok(());
        }
    };
    println!("open");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(id) = lines.next_line().await? {
        if let Some(id) = id.strip_prefix('?') {
            let waiting = engine.get_run::<u64, Error>(id).waiting().await?;
            println!("waiting {}", serde_json::json!({ "health": engine.health().await?, "reasons": waiting }));
            continue;
        }
        let started = engine.start(kept, ()).id(id).await;
        println!("answer {}", started.map_or_else(|error| error.code().as_str().to_owned(), |run| run.id().to_owned()));
    }
    engine.shutdown().await
}
