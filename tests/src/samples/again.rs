//! A run that was retried after rollbacks, and that waits with payloads which its hooks had received before: the samples have it
//! since `format-4`.

use workflow_runtime::{Engine, Error, Result, Run, Status, get_run, hook, step, step_info, suspend, workflow};

use super::write::{is, until};
use crate::Log;

/// Returns its argument.
#[step]
async fn undoable(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value)
}

#[step]
async fn undo(#[resource] log: &Log, _value: u64) -> Result<()> {
    log.note();
    Ok(())
}

#[step(retries = 0)]
async fn fails_before_the_retry(#[resource] log: &Log) -> Result<()> {
    let info = step_info().ok_or_else(|| Error::new("it is called outside a step"))?;
    let run: Run<Vec<u64>> = get_run(info.run);
    let generation = run.info().await?.generation;
    log.note_in(generation);
    if generation == 0 { Err(Error::new("not yet")) } else { Ok(()) }
}

/// Takes two payloads before it fails, and another after its retry.
#[workflow]
pub async fn receives_again(token: String) -> Result<Vec<u64>> {
    undoable(1).rollback(undo).await?;
    let mut got = vec![hook::<u64>().token(token.clone()).await?];
    suspend::<()>(&got).label("between").await?;
    got.push(hook::<u64>().token(token.clone()).await?);
    fails_before_the_retry().await?;
    got.push(hook::<u64>().token(token).await?);
    Ok(got)
}

/// Lets the run fail, and retries it: it has received one payload again, and the other waits for the next hook.
pub(super) async fn park(engine: &Engine) -> Result<()> {
    let run = engine.start(receives_again, "again".into()).id("received again").opens("again").await?;
    engine.resume_hook("again", &10u64).idempotency_key("one").await?;
    let asks = async || {
        until("it asks", async || Ok(run.suspended().await?.len() == 1)).await?;
        Ok::<_, Error>(run.suspended().await?.remove(0))
    };
    run.resume(&()).of(asks().await?.id).await?;
    let sent = async || Ok(engine.resume_hook("again", &20u64).idempotency_key("two").await.is_ok());
    until("the second hook is open", sent).await?;
    is(&run, Status::Failed).await?;
    run.retry().await?;
    asks().await.map(drop)
}
