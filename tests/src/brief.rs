//! A short workflow that leaves rows in most tables, for tests that remove runs.

use workflow_runtime::{Error, Result, hook, resume_hook, set_attribute, set_state, step, workflow, writer};

/// The number of chunks that each run writes. A step writes half of them.
pub const CHUNKS: u64 = 6;

#[step]
async fn tells_half(token: String) -> Result<()> {
    for number in 0..CHUNKS / 2 {
        writer("lines").write(&number).await?;
    }
    resume_hook(token, &1u32).idempotency_key("once").await
}

#[workflow]
async fn small(number: u64) -> Result<u64> {
    Ok(number)
}

/// Fails if its argument is true.
#[workflow]
pub async fn brief(fails: bool) -> Result<u64> {
    set_state(&"brief".to_owned())?;
    set_attribute("length", "brief")?;
    let mut mail = hook::<u32>().open();
    tells_half(mail.token().to_owned()).await?;
    (&mut mail).await?;
    for number in CHUNKS / 2..CHUNKS {
        writer("lines").write(&number).await?;
    }
    small(7).detach()?.await?;
    if fails { Err(Error::fatal("on purpose")) } else { Ok(7) }
}
