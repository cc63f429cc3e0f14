use workflow_runtime::{Result, durable, step, workflow};

#[workflow]
fn not_async() -> Result<()> {
    Ok(())
}

#[workflow]
const unsafe extern "C" fn qualified() -> Result<()> {
    Ok(())
}

#[workflow]
async fn without_result(order: u64) {
    println!("{order}");
}

#[step]
async fn step_without_result() {
    println!("done");
}

#[workflow]
async fn destructured((a, b): (u32, u32), [c]: [u32; 1]) -> Result<u32> {
    Ok(a + b + c)
}

#[workflow]
async fn conditional(#[cfg(unix)] a: u32) -> Result<u32> {
    Ok(a)
}

#[durable]
fn no_await() -> u32 {
    1
}

// Each of them still resolves.
fn main() {
    let _ = workflow_runtime::start(not_async, ());
    let _ = workflow_runtime::start(qualified, ());
    let _ = workflow_runtime::start(without_result, 1);
    let _ = workflow_runtime::start(destructured, ((1, 2), [3]));
    let _ = workflow_runtime::start(conditional, 1);
    let _ = step_without_result();
    let _ = no_await();
}
