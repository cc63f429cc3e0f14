//! Three versions of a program, as a rolling deploy has them alive at once: `rolling URL LOG LIFE` executes what there is until its
//! standard input ends. The life begins with the version, which is the id of its deployment too: `v2-b` is the second worker of
//! version 2. A later version has more steps.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use workflow_runtime::{Engine, Error, Result, hook, patched, step, workflow};
use workflow_tests::{Log, warnings};

static VERSION: OnceLock<u32> = OnceLock::new();

fn version() -> u32 {
    *VERSION.get().expect("the program knows its version")
}

#[step(id = "rolling::work")]
async fn work(#[resource] log: &Log) -> Result<String> {
    Ok(log.sign())
}

/// The second version has added it.
#[step(id = "rolling::second")]
async fn second(#[resource] log: &Log) -> Result<String> {
    Ok(format!("second {}", log.sign()))
}

/// The third version has added it.
#[step(id = "rolling::third")]
async fn third(#[resource] log: &Log) -> Result<String> {
    Ok(format!("third {}", log.sign()))
}

/// The same in each version.
#[workflow(id = "rolling::plain")]
async fn plain(name: String) -> Result<Vec<String>> {
    let mut done = vec![work().await?];
    hook::<()>().token(format!("{name} one")).await?;
    done.push(work().await?);
    hook::<()>().token(format!("{name} two")).await?;
    done.push(work().await?);
    Ok(done)
}

/// Changed without a patch: a run goes on only in a build that fits what it has recorded.
#[workflow(id = "rolling::changed")]
async fn changed(name: String) -> Result<Vec<String>> {
    let mut done = vec![work().await?];
    if version() >= 2 {
        done.push(second().await?);
    }
    hook::<()>().token(format!("{name} one")).await?;
    done.push(work().await?);
    if version() >= 3 {
        done.push(third().await?);
    }
    hook::<()>().token(format!("{name} two")).await?;
    done.push(work().await?);
    Ok(done)
}

/// Changed with patches: a later build continues the runs of an earlier one.
#[workflow(id = "rolling::patched")]
async fn with_patches(name: String) -> Result<Vec<String>> {
    let mut done = vec![work().await?];
    if version() >= 2 && patched("second") {
        done.push(second().await?);
    }
    hook::<()>().token(format!("{name} one")).await?;
    done.push(work().await?);
    if version() >= 3 && patched("third") {
        done.push(third().await?);
    }
    hook::<()>().token(format!("{name} two")).await?;
    done.push(work().await?);
    Ok(done)
}

/// Bound to a deployment, and changed as it likes.
#[workflow(id = "rolling::pinned", pinned)]
async fn pinned(name: String) -> Result<Vec<String>> {
    let mut done = vec![work().await?];
    if version() >= 2 {
        done.push(second().await?);
    }
    hook::<()>().token(format!("{name} one")).await?;
    done.push(work().await?);
    if version() >= 3 {
        done.push(third().await?);
    }
    hook::<()>().token(format!("{name} two")).await?;
    done.push(work().await?);
    Ok(done)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let _linked = (plain, changed, with_patches, pinned);
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("rolling URL LOG LIFE"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    let deployment = life.split('-').next().unwrap_or_default().to_owned();
    let number = deployment.trim_start_matches('v').parse().map_err(|_| Error::new("a life such as v2-b"))?;
    VERSION.get_or_init(|| number);
    warnings::write_to(&log.with_extension(&life));
    // A run that waits leaves memory at once, so that another build may continue it.
    let builder = Engine::builder().url(url).deployment(deployment).evict_after(Duration::ZERO);
    let engine = builder.resource(Log::file(log, life)).open().await?;
    println!("open");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    engine.shutdown().await
}
