//! A workflow for each way in which a run can be parked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Error, Result, durable, hook, nondeterministic, now, patched, random, set_attribute, set_state, sleep, spawn, step,
    suspend, timeout, uuid, workflow, writer,
};

use crate::Log;

/// A duration that has passed when a sample is opened.
pub const MINUTE: Duration = Duration::from_secs(60);
/// A duration that has not passed when a sample is opened.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whether the code of this process differs from that of the others: then [`changes`] gets stuck.
static CHANGED: AtomicBool = AtomicBool::new(false);

pub(super) fn change_code(changed: bool) {
    CHANGED.store(changed, Ordering::SeqCst);
}

fn is_changed() -> bool {
    CHANGED.load(Ordering::SeqCst)
}

/// Returns its argument.
#[step]
async fn echo(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value)
}

/// A sleep between two steps.
#[workflow]
pub async fn sleeps(length: Duration) -> Result<u64> {
    let before = echo(1).await?;
    sleep(length).await;
    Ok(before + echo(2).await?)
}

/// Takes two payloads from a hook.
#[workflow]
pub async fn asks(token: String) -> Result<Vec<u64>> {
    let mut answers = hook::<u64>().token(token.clone()).metadata(&token).open();
    echo(1).await?;
    let first = (&mut answers).await?;
    echo(first).await?;
    Ok(vec![first, answers.await?])
}

/// Awaits a child.
#[workflow]
pub async fn awaits(token: String) -> Result<Vec<u64>> {
    echo(1).await?;
    let got = asks(token).await?;
    echo(2).await?;
    Ok(got)
}

/// Suspends in the workflow.
#[workflow]
pub async fn signs() -> Result<String> {
    echo(1).await?;
    suspend(&"the contract").label("sign").await
}

#[step]
async fn approval(#[resource] log: &Log) -> Result<String> {
    log.note();
    suspend(&"the plan").label("approve").await
}

/// Suspends in a step.
#[workflow]
pub async fn approves() -> Result<String> {
    echo(1).await?;
    approval().await
}

#[step(queue = "samples")]
async fn queued(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value)
}

/// Waits for a worker of a queue.
#[workflow]
pub async fn queues() -> Result<u64> {
    echo(1).await?;
    queued(2).await
}

#[step]
async fn fails_first(#[resource] log: &Log, value: u64) -> Result<u64> {
    match log.note() {
        1 => Err(Error::retry_after(MINUTE)),
        _ => Ok(value),
    }
}

/// Waits for the second attempt of a step.
#[workflow]
pub async fn backs_off() -> Result<u64> {
    echo(1).await?;
    fails_first(2).await
}

/// The first attempt to undo the first step fails.
#[step]
async fn undo(#[resource] log: &Log, value: u64) -> Result<()> {
    match (log.note(), value) {
        (1, 1) => Err(Error::retry_after(MINUTE)),
        _ => Ok(()),
    }
}

/// Fails, and undoes two steps.
#[workflow]
pub async fn unwinds() -> Result<()> {
    echo(1).rollback(undo).await?;
    echo(2).rollback(undo).await?;
    Err(Error::fatal("not today"))
}

/// Accepts a payload in each of three generations.
#[workflow]
pub async fn continues(token: String, mut got: Vec<u64>) -> Result<Vec<u64>> {
    let mut mail = hook::<u64>().token(token.clone()).open();
    got.push((&mut mail).await?);
    echo(0).await?;
    set_state(&got)?;
    if got.len() == 3 {
        return Ok(got);
    }
    continues(token, got).continue_as_new().await
}

#[step]
async fn line(#[resource] log: &Log, text: String) -> Result<()> {
    log.note();
    writer("story").write(&text).await
}

/// Leaves a state, attributes and chunks of a stream, and waits between the chunks.
#[workflow]
pub async fn tells(token: String) -> Result<()> {
    let story = writer::<String>("story");
    set_state("telling")?;
    set_attribute("teller", "Ada")?;
    story.write(&"one".to_owned()).await?;
    line("two".to_owned()).await?;
    hook::<()>().token(token).await?;
    line("three".to_owned()).await?;
    story.write(&"four".to_owned()).await?;
    set_state("told")?;
    story.close().await
}

/// Gets stuck while the code is changed.
#[workflow]
pub async fn changes(token: String) -> Result<u64> {
    echo(if is_changed() { 2 } else { 1 }).await?;
    hook::<u64>().token(token).await
}

/// Takes the new branch of a patch, and waits.
#[workflow]
pub async fn patches(token: String) -> Result<u64> {
    let before = if patched("sample") { echo(2).await? } else { echo(1).await? };
    Ok(before + hook::<u64>().token(token).await?)
}

/// Ends.
#[workflow]
pub async fn ends(fails: bool) -> Result<u64> {
    let value = echo(1).await?;
    if fails {
        return Err(Error::fatal("not today"));
    }
    Ok(value)
}

/// What [`mixes`] returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixed {
    /// The random number, and the result of the step that received it.
    pub dice: [u64; 2],
    /// The same for a UUID.
    pub ids: [String; 2],
    /// A value that was recorded without a step.
    pub chosen: u64,
    /// The results of two concurrent steps.
    pub joined: (u64, u64),
    /// The error of a step.
    pub refused: String,
    /// Which of two operations completed first.
    pub winner: u64,
    /// Whether a sleep took longer than its time limit.
    pub is_late: bool,
    /// The payload of the hook, if it arrived in time.
    pub answer: u64,
    /// The result of the branch.
    pub branch: u64,
}

#[step(retries = 0)]
async fn refuses(#[resource] log: &Log) -> Result<u64> {
    log.note();
    Err(Error::new("no"))
}

#[step]
async fn same(#[resource] log: &Log, text: String) -> Result<String> {
    log.note();
    Ok(text)
}

#[durable]
async fn late() -> Result<u64> {
    sleep(DAY).await;
    echo(6).await
}

/// Uses the other operations, and waits for a branch that sleeps and for a hook with a time limit.
#[workflow]
pub async fn mixes(token: String) -> Result<Mixed> {
    let branch = spawn(late());
    let dice = u64::from(random::<u32>());
    let id = uuid().to_string();
    let dice = [dice, echo(dice).await?];
    let ids = [id.clone(), same(id).await?];
    let chosen: u64 = nondeterministic(async { 3 }).await?;
    let joined = tokio::try_join!(echo(4), echo(5))?;
    let refused = refuses().await.err().map(|error| error.to_string()).unwrap_or_default();
    let winner = tokio::select! {
        value = echo(7) => value?,
        () = sleep(DAY) => 0,
    };
    let is_late = timeout(Duration::from_millis(1), sleep(DAY)).await.is_err();
    let sent_off = ends(false).detach()?;
    sent_off.await?;
    let before = now();
    let answer = timeout(2 * DAY, hook::<u64>().token(token)).await.map_err(|_late| Error::fatal("no answer"))??;
    if now() < before {
        return Err(Error::fatal("the time went back"));
    }
    let branch = branch.await?;
    Ok(Mixed { dice, ids, chosen, joined, refused, winner, is_late, answer, branch })
}
