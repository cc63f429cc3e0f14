//! Two workflows with one id, outside test code: prints whether an engine and a client open, whether starts of the two
//! workflows are refused, and whether this program can start a workflow with an id of another crate.

use workflow_runtime::{Code, Engine, Error, Result, step, workflow};

struct Shop;
struct Bank;

impl Shop {
    #[workflow]
    async fn open() -> Result<u64> {
        count(1).await
    }
}

impl Bank {
    #[workflow]
    async fn open() -> Result<u64> {
        count(2).await
    }
}

#[step]
async fn count(n: u64) -> Result<u64> {
    Ok(n)
}

fn print(who: &str, opened: Result<(), Error>) {
    match opened {
        Ok(()) => println!("{who} opens"),
        Err(error) => println!("{who} does not open: {} {error:?}", error.code().as_str()),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    print("an engine", Engine::builder().url("memory:").open().await.map(drop));
    let client = Engine::builder().url("memory:").connect().await?;
    print("a client", Ok(()));
    for started in [client.start(Shop::open, ()).await.map(drop), client.start(Bank::open, ()).await.map(drop)] {
        match started {
            Err(error) if error.code() == Code::DuplicateId => println!("a start is refused"),
            started => println!("a start gives {started:?}"),
        }
    }
    let elsewhere = client.start_by_id("another_program::count_all", serde_json::json!(null)).await.map(drop);
    print("a start of another crate's", elsewhere);
    Ok(())
}

/// The workflow whose id would have another crate's name in a program that includes this module.
#[allow(dead_code)]
#[workflow]
async fn count_all() -> Result<u64> {
    count(3).await
}
