//! Functions that are passed on instead of called, and receivers that are no variables.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use workflow_runtime::{Result, durable, workflow};

#[workflow]
async fn environment(keys: Vec<String>) -> Result<usize> {
    Ok(keys.iter().map(std::env::var).filter(|value| value.is_ok()).count())
}

#[workflow]
async fn clock_as_default(time: Option<SystemTime>) -> Result<SystemTime> {
    Ok(time.unwrap_or_else(SystemTime::now))
}

#[workflow]
async fn files_that_are_there(names: Vec<String>) -> Result<bool> {
    Ok(names.iter().map(Path::new).any(Path::is_dir))
}

#[workflow]
async fn waits(delay: Option<Duration>) -> Result<()> {
    delay.map(std::thread::sleep);
    Ok(())
}

#[workflow]
async fn a_path_in_place() -> Result<bool> {
    Ok(Path::new("orders").join("new").exists())
}

#[durable]
async fn since_the_epoch() -> Result<u64> {
    Ok(UNIX_EPOCH.elapsed()?.as_secs())
}

#[workflow]
async fn the_first_of_many() -> Result<bool> {
    let times: Vec<SystemTime> = vec![workflow_runtime::now()];
    Ok(times[0].elapsed()? > Duration::from_secs(1))
}

#[workflow]
async fn path_of_the_type(name: String) -> Result<bool> {
    Ok(Path::exists(Path::new(&name)))
}

#[workflow]
async fn imported() -> Result<()> {
    use std::fs::OpenOptions;
    OpenOptions::new().append(true).open("log")?;
    Ok(())
}

#[workflow]
async fn in_a_macro(name: String) -> Result<()> {
    let path = Path::new(&name);
    assert!(path.is_file());
    Ok(())
}

fn main() {
    let _ = Instant::now();
}
