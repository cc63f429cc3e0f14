use workflow_runtime::{Result, durable, step, workflow};

#[workflow]
async fn broken(order: u64) -> Result<u64> {
    let total = order +;
    Ok(total)
}

#[workflow]
async fn fine() -> Result<u64> {
    Ok(1)
}

fn main() {
    let _ = workflow_runtime::start(broken, 1);
    let _ = workflow_runtime::start(fine, ());
}

#[step]
async fn used() -> Result<()> {
    Ok(())
}

#[durable]
async fn also_used() {
    used().await.ok();
}
