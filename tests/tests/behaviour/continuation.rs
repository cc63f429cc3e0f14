//! Runs that continue as new.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use workflow_runtime::{
    Code, Error, Result, Status, continue_as_new_suggested, hook, set_attribute, set_state, sleep, state, step,
    suspend, timeout, workflow, writer,
};

use crate::support::{Lab, soon};

#[step]
async fn does(#[resource] lab: &Lab, name: String) -> Result<u32> {
    lab.note(&name);
    Ok(1)
}

#[step]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn counts(left: u32, sum: u32) -> Result<u32> {
    let sum = sum + does(format!("step {left}")).await?;
    match left {
        0 => Ok(sum),
        _ => counts(left - 1, sum).continue_as_new().await,
    }
}

#[workflow]
async fn hurries(left: u32) -> Result<String> {
    match left {
        0 => Ok("there".into()),
        _ => hurries(left - 1).continue_as_new().await,
    }
}

/// Continues as new while it asks a question, and asks another under the same label later.
#[workflow]
async fn asks_again(generation: u32) -> Result<u32> {
    if generation > 0 {
        hook::<()>().token("ask").await?;
        return suspend(&generation).label("question").await;
    }
    let asks = async { suspend(&generation).label("question").await };
    let leaves = async {
        hook::<()>().token("leave").await?;
        asks_again(generation + 1).continue_as_new().await
    };
    tokio::select! {
        answer = asks => answer,
        left = leaves => left,
    }
}

#[workflow]
async fn remembers(left: u32) -> Result<Vec<u32>> {
    let mut seen: Vec<u32> = state()?.unwrap_or_default();
    seen.push(left);
    set_state(&seen)?;
    set_attribute(&format!("generation {left}"), "was here")?;
    does("remember".into()).await?;
    match left {
        0 => Ok(seen),
        _ => remembers(left - 1).continue_as_new().await,
    }
}

/// Takes `each` payloads in each generation, and leaves the other payloads to the next one.
#[workflow]
async fn collects(token: String, each: usize, left: usize, mut got: Vec<u32>) -> Result<Vec<u32>> {
    let mut hook = hook::<u32>().token(token.clone()).open();
    gated(format!("ready {left}")).await?;
    for _ in 0..each {
        if let Some(payload) = hook.next().await {
            got.push(payload?);
        }
    }
    match left {
        0 => Ok(got),
        _ => collects(token, each, left - 1, got).continue_as_new().await,
    }
}

#[workflow]
async fn child(name: String) -> Result<String> {
    gated(name).await
}

#[workflow]
async fn leaves_things_behind(again: bool) -> Result<String> {
    if !again {
        return gated("the second generation".into()).await;
    }
    let detached = child("detached".into()).detach()?;
    let mut behind = std::pin::pin!(async {
        tokio::join!(child("waited for".into()), child("abandoned".into()).abandon(), gated("a step".into()))
    });
    let _ = timeout(Duration::from_millis(1), &mut behind).await;
    does(format!("detached {}", detached.id())).await?;
    leaves_things_behind(false).continue_as_new().await
}

#[workflow]
async fn asks_for_another() -> Result<String> {
    hurries(1).continue_as_new().await
}

#[workflow]
async fn goes_on_when_it_is_long(generation: u32) -> Result<u32> {
    for number in 0..100 {
        if continue_as_new_suggested() {
            return goes_on_when_it_is_long(generation + 1).continue_as_new().await;
        }
        if generation == 2 && number == 5 {
            return Ok(generation);
        }
        does("work".into()).await?;
    }
    Ok(generation)
}

#[workflow]
async fn is_notified_once() -> Result<(bool, bool)> {
    for _ in 0..5 {
        does("work".into()).await?;
    }
    let before = continue_as_new_suggested();
    gated("between".into()).await?;
    Ok((before, continue_as_new_suggested()))
}

#[workflow]
async fn waits_for_a_child() -> Result<u32> {
    counts(3, 0).await
}

#[workflow]
async fn undoes_before_it_goes_on(again: bool) -> Result<String> {
    if !again {
        return hook::<String>().token("t").await;
    }
    let hook = hook::<String>().token("t").open();
    does("kept".into()).rollback(|_| undoes("undo kept".into())).await?;
    {
        let mut slow = std::pin::pin!(gated("slow".into()).rollback(|_| undoes("undo slow".into())));
        let _ = timeout(Duration::from_millis(1), &mut slow).await;
    }
    let _open = hook;
    undoes_before_it_goes_on(false).continue_as_new().await
}

#[workflow]
async fn for_ever(round: u64) -> Result<()> {
    sleep(Duration::from_millis(1)).await;
    for_ever(round + 1).continue_as_new().await
}

#[workflow]
async fn writes_where_it_has_closed(again: bool) -> Result<String> {
    let numbers = writer::<u32>("numbers");
    if again {
        numbers.write(&0).await?;
        numbers.close().await?;
        return writes_where_it_has_closed(false).continue_as_new().await;
    }
    Ok(numbers.write(&1).await.map_or_else(|error| error.code().to_string(), |()| "written".into()))
}

#[workflow]
async fn gives_up_to_go_on(again: bool) -> Result<String> {
    if again {
        tokio::select! {
            next = gives_up_to_go_on(false).continue_as_new() => return next,
            () = async {} => {}
        }
        does("it stays".into()).await?;
    }
    Ok(format!("again: {again}"))
}

on_each_store! {
    async fn a_question_ends_with_its_generation(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(asks_again, 0).id("r").await.unwrap();
        let asked = async |payload: u32| {
            soon(async {
                loop {
                    match run.suspended().await.unwrap().pop() {
                        Some(suspended) if suspended.payload == payload => return suspended.id,
                        _ => workflow_harness::pause().await,
                    }
                }
            })
            .await
        };
        let first = asked(0).await;
        engine.resume_hook("leave", &()).await.unwrap();
        soon(async { while engine.get_hook("ask").await.is_err() { workflow_harness::pause().await } }).await;
        assert!(run.suspended().await.unwrap().is_empty(), "nobody waits for an answer");
        assert_eq!(run.resume(&5).of(&*first).await.unwrap_err().code(), Code::NotSuspended);
        engine.resume_hook("ask", &()).await.unwrap();
        let second = asked(1).await;
        assert_eq!(run.resume(&6).of(&*first).await.unwrap_err().code(), Code::NotSuspended);
        run.resume(&7).of(&*second).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 7);
    }

    async fn a_workflow_continues_with_other_arguments(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(counts, (20, 0)).id("run").await.unwrap();
        assert_eq!((&run).await.unwrap(), 21);
        let info = run.info().await.unwrap();
        assert_eq!((info.generation, info.status), (20, Status::Completed));
        assert_eq!(lab.notes(), (0..=20).rev().map(|left| format!("step {left}")).collect::<Vec<_>>());
        // The same start returns the same run.
        assert_eq!(engine.start(counts, (20, 0)).id("run").await.unwrap().await.unwrap(), 21);
        assert_eq!(engine.start(counts, (19, 1)).id("run").await.unwrap_err().code(), Code::RunExists);
    }

    async fn a_run_can_continue_as_new_in_its_first_turn(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert_eq!(engine.start(hurries, 5).await.unwrap().await.unwrap(), "there");
    }

    async fn state_and_attributes_pass_to_the_next_generation(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(remembers, 2).await.unwrap();
        assert_eq!((&run).await.unwrap(), [2, 1, 0]);
        assert_eq!(run.state::<Vec<u32>>().await.unwrap(), Some(vec![2, 1, 0]));
        assert_eq!(run.attributes().await.unwrap().len(), 3);
    }

    async fn rule_15_payloads_not_taken_pass_to_the_next_generation(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(collects, ("t".into(), 3, 4, Vec::new())).opens("t").await.unwrap();
        for number in 0..10u32 {
            engine.resume_hook("t", &number).idempotency_key(number.to_string()).await.unwrap();
        }
        for left in (0..=4).rev() {
            lab.executed(&format!("ready {left}"), 1).await;
            // While this generation's hook is open, the test repeats all deliveries and sends a new one.
            for number in (0..10).chain([14 - left]) {
                engine.resume_hook("t", &number).idempotency_key(number.to_string()).await.unwrap();
            }
            lab.open_gate(&format!("ready {left}"));
        }
        assert_eq!(run.await.unwrap(), (0..15).collect::<Vec<_>>());
    }

    async fn the_end_of_a_generation_cancels_its_steps_and_attached_children(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves_things_behind, true).await.unwrap();
        lab.executed("the second generation", 1).await;
        let children = run.children().await.unwrap();
        let mut ends = Vec::new();
        lab.open_gate("detached");
        lab.open_gate("abandoned");
        for id in children {
            ends.push(engine.get_run::<String, Error>(&id).await.map_err(|error| error.code()));
        }
        ends.sort_by_key(|end| format!("{end:?}"));
        assert_eq!(ends, [Err(Code::Cancelled), Ok("abandoned".into()), Ok("detached".into())]);
        lab.open_gate("the second generation");
        lab.open_gate("a step");
        assert_eq!(run.await.unwrap(), "the second generation");
    }

    async fn a_run_cannot_continue_as_another_workflow(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let error = engine.start(asks_for_another, ()).await.unwrap().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidContinuation, "{error}");
    }

    async fn a_long_journal_suggests_to_continue_as_new(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).suggest_continuing_after(10).open().await.unwrap();
        let run = engine.start(goes_on_when_it_is_long, 0).await.unwrap();
        assert_eq!((&run).await.unwrap(), 2);
        assert_eq!(lab.count("work"), 9 + 9 + 5);
    }

    async fn a_replay_repeats_the_recorded_suggestion(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).suggest_continuing_after(1_000).open().await.unwrap();
        let run = engine.start(is_notified_once, ()).id("run").await.unwrap();
        lab.executed("between", 1).await;
        drop((engine, run));
        let engine = place.builder(&lab).suggest_continuing_after(3).open().await.unwrap();
        lab.executed("between", 2).await;
        lab.open_gate("between");
        assert_eq!(engine.get_run::<(bool, bool), Error>("run").await.unwrap(), (false, true));
    }

    async fn a_parent_waits_for_the_last_generation_of_its_child(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert_eq!(engine.start(waits_for_a_child, ()).await.unwrap().await.unwrap(), 4);
    }

    async fn dropped_steps_are_undone_before_a_run_continues_and_payloads_wait(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(undoes_before_it_goes_on, true).id("run").await.unwrap();
        lab.executed("slow", 1).await;
        while !place.journal("run").await.concat().contains("continued") {
            workflow_harness::pause().await;
        }
        engine.resume_hook("t", "carried").await.unwrap();
        lab.open_gate("slow");
        assert_eq!(run.await.unwrap(), "carried");
        assert_eq!(lab.notes(), ["kept", "slow", "undo slow"]);
    }

    async fn a_cancel_during_rollbacks_cancels_the_next_generation(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(undoes_before_it_goes_on, true).id("run").await.unwrap();
        lab.executed("slow", 1).await;
        while !place.journal("run").await.concat().contains("continued") {
            workflow_harness::pause().await;
        }
        let (cancelled, ()) = tokio::join!(run.cancel("enough"), async { lab.open_gate("slow") });
        assert!(cancelled.unwrap());
        assert_eq!(lab.notes(), ["kept", "slow", "undo slow"]);
        assert_eq!(run.info().await.unwrap().generation, 1);
    }

    async fn a_run_that_continues_forever_can_be_cancelled(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for _ in 0..20 {
            let run = engine.start(for_ever, 0).await.unwrap();
            while run.info().await.unwrap().generation < 3 {
                workflow_harness::pause().await;
            }
            assert!(run.cancel("enough").await.unwrap());
            assert_eq!(run.await.unwrap_err().code(), Code::Cancelled);
        }
    }

    async fn another_engine_continues_with_the_current_generation(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(collects, ("t".into(), 1, 1, Vec::new())).id("run").await.unwrap();
        lab.executed("ready 1", 1).await;
        engine.resume_hook("t", &1u32).await.unwrap();
        engine.resume_hook("t", &2u32).await.unwrap();
        lab.open_gate("ready 1");
        lab.executed("ready 0", 1).await;
        drop((engine, run));
        let engine = place.open(&lab).await;
        lab.open_gate("ready 0");
        assert_eq!(engine.get_run::<Vec<u32>, Error>("run").await.unwrap(), [1, 2]);
        assert_eq!(lab.count("ready 1"), 1);
    }
    async fn a_closed_stream_stays_closed_in_later_generations(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(writes_where_it_has_closed, true).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "stream_closed");
        let numbers: Vec<u32> = soon(run.stream::<u32>("numbers").map_ok(|chunk| chunk.value).try_collect()).await.unwrap();
        assert_eq!(numbers, [0]);
    }

    async fn a_run_that_drops_its_continuation_stays_in_its_generation(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for _ in 0..8 {
            let run = engine.start(gives_up_to_go_on, true).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), "again: true");
            assert_eq!(run.info().await.unwrap().generation, 0);
        }
        assert_eq!(lab.count("it stays"), 8);
    }
}
