use workflow_runtime::{Error, Result, step, workflow};

struct Plain;

enum Refused {
    Stolen,
}

#[workflow]
async fn plain() -> Result<Plain> {
    Ok(Plain)
}

#[step]
async fn plain_step() -> Result<Vec<Plain>> {
    Ok(vec![Plain])
}

#[step]
async fn no_result() -> u32 {
    1
}

#[workflow]
async fn option() -> Option<u32> {
    None
}

#[step]
async fn typed() -> Result<u32, Refused> {
    Err(Refused::Stolen)
}

#[workflow]
async fn io() -> Result<u32, std::io::Error> {
    Ok(1)
}

#[workflow]
async fn mismatch() -> Result<u32, Error> {
    Ok("text")
}

fn main() {}
