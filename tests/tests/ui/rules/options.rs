use workflow_runtime::{Result, durable, step, workflow};

#[step(retry = 3)]
async fn near() -> Result<()> {
    Ok(())
}

#[step(queue = "mail")]
async fn unknown() -> Result<()> {
    Ok(())
}

#[workflow(id = "a", id = "b", retries = 2)]
async fn twice() -> Result<()> {
    Ok(())
}

#[step(retries = "many", backoff = "100ms", timeout = 10)]
async fn malformed() -> Result<()> {
    Ok(())
}

#[step(retries = -1, backoff = "30s..1s", timeout = "0s")]
async fn impossible() -> Result<()> {
    Ok(())
}

#[step(timeout = "1 week", id = "", retries)]
async fn wordy() -> Result<()> {
    Ok(())
}

#[workflow(was = "spaces in it" crate = 5)]
async fn no_comma() -> Result<()> {
    Ok(())
}

#[step(was = "shop::pay", was = "shop::charge", was = "shop::pay")]
async fn renamed() -> Result<()> {
    Ok(())
}

#[step(was)]
async fn unnamed() -> Result<()> {
    Ok(())
}

#[durable(id = "x")]
async fn nameless() {}

// Each of them still resolves.
fn main() {
    let _ = (near(), unknown(), renamed(), unnamed(), malformed(), impossible(), wordy(), nameless());
    let _ = (workflow_runtime::start(twice, ()), workflow_runtime::start(no_comma, ()));
}
