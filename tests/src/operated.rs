//! A workflow that does not get to its end by itself, and what is done to its runs until they are there.

use std::time::Duration;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Code, Engine, Error, Result, Retention, Run, RunEventKind, Status, get_run, set_attribute, set_state, step,
    step_info, suspend, workflow, writer,
};

use crate::Log;

/// The run that is created ahead, started, resumed and retried.
pub const ORDER: &str = "order";
/// The run that is forked from it.
pub const FORK: &str = "fork";
/// A run that is cancelled and not kept: it begins anew in each life.
pub const FORGOTTEN: &str = "forgotten";
/// A run that is created and deleted.
pub const DELETED: &str = "deleted";

/// The carrier with which the first generation of a run fails.
const LATE: &str = "late";
const PUNCTUAL: &str = "punctual";

/// What an [`order`] returns: by whose calls it got there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Who has started it.
    pub started: String,
    /// Who has resumed its step.
    pub approved: String,
    /// Who has resumed the workflow.
    pub signed: String,
    /// Whom it went by.
    pub carrier: String,
}

/// Notes the attempt that calls this: its number.
async fn note(log: &Log) -> Result<u32> {
    Ok(log.note_in(generation().await?))
}

/// How often the run of the step that calls this was retried.
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

/// Fails once when it has its answer, and would not be attempted again if its suspension counted.
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

/// An order that somebody has to start, to approve and to sign, and that fails at first.
#[workflow]
pub async fn order(started: String) -> Result<Receipt> {
    let started = pack(started).await?;
    let (carrier, approved) = approve(LATE.into()).await?;
    let signed: String = suspend(&carrier).label("sign").await?;
    let carrier = ship(carrier).await?;
    Ok(Receipt { started, approved, signed, carrier })
}

#[step]
async fn leave() -> Result<()> {
    writer("lines").write(&1).await
}

/// Leaves something everywhere, and waits to be cancelled.
#[workflow]
async fn leaves() -> Result<()> {
    set_state(&1)?;
    set_attribute("left", "behind")?;
    leave().await?;
    suspend(&()).label("for ever").await
}

/// What is kept of the runs above.
pub fn retention() -> Retention {
    Retention::new().most(Status::Cancelled, 0)
}

/// Does all that the runs need to get to their ends, from the beginning, however much of it was done in a life before, and
/// each call twice that counts once. Tells `answer CALL RUN CODE` of those, `started RUN` and `result RUN JSON`.
pub async fn operate(engine: &Engine, life: &str, mut tell: impl FnMut(String)) -> Result<()> {
    let created = engine.create_run(order).id(ORDER).await?;
    tell(format!("started {ORDER}"));
    let again = format!("{life} again");
    tell(answer("start", ORDER, created.start(life.to_owned()).await));
    tell(answer("start", ORDER, created.start(again).await));
    let run = created.run();
    resume(&run, life, &mut tell).await?;
    if (&run).await.is_err_and(|error| error.code() == Code::User) {
        tell(answer("retry", ORDER, run.retry().await));
    }
    tell(answer("retry", ORDER, run.retry().await));
    tell(format!("result {ORDER} {}", serde_json::to_string(&(&run).await?)?));

    let approve = run.steps().await?.into_iter().find(|step| step.step.ends_with("::approve"));
    let event = approve.ok_or_else(|| Error::new("it was not approved"))?.event;
    for _ in 0..2 {
        let fork = run.fork(event).id(FORK).input(&(PUNCTUAL,)).await?;
        tell(format!("started {}", fork.id()));
    }
    let fork = engine.get_run(FORK);
    resume(&fork, life, &mut tell).await?;
    tell(format!("result {FORK} {}", serde_json::to_string(&fork.await?)?));
    forget(engine).await
}

fn answer<T>(call: &str, run: &str, answer: Result<T>) -> String {
    format!("answer {call} {run} {}", answer.map_or_else(|error| error.code().as_str(), |_| "ok"))
}

/// Resumes the step and the workflow, each once it is suspended, be it in a life before.
async fn resume(run: &Run<Receipt>, life: &str, tell: &mut impl FnMut(String)) -> Result<()> {
    for label in ["approve", "sign"] {
        suspended(run, label).await?;
        for by in [life, "somebody else"] {
            tell(answer(label, run.id(), run.resume(by).label(label).await));
        }
    }
    Ok(())
}

/// Waits until it is, or was, suspended under this label.
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

/// Lets a run be removed for being cancelled.
async fn forget(engine: &Engine) -> Result<()> {
    let cancel = async {
        let run = engine.start(leaves, ()).id(FORGOTTEN).await?;
        suspended(&run, "for ever").await?;
        run.cancel("nobody needs it").await
    };
    match cancel.await {
        // The one of a life before goes at any moment.
        Err(error) if error.code() != Code::RunNotFound => return Err(error),
        _ => {}
    }
    loop {
        // A run that is deleted lets the engine look for what is not kept.
        engine.create_run(order).id(DELETED).await?.run().delete().await?;
        if !engine.get_run::<(), Error>(FORGOTTEN).exists().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
