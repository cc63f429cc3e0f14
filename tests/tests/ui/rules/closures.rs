use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u32> {
    Ok(order as u32)
}

#[workflow]
async fn borrowing() -> Result<u32> {
    let offset = 1;
    let pay = async |order: u64| charge(order + offset).await;
    pay(2).await
}

fn main() {}
