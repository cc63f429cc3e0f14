//! A workflow that needs calls from outside to complete, and a function that makes these calls.

use std::time::Duration;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Code, Engine, Error, Result, Retention, Run, RunEventKind, Status, get_run, hook, set_attribute, set_state, step,
    step_info, suspend, workflow, writer,
};

use crate::Log;

/// The run that is created, started, resumed and retried.
pub const ORDER: &str = "order";
/// The run that is forked from it.
pub const FORK: &str = "fork";
/// A run that receives payloads, fails, and receives them again when it is retried.
pub const MAIL: &str = "mail";
/// A run that is cancelled and removed by retention: each process starts it again.
pub const FORGOTTEN: &str = "forgotten";
/// A run that is created and deleted.
pub const DELETED: &str = "deleted";

/// The first generation of a run fails with this carrier.
const LATE: &str = "late";
const PUNCTUAL: &str = "punctual";

/// What an [`order`] returns: for each call, the process (life) whose call took effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The life that started the run.
    pub started: String,
    /// The life that resumed its step.
    pub approved: String,
    /// The life that resumed the workflow.
    pub signed: String,
    /// The carrier that shipped the order.
    pub carrier: String,
}

/// Records the calling attempt: its number.
async fn note(log: &Log) -> Result<u32> {
    Ok(log.note_in(generation().await?))
}

/// The generation of the calling step's run: how often the run was retried.
async fn generation() -> Result<u64> {
    let info = step_info().ok_or_else(|| Error::new("it is called outside a step"))?;
    let run: Run<Receipt> = get_run(info.run);
    Ok(run.info().await?.generation)
}

#[step]
async fn pack(#[resource] log: &Log, started: String) -> Result<String> {
    note(log).await?;
    Ok(started)
}

/// Fails once after it was resumed. With one retry it succeeds only if the suspension does not count as a failure.
#[step(retries = 1, backoff = "1ms..2ms")]
async fn approve(#[resource] log: &Log, carrier: String) -> Result<(String, String)> {
    let attempt = note(log).await?;
    let approved: String = suspend(&carrier).label("approve").await?;
    if attempt == 2 {
        return Err(Error::new("not at once"));
    }
    Ok((carrier, approved))
}

#[step(retries = 1, backoff = "1ms..2ms")]
async fn ship(#[resource] log: &Log, carrier: String) -> Result<String> {
    note(log).await?;
    match carrier == LATE && generation().await? == 0 {
        true => Err(Error::new("it has left already")),
        false => Ok(carrier),
    }
}

/// An order that needs a start, an approval and a signature, and that fails in its first generation.
#[workflow]
pub async fn order(started: String) -> Result<Receipt> {
    let started = pack(started).await?;
    let (carrier, approved) = approve(LATE.into()).await?;
    let signed: String = suspend(&carrier).label("sign").await?;
    let carrier = ship(carrier).await?;
    Ok(Receipt { started, approved, signed, carrier })
}

#[step]
async fn charge(#[resource] log: &Log) -> Result<u32> {
    note(log).await
}

#[step]
async fn refund(#[resource] log: &Log, _charge: u32) -> Result<()> {
    note(log).await?;
    Ok(())
}

/// Receives a letter by a hook that was opened before a step which is undone, and two by a hook that was opened behind it. It
/// fails in its first generation.
#[workflow]
async fn collect() -> Result<Vec<u32>> {
    let mut first = hook::<u32>().token(MAIL).open();
    charge().rollback(refund).await?;
    let mut letters = vec![(&mut first).await?];
    drop(first);
    let mut second = hook::<u32>().token(MAIL).open();
    letters.push((&mut second).await?);
    ship(LATE.into()).await?;
    letters.push(second.await?);
    Ok(letters)
}

#[step]
async fn leave() -> Result<()> {
    writer("lines").write(&1).await
}

/// Leaves a state, an attribute and a stream, and waits until it is cancelled.
#[workflow]
async fn leaves() -> Result<()> {
    set_state(&1)?;
    set_attribute("left", "behind")?;
    leave().await?;
    suspend(&()).label("for ever").await
}

/// Removes cancelled runs at once.
pub fn retention() -> Retention {
    Retention::new().most(Status::Cancelled, 0)
}

/// Makes all calls that the runs need to complete, whether or not an earlier process has made them, and makes each call
/// that takes effect once twice. Passes `answer CALL RUN CODE` for each of these calls, `started RUN` and
/// `result RUN JSON` to `report`.
pub async fn operate(engine: &Engine, life: &str, mut report: impl FnMut(String)) -> Result<()> {
    let created = engine.create_run(order).id(ORDER).await?;
    report(format!("started {ORDER}"));
    let again = format!("{life} again");
    report(answer("start", ORDER, created.start(life.to_owned()).await));
    report(answer("start", ORDER, created.start(again).await));
    let run = created.run();
    resume(&run, life, &mut report).await?;
    if (&run).await.is_err_and(|error| error.code() == Code::User) {
        report(answer("retry", ORDER, run.retry().await));
    }
    report(answer("retry", ORDER, run.retry().await));
    report(format!("result {ORDER} {}", serde_json::to_string(&(&run).await?)?));

    let approve = run.steps().await?.into_iter().find(|step| step.step.ends_with("::approve"));
    let event = approve.ok_or_else(|| Error::new("it was not approved"))?.event;
    for _ in 0..2 {
        let fork = run.fork(event).id(FORK).input(&(PUNCTUAL,)).await?;
        report(format!("started {}", fork.id()));
    }
    let fork = engine.get_run(FORK);
    resume(&fork, life, &mut report).await?;
    report(format!("result {FORK} {}", serde_json::to_string(&fork.await?)?));
    exchange_letters(engine, &mut report).await?;
    forget(engine).await
}

/// Starts a run, sends it letters, and retries it when it has failed.
async fn exchange_letters(engine: &Engine, report: &mut impl FnMut(String)) -> Result<()> {
    let run = engine.start(collect, ()).id(MAIL).await?;
    report(format!("started {MAIL}"));
    post(engine, 1).await?;
    post(engine, 2).await?;
    if run.info().await?.generation == 0 && (&run).await.is_err_and(|error| error.code() == Code::User) {
        report(answer("retry", MAIL, run.retry().await));
    }
    report(answer("retry", MAIL, run.retry().await));
    post(engine, 3).await?;
    report(format!("result {MAIL} {}", serde_json::to_string(&run.await?)?));
    Ok(())
}

/// Sends a letter as soon as a hook accepts it. A letter that was accepted from an earlier process is not delivered again.
async fn post(engine: &Engine, letter: u32) -> Result<()> {
    loop {
        match engine.resume_hook(MAIL, &letter).idempotency_key(letter.to_string()).await {
            Err(error) if [Code::HookNotFound, Code::HookDisposed, Code::HookFinished].contains(&error.code()) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answer => return answer,
        }
    }
}

fn answer<T>(call: &str, run: &str, answer: Result<T>) -> String {
    format!("answer {call} {run} {}", answer.map_or_else(|error| error.code().as_str(), |_| "ok"))
}

/// Resumes the step and the workflow after each has suspended, in this process or an earlier one.
async fn resume(run: &Run<Receipt>, life: &str, report: &mut impl FnMut(String)) -> Result<()> {
    for label in ["approve", "sign"] {
        suspended(run, label).await?;
        for by in [life, "somebody else"] {
            report(answer(label, run.id(), run.resume(by).label(label).await));
        }
    }
    Ok(())
}

/// Waits until the run has a suspension with this label, open or resumed.
async fn suspended<T>(run: &Run<T>, label: &str) -> Result<()> {
    let mut events = run.events();
    while let Some(event) = events.try_next().await? {
        match event.kind {
            RunEventKind::StepSuspended { label: suspended, .. } if suspended == label => return Ok(()),
            RunEventKind::HookOpened { token, .. } if token.ends_with(&format!("/{label}")) => return Ok(()),
            _ => {}
        }
    }
    Err(Error::fatal(format!("run {} was never suspended as {label}", run.id())))
}

/// Cancels a run and waits until retention has removed it.
async fn forget(engine: &Engine) -> Result<()> {
    let cancel = async {
        let run = engine.start(leaves, ()).id(FORGOTTEN).await?;
        suspended(&run, "for ever").await?;
        run.cancel("nobody needs it").await
    };
    match cancel.await {
        // The engine may remove the run of an earlier process at any moment.
        Err(error) if error.code() != Code::RunNotFound => return Err(error),
        _ => {}
    }
    loop {
        // Deleting a run makes the engine look for runs to remove.
        engine.create_run(order).id(DELETED).await?.run().delete().await?;
        if !engine.get_run::<(), Error>(FORGOTTEN).exists().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
