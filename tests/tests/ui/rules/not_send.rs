use std::rc::Rc;
use std::sync::Mutex;
use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u32> {
    Ok(order as u32)
}

#[workflow]
async fn counted() -> Result<u32> {
    let count = Rc::new(1);
    let paid = charge(1).await?;
    Ok(paid + *count)
}

#[workflow]
async fn locked() -> Result<u32> {
    let total = Mutex::new(0);
    let mut guard = total.lock().unwrap();
    *guard += charge(1).await?;
    Ok(*guard)
}

fn main() {}
