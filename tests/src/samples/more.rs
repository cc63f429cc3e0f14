//! Further workflows for ways in which a run can be parked: the samples have them since `format-3`.

use std::sync::atomic::{AtomicBool, Ordering};

use workflow_runtime::http::{Answer, Request, webhook};
use workflow_runtime::{Error, Result, Run, get_run, hook, set_state, step, step_info, suspend, workflow};

use super::workflows::{MINUTE, asks};
use crate::Log;

/// Whether the code of this process differs from that of the others: then it cannot continue [`left`].
static CHANGED: AtomicBool = AtomicBool::new(false);

pub(super) fn change_code_of_left(changed: bool) {
    CHANGED.store(changed, Ordering::SeqCst);
}

/// Returns its argument.
#[step]
async fn copy(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value)
}

/// Awaits a child with a chosen id, which the child may have before.
#[workflow]
pub async fn adopts(id: String, token: String) -> Result<Vec<u64>> {
    copy(1).await?;
    let got = asks(token).id(id).attribute("of", "a parent").await?;
    copy(2).await?;
    Ok(got)
}

#[step(retries = 0)]
async fn fails_until_retried(#[resource] log: &Log, value: u64) -> Result<u64> {
    let info = step_info().ok_or_else(|| Error::new("it is called outside a step"))?;
    let run: Run<u64> = get_run(info.run);
    let generation = run.info().await?.generation;
    log.note_in(generation);
    if generation == 0 { Err(Error::new("not yet")) } else { Ok(value) }
}

/// Fails before its first retry, and waits for a payload after that.
#[workflow]
pub async fn retries(token: String) -> Result<u64> {
    let before = copy(1).await? + fails_until_retried(2).await?;
    Ok(before + hook::<u64>().token(token).await?)
}

/// Takes payloads from one hook after the other, and suspends in between.
#[workflow]
pub async fn takes(token: String, count: usize) -> Result<Vec<u64>> {
    let mut got = Vec::new();
    while got.len() < count {
        got.push(hook::<u64>().token(token.clone()).await?);
        suspend::<()>(&got).label("between").await?;
    }
    Ok(got)
}

/// The same with a generation for each payload.
#[workflow]
pub async fn carries(token: String, count: usize, mut got: Vec<u64>) -> Result<Vec<u64>> {
    if !got.is_empty() {
        suspend::<()>(&got).label("between").await?;
    }
    if got.len() == count {
        return Ok(got);
    }
    got.push(hook::<u64>().token(token.clone()).await?);
    carries(token, count, got).continue_as_new().await
}

/// Has received three payloads when it takes the first: the others are left in the journal, or are carried to the next
/// generation.
#[workflow]
pub async fn receives(token: String, continues: bool, mut got: Vec<u64>) -> Result<Vec<u64>> {
    if got.is_empty() {
        let mut mail = hook::<u64>().token(token.clone()).open();
        suspend::<()>(&got).label("between").await?;
        got.push((&mut mail).await?);
        drop(mail);
        if continues {
            return receives(token, continues, got).continue_as_new().await;
        }
    }
    suspend::<()>(&got).label("between").await?;
    while got.len() < 3 {
        got.push(hook::<u64>().token(token.clone()).await?);
    }
    Ok(got)
}

#[step(queue = "more-samples")]
async fn queued_approval(#[resource] log: &Log) -> Result<String> {
    log.note();
    suspend(&"the budget").label("approve").await
}

/// Suspends in a step of a queue.
#[workflow]
pub async fn approves_in_queue() -> Result<String> {
    copy(1).await?;
    queued_approval().await
}

#[step(queue = "more-samples")]
async fn fails_first_in_queue(#[resource] log: &Log, value: u64) -> Result<u64> {
    match log.note() {
        1 => Err(Error::retry_after(MINUTE)),
        _ => Ok(value),
    }
}

/// Waits for the second attempt of a step of a queue.
#[workflow]
pub async fn backs_off_in_queue() -> Result<u64> {
    copy(1).await?;
    fails_first_in_queue(2).await
}

#[step]
async fn reply(#[resource] log: &Log, request: Request) -> Result<()> {
    log.note();
    let text = request.text().unwrap_or_default().to_uppercase();
    request.answer(&Answer::new(201).body(text)).await
}

/// Takes a request that is answered at once, and one that a step answers. Their paths are its state.
#[workflow]
pub async fn listens() -> Result<Vec<String>> {
    let at_once = webhook().answer(Answer::new(200).body("taken")).open();
    let by_step = webhook().answered_by_step().open();
    set_state(&[at_once.path(), by_step.path()])?;
    let first = at_once.await?;
    let second = by_step.await?;
    reply(second.clone()).await?;
    Ok([first, second].iter().map(|request| request.text().unwrap_or_default().to_owned()).collect())
}

/// Cannot be continued while the code is changed.
#[workflow]
pub async fn left(token: String) -> Result<u64> {
    copy(if CHANGED.load(Ordering::SeqCst) { 2 } else { 1 }).await?;
    hook::<u64>().token(token).await
}
