use workflow_runtime::{Result, step, workflow};

#[workflow(id = "queue:gpu/draw")]
async fn queued() -> Result<()> {
    Ok(())
}

#[workflow(was = "suspended/draw")]
async fn suspended() -> Result<()> {
    Ok(())
}

#[step(id = "webhook/draw")]
async fn called_back() -> Result<()> {
    Ok(())
}

#[step(id = "workflow_runtime::draw")]
async fn ours() -> Result<()> {
    Ok(())
}

#[step(was = "queue:gpu/draw")]
async fn once_queued() -> Result<()> {
    Ok(())
}

// Each of them still resolves.
fn main() {
    let _ = (called_back(), ours(), once_queued());
    let _ = (workflow_runtime::start(queued, ()), workflow_runtime::start(suspended, ()));
}
