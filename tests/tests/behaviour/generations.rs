//! Runs that continue as new, with a retention that keeps only the newest generations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, TryStreamExt};
use workflow_runtime::store::Write;
use workflow_runtime::{
    Code, Engine, Error, Result, Retention, Run, RunEvent, RunEventKind, hook, set_attribute, step, workflow, writer,
};

use crate::support::{Faulty, Lab, ManualClock, Place, When, recorded, soon};

const START: u64 = 1_700_000_000_000;

/// The step named `breaks` fails until its fourth attempt.
#[step(retries = 0)]
async fn note(#[resource] lab: &Lab, name: String) -> Result<String> {
    match lab.note(&name) {
        times if name == "breaks" && times < 4 => Err(Error::new("it breaks")),
        _ => Ok(name),
    }
}

/// Each generation sets an attribute and writes chunks. The last one waits.
#[workflow]
async fn goes_on(generation: u32, last: u32) -> Result<String> {
    let name = format!("step {generation}");
    set_attribute(&format!("of {generation}"), &name)?;
    writer("lines").write(&name).await?;
    note(name.clone()).await?;
    writer("lines").write(&format!("{name} is done")).await?;
    if generation == last {
        return hook::<String>().token("end").await;
    }
    goes_on(generation + 1, last).continue_as_new().await
}

/// Each generation waits for a payload.
#[workflow]
async fn waits(generation: u32) -> Result<u32> {
    if hook::<bool>().token("go on").await? {
        return waits(generation + 1).continue_as_new().await;
    }
    Ok(generation)
}

/// The last generation fails until its step succeeds.
#[workflow]
async fn fails(left: u32) -> Result<String> {
    note(format!("before {left}")).await?;
    match left {
        0 => note("breaks".into()).await,
        _ => fails(left - 1).continue_as_new().await,
    }
}

async fn keeping(place: &Place, clock: &ManualClock, lab: &Lab, generations: u64) -> Engine {
    let builder = place.builder_at(lab, clock).retain(Retention::new().generations(generations));
    builder.open().await.unwrap()
}

async fn events<T, E>(run: &Run<T, E>) -> Vec<RunEvent> {
    run.events().so_far().try_collect().await.unwrap()
}

/// Waits until the first kept event of a run belongs to this generation. Advances the clock, so that retention runs.
async fn kept_from<T, E>(run: &Run<T, E>, clock: &ManualClock, generation: u64) {
    let mut now = START + 10_000;
    soon(async {
        // Events that are removed during the read are an error.
        while !matches!(run.events().so_far().next().await, Some(Ok(first)) if first.generation == generation) {
            now += 1_000;
            clock.set(now);
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn of_generations(events: &[RunEvent], from: u64) -> Vec<RunEvent> {
    events.iter().filter(|event| event.generation >= from).cloned().collect()
}

/// Starts a run, waits for its fifth generation, shuts the engine down, and returns all events of the run.
async fn in_its_fifth_generation(place: &Place, clock: &ManualClock, lab: &Lab) -> Vec<RunEvent> {
    let engine = place.builder_at(lab, clock).open().await.unwrap();
    let run = engine.start(goes_on, (0, 4)).id("r").await.unwrap();
    soon(lab.executed("step 4", 1)).await;
    recorded(place, "r", "step 4 is done").await;
    let events = events(&run).await;
    engine.shutdown().await.unwrap();
    events
}

on_each_store! {
    async fn the_newest_generations_are_kept_with_the_indexes_of_their_events(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let all = in_its_fifth_generation(&place, &clock, &lab).await;
        let engine = keeping(&place, &clock, &lab, 2).await;
        let run: Run<String> = engine.get_run("r");
        kept_from(&run, &clock, 3).await;
        let kept = of_generations(&all, 3);
        let first = kept[0].index;
        assert!(matches!(kept[0].kind, RunEventKind::Started { .. }) && first > 10);
        assert_eq!(events(&run).await, kept, "events begin with the first kept one");

        let read = async |from: u64| {
            run.events().from(i64::try_from(from).unwrap()).so_far().try_collect::<Vec<_>>().await
        };
        assert_eq!(read(first).await.unwrap(), kept);
        assert_eq!(read(first + 2).await.unwrap(), kept[2..]);
        for removed in [0, first - 1] {
            let error = read(removed).await.unwrap_err();
            assert_eq!((error.code(), error.run_id()), (Code::EventsRemoved, Some("r")));
            assert!(format!("{error:?}").contains(&format!("an index from {first}")), "{error:?}");
        }
        let last: Vec<_> = run.events().from(-1).so_far().try_collect().await.unwrap();
        assert_eq!(last, kept[kept.len() - 1..]);
        let more: Vec<_> = run.events().from(-1_000).so_far().try_collect().await.unwrap();
        assert_eq!(more, kept);

        let steps = run.steps().await.unwrap();
        assert_eq!(steps.iter().map(|step| step.generation).collect::<Vec<_>>(), [3, 4]);
        assert!(steps.iter().all(|step| all[step.event as usize].index == step.event));
        engine.resume_hook("end", "ended").await.unwrap();
        let outcome = soon(run.outcome()).await.unwrap();
        assert_eq!((outcome.result.unwrap(), outcome.input), ("ended".to_owned(), serde_json::json!([3, 4])));
        // Attributes and chunks of removed generations are kept.
        assert_eq!(run.attributes().await.unwrap().len(), 5);
        assert_eq!(run.stream::<String>("lines").try_collect::<Vec<_>>().await.unwrap().len(), 10);
        assert_eq!(lab.notes().len(), 5, "no step ran again");
        // The same start still returns the run, and its replay does not need the removed generations.
        assert_eq!(soon(engine.start(goes_on, (0, 4)).id("r").await.unwrap()).await.unwrap(), "ended");
        engine.shutdown().await.unwrap();
        let engine = place.open_at(&lab, &clock).await;
        assert_eq!(engine.get_run::<String, Error>("r").await.unwrap(), "ended");
    }

    async fn a_fork_at_a_kept_event_has_all_chunks_and_attributes_before_it(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let all = in_its_fifth_generation(&place, &clock, &lab).await;
        let engine = keeping(&place, &clock, &lab, 2).await;
        let run: Run<String> = engine.get_run("r");
        kept_from(&run, &clock, 3).await;
        let kept = of_generations(&all, 3);
        let first = kept[0].index;
        let error = run.fork(first - 1).await.unwrap_err();
        assert_eq!(error.code(), Code::EventsRemoved);
        assert!(format!("{error:?}").contains(&format!("an index from {first}")), "{error:?}");

        let called = |event: &&RunEvent| matches!(event.kind, RunEventKind::StepStarted { .. });
        let call = kept.iter().rfind(called).unwrap().index;
        // At the first kept event, and in the middle of the last generation.
        for (at, id, chunks, steps) in [(first, "first", 6, ["step 3", "step 4"]), (call, "call", 9, ["step 4", "step 4"])] {
            let before: Vec<usize> = steps.iter().map(|step| lab.count(step)).collect();
            let fork = run.fork(at).id(id).await.unwrap();
            soon(lab.executed("step 4", before[1] + 1)).await;
            let lines: Vec<String> =
                fork.stream("lines").take(10).map_ok(|chunk| chunk.value).try_collect().await.unwrap();
            let expected = (0..5).flat_map(|step| [format!("step {step}"), format!("step {step} is done")]);
            assert_eq!(lines, expected.collect::<Vec<_>>(), "{chunks} chunks are inherited");
            assert_eq!(fork.attributes().await.unwrap(), run.attributes().await.unwrap());
            soon(fork.cancel("enough")).await.unwrap();
        }
        assert_eq!((lab.count("step 2"), lab.count("step 3"), lab.count("step 4")), (1, 2, 3));
    }

    async fn the_generations_that_a_retry_continues_are_kept(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.builder_at(&lab, &clock).open().await.unwrap();
        let run = engine.start(fails, 2).id("r").await.unwrap();
        for _ in 0..2 {
            assert!(soon(&run).await.is_err());
            run.retry().await.unwrap();
        }
        assert!(soon(&run).await.is_err());
        let all = events(&run).await;
        assert_eq!(run.info().await.unwrap().generation, 4, "two continuations and two retries");
        engine.shutdown().await.unwrap();
        let engine = keeping(&place, &clock, &lab, 1).await;
        let run: Run<String> = engine.get_run("r");
        kept_from(&run, &clock, 2).await;
        assert_eq!(events(&run).await, of_generations(&all, 2));
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "breaks");
        assert_eq!(lab.count("before 0"), 1, "the step's result was kept");
        let kept = of_generations(&all, 2);
        assert_eq!(events(&run).await[..kept.len()], kept);
    }

    async fn a_reader_gets_an_error_only_if_unread_events_were_removed(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = keeping(&place, &clock, &lab, 1).await;
        let run = engine.start(waits, 0).id("r").await.unwrap();
        let (mut reads, mut sleeps) = (run.events(), run.events());
        let mut last = soon(reads.next()).await.unwrap().unwrap();
        soon(sleeps.next()).await.unwrap().unwrap();
        for generation in 1..4 {
            engine.resume_hook("go on", &true).await.unwrap();
            while last.generation < generation {
                let event = soon(reads.next()).await.unwrap().unwrap();
                assert_eq!(event.index, last.index + 1, "no event is missing");
                last = event;
            }
            recorded(&place, "r", "go on").await;
            kept_from(&run, &clock, generation).await;
        }
        let error = loop {
            match soon(sleeps.next()).await.unwrap() {
                Ok(event) => assert_eq!(event.generation, 0, "events that the reader had fetched before"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::EventsRemoved);
        assert!(soon(sleeps.next()).await.is_none());
        engine.resume_hook("go on", &false).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 3);
    }

    async fn removing_a_generation_during_a_read_is_an_error_of_the_reader(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let all = in_its_fifth_generation(&place, &clock, &lab).await;
        // This reader has read the run's row, and has not read its journals yet.
        let client = place.builder(&lab).connect().await.unwrap();
        let mut reader = client.get_run::<String, Error>("r").events();
        assert_eq!(soon(reader.next()).await.unwrap().unwrap(), all[0]);
        let engine = keeping(&place, &clock, &lab, 1).await;
        let run: Run<String> = engine.get_run("r");
        kept_from(&run, &clock, 4).await;
        let mut read = 1;
        let error = loop {
            match soon(reader.next()).await.unwrap() {
                Ok(event) => assert_eq!(event, all[read]),
                Err(error) => break error,
            }
            read += 1;
        };
        assert_eq!(error.code(), Code::EventsRemoved);
        assert!(read < of_generations(&all, 0).len() - of_generations(&all, 4).len());
    }

    async fn nothing_is_removed_when_the_commit_fails(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let all = in_its_fifth_generation(&place, &clock, &lab).await;
        let store = Faulty::new(place.store());
        let refused = Arc::new(AtomicBool::new(false));
        let seen = refused.clone();
        store.plan(move |group| {
            let removes = group.iter().any(|write| matches!(write, Write::RemoveGenerations(_)));
            seen.fetch_or(removes, Ordering::SeqCst);
            removes.then_some(When::Refused)
        });
        let builder = place.builder(&lab).store(Arc::new(store)).environment(Arc::new(clock.clone()));
        let engine = builder.retain(Retention::new().generations(1)).open().await.unwrap();
        soon(async {
            while !refused.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(events(&engine.get_run::<String, Error>("r")).await, all);
    }

    async fn a_retention_of_zero_generations_is_refused(place: Place) {
        let error = place.builder(&Lab::new()).retain(Retention::new().generations(0)).open().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidName);
    }
}
