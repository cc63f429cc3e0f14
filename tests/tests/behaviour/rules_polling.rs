//! The rules for polls, which are part of a history: when operations begin and end, foreign wakers, branches.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use workflow_runtime::store::Status;
use workflow_runtime::{Code, Durable, Result, Run, StepCall, finish, sleep, spawn, step, suspend, workflow};

use super::rules::{gated, hold_turns, note, open_faulty, seed};
use crate::support::{Faulty, Lab, Place};

on_each_store! {
    async fn rule_7_a_step_starts_at_its_first_poll(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(calls_and_forgets, ()).id("run").await.unwrap();
        assert_eq!(run.await.unwrap(), 1);
        assert_eq!(lab.notes(), ["two", "one"]);
    }

    async fn rule_7_an_operation_polled_outside_its_run_is_an_error(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(smuggles, ()).id("run").await.unwrap();
        let call = loop {
            match SMUGGLED.lock().unwrap().pop() {
                Some(call) => break call,
                None => std::hint::spin_loop(),
            }
        };
        assert_eq!(call.await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(lab.count("smuggled"), 0);
        lab.open_gate("gate");
        run.await.unwrap();
    }

    async fn rule_9_the_result_of_a_dropped_operation_is_discarded(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves_a_blocking_step_behind, ()).id("run").await.unwrap();
        // The step is dropped after it has begun. A blocking step cannot be stopped.
        lab.executed("blocking", 1).await;
        lab.open_gate("leave");
        lab.executed("gate", 1).await;
        lab.open_gate("blocking");
        lab.executed("blocking returns", 1).await;
        lab.open_gate("gate");
        assert_eq!(run.await.unwrap(), "gate");
        let journal = place.journal("run").await.concat();
        assert!(journal.contains(r#"{"cancel":{"op":0}}"#) && !journal.contains(r#"{"completed":{"op":0"#), "{journal}");
    }

    async fn rule_9_a_recorded_result_of_a_dropped_operation_is_nondeterminism(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves_a_blocking_step_behind, ()).id("run").await.unwrap();
        lab.open_gate("leave");
        lab.executed("gate", 1).await;
        drop((run, engine));
        let mut bodies = place.journal("run").await;
        bodies.push(r#"{"deliveries":[{"at":0,"event":{"completed":{"op":0,"value":"late"}}}]}"#.to_owned());
        let forged = Place::memory();
        seed(&*forged.store(), &*place.store(), "run", &bodies).await;
        let engine = forged.open(&lab).await;
        let run: Run<String> = engine.get_run("run");
        let error = run.await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert!(format!("{error:?}").contains("operation 0"), "{error:?}");
        // Otherwise the end of the test would wait for the blocking step.
        lab.open_gate("blocking");
    }

    async fn rule_10_results_that_arrived_before_a_panic_are_kept(place: Place) {
        for how in ["returns", "suspends", "finishes"] {
            arrives_before_a_panic(&place, how).await;
        }
    }

    async fn rule_10_delivery_stops_at_a_panic_and_the_other_results_are_kept(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        hold_turns(&faulty, &lab, 1);
        let engine = open_faulty(&faulty, &lab).await;
        let run = engine.start(panics_at_the_second_result, "returns".to_owned()).id("run").await.unwrap();
        lab.open_gate("a");
        lab.executed("held", 1).await;
        lab.open_gate("b");
        lab.open_gate("c");
        lab.executed("b returns", 1).await;
        lab.executed("c returns", 1).await;
        lab.open_gate("commit");
        let error = (&run).await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert!(format!("{error:?}").contains("enough of this"), "{error:?}");
        assert_eq!(run.status().await.unwrap(), Status::Stuck);
        engine.shutdown().await.unwrap();
        assert_eq!(place.rows("run").await.len(), 2, "only the turn before the panic is recorded");
        let store = place.store();
        let key = store.run("run").await.unwrap().unwrap().key;
        let messages = store.inbox(key).await.unwrap().1;
        // The last result may still have been on its way when the run was stopped. Its step is then attempted again.
        assert!((1..=2).contains(&messages.len()), "{messages:?}");
        for name in ["a", "b", "c"] {
            assert_eq!(lab.count(name), 1);
        }
    }

    async fn rule_17_a_branch_continues_when_its_handle_is_dropped(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(detaches, ()).await.unwrap();
        lab.executed("branch", 1).await;
        lab.open_gate("gate");
        run.await.unwrap();
    }

    async fn rule_17_the_end_of_a_run_ends_its_branches(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(ends_before_its_branch, ()).await.unwrap();
        run.await.unwrap();
        // The attempt must have been dropped by the shutdown.
        engine.shutdown().await.unwrap();
        assert_eq!(lab.count("forgotten returns"), 0);
    }

    async fn rule_17_a_panic_in_a_branch_is_a_panic_of_the_workflow(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(has_a_branch_that_panics, ()).await.unwrap();
        let error = run.await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert!(format!("{error:?}").contains("the branch breaks"), "{error:?}");
    }

    async fn rule_6_a_wake_from_outside_makes_the_run_stuck_at_once(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(awaits_a_thread, ()).await.unwrap();
        let error = run.await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert!(format!("{error:?}").contains("something outside the run woke it"), "{error:?}");
    }

    async fn rule_6_waiting_for_nothing_durable_makes_the_run_stuck_at_once(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(awaits_nothing, ()).await.unwrap();
        let error = run.await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        let text = format!("{error:?}");
        assert!(text.contains("nothing durable is outstanding") && text.contains("rules_polling.rs"), "{text}");
    }

    async fn rule_6_the_coop_budget_does_not_change_the_order_of_polls(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(spends_the_budget, ()).id("run").await.unwrap();
        run.await.unwrap();
        let first = &place.journal("run").await[0];
        let a = first.find(r#"["first"]"#).unwrap();
        assert!(a < first.find(r#"["second"]"#).unwrap(), "{first}");
    }
}

#[workflow]
async fn calls_and_forgets() -> Result<usize> {
    let one = note("one".into());
    let never = note("never".into());
    note("two".into()).await?;
    drop(never);
    one.await
}

static SMUGGLED: Mutex<Vec<StepCall<Result<usize>>>> = Mutex::new(Vec::new());

#[workflow]
async fn smuggles() -> Result<String> {
    let call = note("smuggled".into());
    // A replay pushes another call, which is never polled.
    SMUGGLED.lock().unwrap().push(call);
    gated("gate".into()).await
}

/// Whether the last result arrives before the panic is left to chance, so it tries many times.
async fn arrives_before_a_panic(place: &Place, how: &str) {
    for round in 0..200 {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        hold_turns(&faulty, &lab, 1);
        let engine = open_faulty(&faulty, &lab).await;
        let id = format!("{how} {round}");
        let run = engine.start(panics_at_the_second_result, how.to_owned()).id(&*id).await.unwrap();
        lab.open_gate("a");
        lab.executed("held", 1).await;
        for name in ["b", "c"] {
            lab.open_gate(name);
            lab.executed(&format!("{name} returns"), 1).await;
        }
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        lab.open_gate("commit");
        let ended = run.await;
        engine.shutdown().await.unwrap();
        if how == "finishes" && ended.is_ok() {
            // The last step finished the run before the second result arrived.
            continue;
        }
        assert_eq!(ended.unwrap_err().code(), Code::Stuck);
        if place.inbox(&id).await == 2 {
            return;
        }
    }
    panic!("no round kept the arrived results: {how}");
}

#[step]
fn blocking(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    tokio::runtime::Handle::current().block_on(lab.pass_gate(&name));
    lab.note(&format!("{name} returns"));
    Ok(name)
}

#[workflow]
async fn leaves_a_blocking_step_behind() -> Result<String> {
    tokio::select! {
        _ = blocking("blocking".into()) => unreachable!("it is held"),
        _ = gated("leave".into()) => {}
    }
    gated("gate".into()).await
}

/// Ends in one of three ways.
#[step]
async fn ends(#[resource] lab: &Lab, name: String, how: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    lab.note(&format!("{name} returns"));
    match &*how {
        "suspends" => suspend(&name).await,
        "finishes" => finish(()).await.map(|()| name),
        _ => Ok(name),
    }
}

#[workflow]
async fn panics_at_the_second_result(how: String) -> Result<()> {
    let results = ["returns".to_owned(), "returns".to_owned(), how].into_iter().zip(["a", "b", "c"]);
    let mut steps: FuturesUnordered<_> = results.map(|(how, name)| ends(name.to_owned(), how)).collect();
    let mut results = 0;
    while let Some(result) = steps.next().await {
        result?;
        results += 1;
        assert!(results < 2, "enough of this");
    }
    Ok(())
}

#[workflow]
async fn detaches() -> Result<()> {
    drop(spawn(async move { note("branch".into()).await }));
    gated("gate".into()).await?;
    Ok(())
}

#[workflow]
async fn ends_before_its_branch() -> Result<()> {
    drop(spawn(gated("forgotten".into())));
    note("end".into()).await?;
    Ok(())
}

#[workflow]
async fn has_a_branch_that_panics() -> Result<()> {
    let branch = spawn(async move {
        note("branch".into()).await?;
        if true {
            panic!("the branch breaks");
        }
        Result::Ok(())
    });
    gated("never".into()).await?;
    branch.await
}

/// A future that claims to be durable, as user code could define it.
struct Pretended<F>(F);

impl<F: Future + Unpin> Future for Pretended<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<F: Future + Unpin> Durable for Pretended<F> {}

#[workflow]
async fn awaits_a_thread() -> Result<()> {
    note("before".into()).await?;
    tokio::select! {
        _ = Pretended(Box::pin(wake_later())) => {}
        _ = sleep(Duration::from_secs(3600)) => {}
    }
    Ok(())
}

/// Pending until a thread wakes it. The future stays pending even if the thread is fast.
fn wake_later() -> impl Future<Output = ()> {
    let mut waker = None;
    std::future::poll_fn(move |context| {
        if waker.is_none() {
            let handle = context.waker().clone();
            waker = Some(());
            std::thread::spawn(move || handle.wake());
        }
        Poll::Pending
    })
}

#[workflow]
async fn awaits_nothing() -> Result<()> {
    note("before".into()).await?;
    Pretended(std::future::pending::<()>()).await;
    Ok(())
}

#[workflow]
async fn spends_the_budget() -> Result<()> {
    let first = async {
        for _ in 0..1_000 {
            Pretended(Box::pin(tokio::task::coop::consume_budget())).await;
        }
        note("first".into()).await
    };
    let (first, second) = futures::join!(first, note("second".into()));
    first?;
    second?;
    Ok(())
}
