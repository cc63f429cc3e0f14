//! Opens an engine and prints the result of a run or the error: `opens URL`, or `opens resource` to open it without the
//! resource that a step declares.

use workflow_runtime::{Engine, Result, step, workflow};

struct Bank;

#[step]
async fn charge(#[resource] _bank: &Bank, cents: u32) -> Result<u32> {
    Ok(cents)
}

#[workflow]
async fn pay(cents: u32) -> Result<u32> {
    charge(cents).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let opened = match std::env::args().nth(1).as_deref() {
        Some("resource") | None => Engine::open("memory:").await,
        Some(url) => Engine::builder().url(url).resource(Bank).open().await,
    };
    match opened {
        Ok(engine) => println!("paid {}", engine.start(pay, 1).await?.await?),
        Err(error) => println!("code {}\n{error:?}", error.code()),
    }
    Ok(())
}
