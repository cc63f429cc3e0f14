//! Tokens before their hook is opened and after its end, as senders see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, hook, step, workflow};

use crate::support::{Lab, ManualClock, soon};

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[step(retries = 0)]
async fn number(n: u32) -> Result<u32> {
    Ok(n)
}

#[workflow]
async fn creates_its_hook_late() -> Result<u32> {
    gated("before".into()).await?;
    hook::<u32>().token("t").await
}

#[workflow]
async fn waits() -> Result<u32> {
    hook::<u32>().token("t").await
}

#[workflow]
async fn takes_three() -> Result<Vec<String>> {
    let payloads: Vec<Result<u32>> = hook::<u32>().token("t").open().take(3).collect().await;
    Ok(payloads
        .into_iter()
        .map(|payload| payload.map_or_else(|error| error.code().to_string(), |n| n.to_string()))
        .collect())
}

static CALLS: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn drops_one_and_counts_in_a_static() -> Result<()> {
    let other = hook::<u32>().token("other").open();
    hook::<u32>().token("go").await?;
    drop(other);
    number(CALLS.fetch_add(1, Ordering::SeqCst)).await?;
    Ok(())
}

#[step(retries = 0)]
async fn fails_once(#[resource] lab: &Lab) -> Result<()> {
    match lab.note("fails once") {
        1 => Err(Error::fatal("the first time")),
        _ => Ok(()),
    }
}

/// Keeps a hook that is refused, because another run has the token.
#[workflow]
async fn keeps_a_refused_hook() -> Result<Code> {
    let mut refused = hook::<u32>().token("t").open();
    let error = (&mut refused).await.unwrap_err();
    fails_once().await?;
    hook::<u32>().token("go").await?;
    drop(refused);
    Ok(error.code())
}

async fn is_suspended<T>(run: &Run<T>) {
    soon(async {
        while run.status().await.unwrap() != Status::Suspended {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// Asserts that no hook has the token `t` while the run waits, and lets it complete.
async fn assert_has_no_token(engine: &Engine, run: &Run<Code>) {
    is_suspended(run).await;
    let sent = engine.resume_hook("t", &2u32).await;
    let code = sent.expect_err("nobody receives the payload").code();
    assert!([Code::HookFinished, Code::HookNotFound].contains(&code), "{code}");
    engine.resume_hook("go", &0u32).await.unwrap();
    assert_eq!(soon(run).await.unwrap(), Code::HookConflict);
}

on_each_store! {
    async fn a_hook_that_was_refused_does_not_take_the_token_later(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let owner = engine.start(waits, ()).await.unwrap();
        is_suspended(&owner).await;
        let run = engine.start(keeps_a_refused_hook, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::User);
        engine.resume_hook("t", &1u32).await.unwrap();
        assert_eq!(soon(owner).await.unwrap(), 1);
        run.retry().await.unwrap();
        assert_has_no_token(&engine, &run).await;
        let steps = run.outcome().await.unwrap().steps;
        let fork = run.fork(steps[0].event).await.unwrap();
        assert_has_no_token(&engine, &fork).await;
    }

    async fn a_held_payload_is_kept_for_a_run_that_has_announced_its_hook(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000));
        let engine = place.open_at(&lab, &clock).await;
        engine.resume_hook("t", &7u32).hold_for(Duration::from_secs(1)).await.unwrap();
        let run = engine.start(creates_its_hook_late, ()).opens("t").await.unwrap();
        soon(lab.executed("before", 1)).await;
        clock.set(10_000);
        lab.open_gate("before");
        assert_eq!(soon(&run).await.unwrap(), 7);
    }

    async fn a_token_with_only_a_held_payload_is_not_open_and_expires(place: Place) {
        let clock = ManualClock::at(1_000);
        let engine = place.open_at(&Lab::new(), &clock).await;
        engine.resume_hook("t", &7u32).hold_for(Duration::from_secs(1)).await.unwrap();
        let info = engine.get_hook("t").await.unwrap();
        assert_eq!((info.is_open, info.run), (false, None));
        clock.set(10_000);
        assert_eq!(engine.resume_hook("t", &7u32).await.unwrap_err().code(), Code::HookNotFound);
        engine.start(waits, ()).await.unwrap();
        assert!(engine.get_hook("t").await.unwrap().is_open);
    }

    async fn a_conflict_ends_the_stream_of_a_hook(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(waits, ()).await.unwrap();
        let run = engine.start(takes_three, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["hook_conflict"]);
    }

    async fn a_hook_dropped_by_a_refused_turn_stays_open(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(drops_one_and_counts_in_a_static, ()).id("r").await.unwrap();
        drop(engine);
        let client = place.builder(&lab).connect().await.unwrap();
        client.resume_hook("go", &1u32).await.unwrap();
        client.resume_hook("other", &2u32).await.unwrap();
        let engine = place.open(&lab).await;
        let run: Run<()> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Stuck);
        assert_eq!(run.status().await.unwrap(), Status::Stuck);
        let store: Arc<dyn workflow_runtime::store::Store> = place.store();
        let row = store.run("r").await.unwrap().unwrap();
        let messages = store.inbox(row.key).await.unwrap().1;
        assert_eq!(messages.iter().map(|message| message.unread).collect::<Vec<_>>(), [false, false]);
        assert!(engine.get_hook("other").await.unwrap().is_open);
    }
}
