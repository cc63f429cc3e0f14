//! Writes the SHA-256 of every file below a directory to a manifest, as a durable workflow.
//!
//! `cargo run --release --bin digest -- DIR --out MANIFEST`, then `sha256sum -c MANIFEST`. Kill it at any time and run
//! the same command again: it continues, and does not read finished files again.
//!
//! - **The workflow** ([`workflow`]) lists the tree, hashes each file in its own step, and writes the manifest, with a
//!   step for each of these. Results of steps are recorded, so a restart takes them from the journal.
//! - **The runs** are kept in `MANIFEST.db`, or in the file of `--db`; one file for one manifest. Delete it to remove
//!   them.
//! - **The same command again** continues the unfinished run. If the last one is finished and neither the tree (names,
//!   sizes, times of change) nor the manifest has changed since, it reports that and ends; otherwise, and with
//!   `--again`, it begins a new run, which reads every file.
//! - **Files that cannot be hashed** (unreadable, vanished, changed while they were read or before the end) are listed,
//!   and the exit code is 1; the manifest has all the others. Symbolic links are not followed, and only regular files
//!   are listed.

mod manifest;
mod options;
mod progress;
mod tree;
mod workflow;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use workflow_runtime::store::{SqliteStore, Synchronous};
use workflow_runtime::{Code, Engine, Error, Result, Run, Status};

use options::Options;
use progress::Progress;
use tree::Name;
use workflow::{Job, Log, Summary, digest};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("digest: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("digest: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every file could be hashed.
async fn run(options: &Options) -> Result<bool> {
    let root = options.dir.canonicalize().map_err(|error| named(&options.dir, error))?;
    if !root.is_dir() {
        return Err(Error::new(format!("{} is no directory", options.dir.display())));
    }
    let out = absolute(&options.out)?;
    let state = match &options.db {
        Some(path) => absolute(path)?,
        None => with_suffix(&out, ".db"),
    };
    let mut job = Job {
        number: 1,
        root: Name::of(&root)?,
        shown_as: Name::of(&options.dir)?,
        out: Name::of(&out)?,
        state: Name::of(&state)?,
    };

    let engine = Engine::builder()
        .store(Arc::new(SqliteStore::open(&state, Synchronous::Full)?))
        .resource(Log::open(options.log.as_deref())?)
        .blocking_concurrency(options.jobs)
        .open() // an unfinished run goes on from here
        .await?;

    if let Some(last) = last_run(&engine, &mut job).await? {
        let status = last.status().await?;
        if status == Status::Completed {
            let summary = last.await?;
            if !options.again && summary.is_current(&job)? {
                println!("{} is up to date: {summary}", options.out.display());
                return Ok(true);
            }
        }
        if status.is_terminal() {
            job.number += 1;
        }
    }

    let run = engine.start(digest, job.clone()).id(job.run()).await.map_err(|error| explain(error, &state))?;
    let progress = progress::of(run.id());
    let (summary, ()) = tokio::join!(
        async {
            let summary = run.await;
            progress.end();
            summary
        },
        progress.show()
    );
    let summary = summary?;
    report(&summary, progress, options)?;
    engine.shutdown().await?;
    Ok(summary.problems.is_empty())
}

/// The last run for this manifest. Sets the job's number to that of the run.
async fn last_run(engine: &Engine, job: &mut Job) -> Result<Option<Run<Summary>>> {
    let mut last = None;
    loop {
        let next = Job { number: last.as_ref().map_or(1, |_| job.number + 1), ..job.clone() };
        let run = engine.get_run(next.run());
        if !run.exists().await? {
            return Ok(last);
        }
        job.number = next.number;
        last = Some(run);
    }
}

fn report(summary: &Summary, progress: &Progress, options: &Options) -> Result<()> {
    let mut stderr = std::io::stderr().lock();
    for problem in &summary.problems {
        stderr.write_all(&manifest::escaped(problem.name.as_bytes()).1)?;
        writeln!(stderr, ": {}", problem.text)?;
    }
    let taken = progress.taken(summary.examined);
    let hashed = summary.examined as u64 - taken;
    println!("{}: {summary}; {hashed} hashed now, {taken} taken from the journal", options.out.display());
    Ok(())
}

fn explain(error: Error, state: &Path) -> Error {
    if error.code() != Code::RunExists {
        return error;
    }
    let state = state.display();
    error.context(format!(
        "{state} holds an unfinished run with another directory or other paths: repeat that command, or delete {state}"
    ))
}

/// The path of a file that need not exist yet, below a directory that must.
fn absolute(path: &Path) -> Result<PathBuf> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Error::new(format!("{} is not the path of a file", path.display())));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    Ok(parent.canonicalize().map_err(|error| named(parent, error))?.join(name))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn named(path: &Path, error: std::io::Error) -> Error {
    Error::from(error).context(path.display())
}
