use workflow_runtime::{Result, start, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u32> {
    Ok(order as u32)
}

#[workflow]
async fn greet(name: String) -> Result<String> {
    Ok(name)
}

#[workflow]
async fn checkout(order: u64, cents: u32) -> Result<u32> {
    Ok(charge(order).await? + cents)
}

async fn plain(order: u64) -> Result<u64> {
    Ok(order)
}

fn main() {
    let _ = start(greet, 5);
    let _ = start(checkout, (1, "2"));
    let _ = start(checkout, (1,));
    let _ = start(charge, (1,));
    let _ = start(plain, 1);
}
