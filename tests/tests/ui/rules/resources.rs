use workflow_runtime::{Result, step, workflow};

struct Bank;
trait Mail: Send + Sync {}

#[step]
async fn by_value(#[resource] bank: Bank) -> Result<()> {
    drop(bank);
    Ok(())
}

#[step]
async fn mutable(#[resource] bank: &mut Bank) -> Result<()> {
    let _ = bank;
    Ok(())
}

#[step]
async fn unsized_type(#[resource] mail: &dyn Mail) -> Result<()> {
    let _ = mail;
    Ok(())
}

#[step]
async fn with_options(#[resource(name = "x")] bank: &Bank) -> Result<()> {
    let _ = bank;
    Ok(())
}

#[workflow]
async fn in_a_workflow(#[resource] bank: &Bank) -> Result<()> {
    let _ = bank;
    Ok(())
}

fn main() {}
