//! Payloads that a hook had received and not returned when it was dropped.

use std::time::Duration;

use workflow_runtime::{Client, Code, Engine, Error, Result, Run, hook, step, suspend, workflow};

use crate::support::{Lab, soon};

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[step(retries = 0)]
async fn fails_once(#[resource] lab: &Lab) -> Result<()> {
    match lab.note("fails once") {
        1 => Err(Error::fatal("not yet")),
        _ => Ok(()),
    }
}

#[workflow]
async fn takes_one_by_one(count: usize) -> Result<Vec<u32>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(hook::<u32>().token("t").await?);
    }
    Ok(taken)
}

#[workflow]
async fn works_between(count: usize) -> Result<Vec<u32>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let number = hook::<u32>().token("t").await?;
        gated(format!("work on {number}")).await?;
        taken.push(number);
    }
    Ok(taken)
}

/// Continues as new for each payload.
#[workflow]
async fn takes_one(left: usize, works: bool, mut taken: Vec<u32>) -> Result<Vec<u32>> {
    let number = hook::<u32>().token("t").await?;
    if works {
        gated(format!("work on {number}")).await?;
    }
    taken.push(number);
    match left {
        1 => Ok(taken),
        _ => takes_one(left - 1, works, taken).continue_as_new().await,
    }
}

/// Suspends itself between two hooks.
#[workflow]
async fn asks_between(count: usize) -> Result<Vec<u32>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(hook::<u32>().token("t").await?);
        suspend::<()>(&taken).label("between").await?;
    }
    Ok(taken)
}

/// The same with a generation for each payload.
#[workflow]
async fn asks_between_generations(count: usize, mut taken: Vec<u32>) -> Result<Vec<u32>> {
    if !taken.is_empty() {
        suspend::<()>(&taken).label("between").await?;
    }
    if taken.len() == count {
        return Ok(taken);
    }
    taken.push(hook::<u32>().token("t").await?);
    asks_between_generations(count, taken).continue_as_new().await
}

/// The hook is open when the generation ends.
#[workflow]
async fn ends_with_an_open_hook(left: usize, mut taken: Vec<u32>) -> Result<Vec<u32>> {
    taken.push(hook::<u32>().token("t").await?);
    let hook = hook::<u32>().token("t").open();
    match left {
        1 => Ok(taken),
        _ => {
            let next = ends_with_an_open_hook(left - 1, taken).continue_as_new().await;
            drop(hook);
            next
        }
    }
}

#[workflow]
async fn gives_one_up() -> Result<u32> {
    let first = hook::<u32>().token("t").open();
    gated("busy".into()).await?;
    drop(first);
    hook::<u32>().token("t").metadata(&"second".to_owned()).await
}

#[workflow]
async fn takes_two_types() -> Result<(u32, String)> {
    Ok((hook::<u32>().token("t").await?, hook::<String>().token("t").await?))
}

#[workflow]
async fn takes_another_type_later() -> Result<(u32, String)> {
    let mut numbers = hook::<u32>().token("t").open();
    let first = (&mut numbers).await?;
    gated("between".into()).await?;
    drop(numbers);
    Ok((first, hook::<String>().token("t").await?))
}

#[workflow]
async fn fails_between() -> Result<Vec<u32>> {
    let first = hook::<u32>().token("t").await?;
    fails_once().await?;
    Ok(vec![first, hook::<u32>().token("t").await?, hook::<u32>().token("t").await?])
}

/// Sends payloads while no engine executes, so that all of them are for the open hook.
async fn send(client: &Client, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        client.resume_hook("t", &number).await.unwrap();
    }
}

/// Resumes the run each time it has suspended after another payload.
async fn resume_each(engine: &Engine, count: usize) {
    let run: Run<Vec<u32>> = engine.get_run("r");
    for taken in 1..=count {
        let suspended = soon(async {
            loop {
                let suspended = run.suspended().await.unwrap();
                match suspended.into_iter().find(|it| it.payload.as_array().map(Vec::len) == Some(taken)) {
                    Some(found) => break found,
                    None => workflow_harness::pause().await,
                }
            }
        })
        .await;
        run.resume(&()).of(suspended.id).await.unwrap();
    }
    assert_eq!(soon(run).await.unwrap(), (1..=count as u32).collect::<Vec<_>>());
}

on_each_store! {
    async fn payloads_outlast_a_suspension_between_two_hooks(place: Place) {
        for (generations, evicts) in [(false, false), (false, true), (true, false), (true, true)] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            match generations {
                false => drop(engine.start(asks_between, 4).id("r").await.unwrap()),
                true => drop(engine.start(asks_between_generations, (4, Vec::new())).id("r").await.unwrap()),
            }
            engine.shutdown().await.unwrap();
            send(&place.builder(&lab).connect().await.unwrap(), 1..=4).await;
            let builder = place.builder(&lab);
            let builder = if evicts { builder.evict_after(Duration::ZERO).replay_every_turn() } else { builder };
            let engine = builder.open().await.unwrap();
            resume_each(&engine, 4).await;
            engine.get_run::<(), Error>("r").delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_hook_in_a_loop_loses_nothing(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(takes_one_by_one, 5).id("r").await.unwrap();
        engine.shutdown().await.unwrap();
        send(&place.builder(&lab).connect().await.unwrap(), 1..=5).await;
        let engine = place.open(&lab).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3, 4, 5]);
    }

    async fn surplus_payloads_wait_for_the_next_hook_and_new_ones_are_refused_meanwhile(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(works_between, 4).id("r").await.unwrap();
        engine.shutdown().await.unwrap();
        send(&place.builder(&lab).connect().await.unwrap(), 1..=3).await;
        // The run is evicted between its turns, and the surplus payloads survive that.
        let engine = place.builder(&lab).evict_after(Duration::ZERO).replay_every_turn().open().await.unwrap();
        for number in 1..=3 {
            soon(lab.executed(&format!("work on {number}"), 1)).await;
            assert_eq!(engine.resume_hook("t", &9u32).await.unwrap_err().code(), Code::HookDisposed);
            lab.open_gate(&format!("work on {number}"));
        }
        soon(async { while engine.resume_hook("t", &4u32).await.is_err() { workflow_harness::pause().await } }).await;
        lab.open_gate("work on 4");
        let run: Run<Vec<u32>> = engine.get_run(run.id());
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3, 4]);
    }

    async fn surplus_payloads_pass_to_hooks_of_later_generations(place: Place) {
        for works in [false, true] {
            let lab = Lab::new();
            let id = format!("works {works}");
            let engine = place.open(&lab).await;
            engine.start(takes_one, (4, works, Vec::new())).id(id.clone()).await.unwrap();
            engine.shutdown().await.unwrap();
            send(&place.builder(&lab).connect().await.unwrap(), 1..=4).await;
            let engine = place.open(&lab).await;
            for number in 1..=4 {
                lab.open_gate(&format!("work on {number}"));
            }
            let run: Run<Vec<u32>> = engine.get_run(id);
            assert_eq!(soon(&run).await.unwrap(), [1, 2, 3, 4]);
            engine.shutdown().await.unwrap();
        }
    }

    async fn an_open_hook_of_the_last_generation_keeps_the_order(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(ends_with_an_open_hook, (5, Vec::new())).id("r").await.unwrap();
        engine.shutdown().await.unwrap();
        send(&place.builder(&lab).connect().await.unwrap(), 1..=5).await;
        let engine = place.open(&lab).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3, 4, 5]);
    }

    async fn payloads_of_a_hook_that_returned_none_do_not_pass_to_the_next(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(gives_one_up, ()).await.unwrap();
        engine.resume_hook("t", &1u32).await.unwrap();
        soon(lab.executed("busy", 1)).await;
        lab.open_gate("busy");
        soon(async { while engine.get_hook("t").await.unwrap().metadata.is_none() { workflow_harness::pause().await } }).await;
        engine.resume_hook("t", &2u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 2);
    }

    async fn a_surplus_payload_of_another_type_is_not_given_to_the_next_hook(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(takes_two_types, ()).id("r").await.unwrap();
        engine.shutdown().await.unwrap();
        send(&place.builder(&lab).connect().await.unwrap(), 1..=2).await;
        let engine = place.open(&lab).await;
        soon(async { while engine.resume_hook("t", "x").await.is_err() { workflow_harness::pause().await } }).await;
        let run: Run<(u32, String)> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap(), (1, "x".to_owned()));
    }

    async fn a_received_payload_of_another_type_is_not_given_to_the_next_hook(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(takes_another_type_later, ()).id("r").opens("t").await.unwrap();
        engine.resume_hook("t", &1u32).await.unwrap();
        soon(lab.executed("between", 1)).await;
        engine.resume_hook("t", &2u32).await.unwrap();
        soon(async {
            while place.inbox("r").await > 0 {
                workflow_harness::pause().await;
            }
        })
        .await;
        lab.open_gate("between");
        soon(async {
            while engine.resume_hook("t", "x").await.is_err() {
                workflow_harness::pause().await;
            }
        })
        .await;
        assert_eq!(soon(run).await.unwrap(), (1, "x".to_owned()));
    }

    async fn a_retried_run_keeps_its_surplus_payloads(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(fails_between, ()).id("r").await.unwrap();
        engine.shutdown().await.unwrap();
        send(&place.builder(&lab).connect().await.unwrap(), 1..=3).await;
        let engine = place.open(&lab).await;
        let run: Run<Vec<u32>> = engine.get_run("r");
        soon(&run).await.unwrap_err();
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3]);
    }
}
