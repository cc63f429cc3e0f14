//! A program without workflows. `reasons URL RUN` prints the reasons why a run does not move, one per line. `reasons
//! URL` opens an engine, prints `open`, and runs until its standard input ends. It appends its warnings to the file
//! that the environment variable `WARNINGS` names.

use std::io::Read;
use std::path::Path;

use workflow_runtime::{Client, Engine, Error, Result, Run, workflows};

#[path = "../warnings.rs"]
mod warnings;

#[tokio::main]
async fn main() -> Result<()> {
    assert_eq!(workflows(), []);
    if let Some(path) = std::env::var_os("WARNINGS") {
        warnings::write_to(Path::new(&path));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [url, id] => {
            let client = Client::connect(url).await?;
            let run: Run<()> = client.get_run(id);
            for reason in run.waiting().await? {
                println!("{reason}");
            }
        }
        [url] => {
            let engine = Engine::builder().url(url).deployment("bare").open().await?;
            println!("open");
            let stays = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
            stays.await.map_err(Error::new)?.map_err(Error::new)?;
            engine.shutdown().await?;
        }
        _ => return Err(Error::new("call it with a URL, and the id of a run")),
    }
    Ok(())
}
