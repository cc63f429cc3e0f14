//! Workflows that start child runs, and runs that wait for other runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use workflow_runtime::store::Write;
use workflow_runtime::testing::TestEngine;
use workflow_runtime::{
    Code, Engine, Error, Failure, Result, Run, Status, get_run, hook, run_id, sleep, spawn, step, workflow,
};

use crate::support::{Faulty, Lab, soon};

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Odd {
    Number(u32),
    Other(String),
}

impl From<Error> for Odd {
    fn from(error: Error) -> Self {
        Odd::Other(format!("{} {error}", error.code()))
    }
}

impl Failure for Odd {}

#[step]
async fn noted(#[resource] lab: &Lab, name: String) -> Result<usize> {
    Ok(lab.note(&name))
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[workflow]
async fn half(n: u32) -> Result<u32, Odd> {
    noted(format!("half {n}")).await?;
    if n % 2 == 1 { Err(Odd::Number(n)) } else { Ok(n / 2) }
}

#[workflow]
async fn halves(numbers: Vec<u32>) -> Result<Vec<Result<u32, Odd>>> {
    Ok(join_all(numbers.into_iter().map(half)).await)
}

#[workflow]
async fn patient(name: String) -> Result<String> {
    gated(name.clone()).await?;
    Ok(name)
}

#[workflow]
async fn asks(name: String) -> Result<String> {
    Ok(format!("{} of {}", patient(name).await?, run_id().unwrap_or_default()))
}

/// Starts a binary tree of runs: a depth of 4 has 15 runs.
#[workflow]
async fn tree(depth: u32) -> Result<u32> {
    if depth == 1 {
        return Ok(1);
    }
    let (left, right) = tokio::try_join!(tree(depth - 1), tree(depth - 1))?;
    Ok(left + right + 1)
}

#[workflow]
async fn chain(length: u32) -> Result<u32> {
    Ok(if length == 1 { 1 } else { 1 + chain(length - 1).await? })
}

#[workflow]
async fn forever(name: String) -> Result<()> {
    noted(name).await?;
    sleep(FOREVER).await;
    Ok(())
}

#[workflow]
async fn loses_interest(name: String) -> Result<()> {
    tokio::select! {
        child = forever(name.clone()) => child,
        done = gated(name + " enough") => done,
    }
}

#[workflow]
async fn leaves(name: String) -> Result<()> {
    tokio::select! {
        child = forever(name.clone()).abandon() => child?,
        done = gated(name + " enough") => done?,
    }
    Ok(())
}

#[workflow]
async fn ends_with_children(name: String) -> Result<()> {
    // The children are in spawned branches. These live until the run ends, so the workflow does not drop the children.
    let bound = spawn(forever(format!("{name} bound")));
    let free = spawn(forever(format!("{name} free")).abandon());
    gated(name + " enough").await?;
    drop((bound, free));
    Err(Error::fatal("enough"))
}

#[workflow]
async fn sends_off(name: String) -> Result<Run<String>> {
    patient(name).detach()
}

#[workflow]
async fn waits_for(run: Run<String>) -> Result<String> {
    let first = (&run).await?;
    Ok(first + &run.await?)
}

#[workflow]
async fn survives_what_it_waits_for(run: Run<String>) -> Result<String> {
    Ok(run.await.unwrap_or_else(|error| format!("{} {}", error.code(), error.is_fatal())))
}

#[workflow]
async fn takes(token: String) -> Result<u32> {
    hook::<u32>().token(token).await
}

#[workflow]
async fn holds_no_slot(left: u32) -> Result<u32> {
    noted("slot".into()).await?;
    Ok(if left == 0 { 0 } else { 1 + holds_no_slot(left - 1).await? })
}

async fn child_of(run: &Run<impl Sized, impl Sized>) -> String {
    loop {
        if let Some(child) = run.children().await.unwrap().pop() {
            return child;
        }
        workflow_harness::pause().await;
    }
}

async fn ended(engine: &Engine, id: &str) -> Status {
    let run: Run<()> = engine.get_run(id);
    loop {
        let _ = (&run).await;
        let status = run.status().await.unwrap();
        if status.is_terminal() {
            return status;
        }
        // The run may be stuck until the cancel's message ends it.
        workflow_harness::pause().await;
    }
}

fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    Box::pin(future)
}

#[workflow]
async fn waits_in_vain(run: Run<()>, times: u32) -> Result<()> {
    for _ in 0..times {
        tokio::select! {
            end = &run => end?,
            done = gated("enough".into()) => done?,
        }
    }
    Ok(())
}

#[workflow]
async fn leaves_a_child_to_itself() -> Result<()> {
    let child = spawn(patient("child".into()).abandon());
    noted("parent".into()).await?;
    drop(child);
    Ok(())
}

on_each_store! {
    async fn results_and_typed_errors_come_back_from_children(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(halves, vec![2, 3, 8]).await.unwrap();
        assert_eq!((&run).await.unwrap(), [Ok(1), Err(Odd::Number(3)), Ok(4)]);
        let children = run.children().await.unwrap();
        assert_eq!(children.len(), 3);
        for child in children {
            let info = engine.get_run::<u32, Odd>(child).info().await.unwrap();
            assert_eq!(info.parent.as_deref(), Some(run.id()));
            assert!(info.workflow.ends_with("half"));
        }
        assert_eq!([2, 3, 8].map(|n| lab.count(&format!("half {n}"))), [1, 1, 1]);
    }

    async fn a_child_continues_after_a_crash_and_returns_to_its_parent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks, "a".into()).id("parent").await.unwrap();
        lab.executed("a", 1).await;
        let child = child_of(&run).await;
        drop((run, engine));
        lab.open_gate("a");
        let engine = place.open(&lab).await;
        assert_eq!(engine.get_run::<String, Error>("parent").await.unwrap(), "a of parent");
        assert_eq!(engine.get_run::<String, Error>("parent").children().await.unwrap(), [child]);
    }

    async fn an_evicted_parent_is_woken_by_its_child(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).evict_after(Duration::ZERO).open().await.unwrap();
        let run = engine.start(asks, "a".into()).id("parent").await.unwrap();
        lab.executed("a", 1).await;
        let store = place.store();
        while store.run("parent").await.unwrap().unwrap().fence.owner != 0 {
            workflow_harness::pause().await;
        }
        lab.open_gate("a");
        assert_eq!(run.await.unwrap(), "a of parent");
    }

    async fn a_tree_of_fifteen_runs_works(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert_eq!(engine.start(tree, 4).await.unwrap().await.unwrap(), 15);
    }

    async fn a_child_that_loses_a_race_is_cancelled(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(loses_interest, "a".into()).await.unwrap();
        lab.executed("a", 1).await;
        lab.open_gate("a enough");
        let child = child_of(&run).await;
        run.await.unwrap();
        assert_eq!(ended(&engine, &child).await, Status::Cancelled);
    }

    async fn the_end_of_a_parent_cancels_its_children_except_abandoned_ones(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(ends_with_children, "a".into()).await.unwrap();
        lab.executed("a bound", 1).await;
        lab.executed("a free", 1).await;
        let children = run.children().await.unwrap();
        lab.open_gate("a enough");
        assert_eq!((&run).await.unwrap_err().to_string(), "enough");
        assert_eq!(ended(&engine, &children[0]).await, Status::Cancelled);
        let free: Run<()> = engine.get_run(children[1].clone());
        assert!(!free.status().await.unwrap().is_terminal());
        assert!(free.cancel("by hand").await.unwrap());
    }

    async fn a_child_is_cancelled_with_its_parent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks, "a".into()).await.unwrap();
        lab.executed("a", 1).await;
        let child = child_of(&run).await;
        assert!(run.cancel("no more").await.unwrap());
        assert_eq!(ended(&engine, &child).await, Status::Cancelled);
    }

    async fn a_dropped_child_is_cancelled_even_if_it_would_be_abandoned_at_the_end(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves, "a".into()).await.unwrap();
        lab.executed("a", 1).await;
        let child = child_of(&run).await;
        lab.open_gate("a enough");
        run.await.unwrap();
        assert_eq!(ended(&engine, &child).await, Status::Cancelled);
    }

    async fn a_detached_child_outlives_its_parent_and_its_handle_is_a_value(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(sends_off, "a".into()).await.unwrap();
        let detached = (&run).await.unwrap();
        assert_eq!(run.children().await.unwrap(), [detached.id()]);
        let waiting = engine.start(waits_for, detached.clone()).await.unwrap();
        lab.executed("a", 1).await;
        lab.open_gate("a");
        assert_eq!(waiting.await.unwrap(), "aa");
        let late = engine.start(waits_for, detached).await.unwrap();
        assert_eq!(late.await.unwrap(), "aa");
    }

    async fn waiting_for_a_failed_or_unknown_run_is_an_error(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let nobody = engine.start(survives_what_it_waits_for, get_run("nobody")).await.unwrap();
        assert_eq!(nobody.await.unwrap(), "run_not_found true");
        let doomed = engine.start(patient, "a".into()).await.unwrap();
        let waiting = engine.start(survives_what_it_waits_for, doomed.clone()).await.unwrap();
        assert!(doomed.cancel("enough").await.unwrap());
        assert_eq!(waiting.await.unwrap(), "cancelled true");
    }

    async fn a_step_slot_is_free_while_its_workflow_waits_for_a_child(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).concurrency(1).open().await.unwrap();
        assert_eq!(engine.start(holds_no_slot, 20).await.unwrap().await.unwrap(), 20);
        assert_eq!(lab.count("slot"), 21);
    }

    async fn a_run_that_stops_waiting_removes_its_watch(place: Place) {
        let lab = Lab::new();
        lab.open_gate("enough");
        let faulty = Faulty::new(place.store());
        let (asked, taken_back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (asks, takes_back) = (asked.clone(), taken_back.clone());
        faulty.plan(move |group| {
            for effects in group.iter().filter_map(|write| match write {
                Write::Turn(turn) => turn.effects.as_ref(),
                Write::Create(new) => new.effects.as_ref(),
                _ => None,
            }) {
                asks.fetch_add(effects.watches.len(), Ordering::SeqCst);
                takes_back.fetch_add(effects.unwatches.len(), Ordering::SeqCst);
            }
            None
        });
        let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
        let run = engine.start(forever, "watched".into()).await.unwrap();
        soon(engine.start(waits_in_vain, (run, 10)).await.unwrap()).await.unwrap();
        let (asked, taken_back) = (asked.load(Ordering::SeqCst), taken_back.load(Ordering::SeqCst));
        assert_eq!((asked > 0, taken_back), (true, asked));
    }

    async fn the_end_of_a_detached_child_sends_no_message_to_its_parent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves_a_child_to_itself, ()).id("r").await.unwrap();
        soon(&run).await.unwrap();
        let child = child_of(&run).await;
        lab.open_gate("child");
        assert_eq!(soon(engine.get_run::<String, Error>(child)).await.unwrap(), "child");
        assert_eq!(place.inbox("r").await, 0);
    }

    async fn cancelling_a_run_that_cannot_be_replayed_cancels_its_children(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        let run = engine.start(asks, "a".into()).id("parent").await.unwrap();
        lab.executed("a", 1).await;
        let child = child_of(&run).await;
        drop((run, engine));
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        let run: Run<String> = engine.get_run("parent");
        // The engine activates the run only because of the cancel message, and the run has exceeded its limit of
        // recoveries.
        assert!(run.cancel("hopeless").await.unwrap());
        assert_eq!(ended(&engine, &child).await, Status::Cancelled);
    }
}

case! {
    async fn a_chain_of_a_thousand_runs_works() {
        let engine = TestEngine::open().await.unwrap();
        assert_eq!(engine.start(chain, 1_000).await.unwrap().await.unwrap(), 1_000);
    }
}

case! {
    async fn awaiting_a_workflow_outside_a_run_is_an_error_that_names_start() {
        let error = boxed(tree(1)).await.unwrap_err();
        assert_eq!(error.code(), Code::OutsideRun);
        assert!(format!("{error:?}").contains("start("), "{error:?}");
        let token: Result<u32> = takes("t".into()).await;
        assert!(token.is_err());
    }
}
