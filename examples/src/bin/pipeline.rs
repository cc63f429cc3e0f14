//! A file pipeline: counts the words of every file of a directory, eight files at a time, and shows its progress.
//!
//! `cargo run --bin pipeline -- docs/src`, or another directory. Kill the program at any moment and run it again: it
//! does not read finished files again. `pipeline.db` has the runs; remove the file to start over. The program `digest`
//! is a complete tool of this kind: it handles subdirectories, unreadable files and any file name.

use std::fs;
use std::path::PathBuf;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use workflow_runtime::{Engine, Error, Result, step, workflow, writer};

const AT_ONCE: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    file: PathBuf,
    words: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    done: usize,
    of: usize,
    last: Counted,
}

// A step that is a plain `fn` runs on the blocking pool.
#[step]
fn list(directory: PathBuf) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[step(retries = 2)]
fn count(file: PathBuf) -> Result<Counted> {
    let text = fs::read(&file)?;
    let words = String::from_utf8_lossy(&text).split_whitespace().count();
    Ok(Counted { file, words })
}

#[workflow]
async fn pipeline(directory: PathBuf) -> Result<usize> {
    let files = list(directory).await?;
    let of = files.len();
    // The workflow writes the progress, not a step, so that each line is in the stream exactly once, whatever crashes.
    let progress = writer::<Progress>("progress");
    let mut counts = stream::iter(files).map(count).buffer_unordered(AT_ONCE);
    let (mut done, mut words) = (0, 0);
    while let Some(last) = counts.try_next().await? {
        done += 1;
        words += last.words;
        progress.write(&Progress { done, of, last }).await?;
    }
    Ok(words)
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = std::env::args().nth(1).ok_or_else(|| Error::new("usage: pipeline DIRECTORY"))?;
    let engine = Engine::open("sqlite:pipeline.db").await?;
    // A second start for the same directory has the same id, so it returns the same run.
    let run = engine.start(pipeline, fs::canonicalize(&directory)?).id(format!("words of {directory}")).await?;
    let mut progress = run.stream::<Progress>("progress");
    while let Some(chunk) = progress.try_next().await? {
        let Progress { done, of, last } = chunk.value;
        println!("{done}/{of} {}: {} words", last.file.display(), last.words);
    }
    println!("{} words in total", run.await?);
    engine.shutdown().await
}

#[cfg(test)]
#[path = "tests/pipeline.rs"]
mod tests;
