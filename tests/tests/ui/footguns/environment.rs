use std::env::{self, var};
use workflow_runtime::{Result, durable, workflow};

#[workflow]
async fn variable() -> Result<String> {
    let key = var("KEY")?;
    Ok(format!("{key}{}", env::var("HOME")?))
}

#[workflow]
async fn spelled_variable() -> Result<bool> {
    Ok(std::env::var_os("HOME").is_some())
}

#[workflow]
async fn all_variables() -> Result<usize> {
    Ok(env::vars().count())
}

#[workflow]
async fn arguments() -> Result<Vec<String>> {
    Ok(env::args().collect())
}

#[durable]
async fn directory() -> Result<String> {
    Ok(env::current_dir()?.display().to_string())
}

#[workflow]
async fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

fn main() {}
