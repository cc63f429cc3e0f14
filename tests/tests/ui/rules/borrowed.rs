use std::borrow::Cow;
use workflow_runtime::{Result, step, workflow};

#[workflow]
async fn text(name: &str, names: &[String]) -> Result<()> {
    let _ = (name, names);
    Ok(())
}

#[step]
async fn inside(pair: (u32, Option<&u64>), cow: Cow<'_, str>) -> Result<()> {
    let _ = (pair, cow);
    Ok(())
}

#[step]
async fn result() -> Result<&'static str> {
    Ok("text")
}

fn main() {}
