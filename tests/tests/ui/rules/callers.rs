// One mistake is one error, however many callers there are, and wherever they are.
use std::rc::Rc;
use serde::{Deserialize, Serialize};
use workflow_runtime::{Result, start, step, workflow};

#[workflow]
async fn generic<T: Clone>(value: T) -> Result<T> {
    Ok(value)
}

#[step]
async fn borrowed(name: &str) -> Result<u32> {
    Ok(name.len() as u32)
}

#[workflow]
async fn opaque(values: impl Iterator<Item = u32>) -> Result<u32> {
    Ok(values.sum())
}

struct Plain {
    n: u32,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    n: u32,
}

#[step]
async fn lacks_derives() -> Result<Vec<Plain>> {
    Ok(Vec::new())
}

#[step]
async fn takes_what_lacks_derives(count: u32, plain: Plain, shared: Rc<Stored>) -> Result<u32> {
    Ok(count + plain.n + shared.n)
}

#[step]
async fn takes_several(count: u32, plain: Plain, plains: Vec<Plain>) -> Result<u32> {
    Ok(count + plain.n + plains.len() as u32)
}

#[workflow]
async fn gives_what_lacks_derives(n: u32) -> Result<Plain> {
    Ok(Plain { n })
}

#[step]
async fn returns_nothing(n: u32) {
    drop(n);
}

struct Shop;

impl Shop {
    #[step]
    async fn open(&self, n: u32) -> Result<u32> {
        Ok(n)
    }

    async fn caller(&self) {
        let _ = self.open(1).retries(2);
    }
}

mod elsewhere {
    pub async fn caller() -> workflow_runtime::Result<()> {
        super::start(super::generic, 1).await?;
        super::start(super::generic::<u32>, 1).await?.await?;
        super::lacks_derives().await?;
        Ok(())
    }
}

#[workflow]
async fn caller() -> Result<u32> {
    let value: u32 = generic(1).await?;
    let n = borrowed("name").retries(1).await?;
    let sum = opaque([1].into_iter()).await?;
    let count = lacks_derives().await?.len() as u32;
    let again = lacks_derives().retries(3).await?.first().map_or(0, |plain| plain.n);
    let taken = takes_what_lacks_derives(1, Plain { n: 1 }, Rc::new(Stored { n: 1 })).await?;
    let several = takes_several(1, Plain { n: 1 }, Vec::new()).await?;
    let given = gives_what_lacks_derives(1).await?;
    returns_nothing(1).await?;
    Shop.open(1).await?;
    tokio::join!(lacks_derives(), returns_nothing(2)).0?;
    Ok(value + n + sum + count + again + taken + several + given.n)
}

async fn starts() -> Result<()> {
    start(opaque, [1].into_iter()).await?;
    start(gives_what_lacks_derives, 1).await?.await?;
    start(gives_what_lacks_derives, 2).id("two").await?;
    elsewhere::caller().await?;
    Shop.caller().await;
    start(caller, ()).await?;
    Ok(())
}

fn main() {
    drop(starts());
}
