//! Forks that give a step other arguments, and forks of runs that have ended early.

use std::time::Duration;

use futures::TryStreamExt;
use workflow_runtime::{
    Code, Error, Result, Run, RunEventKind, Status, nondeterministic, set_attribute, sleep, state, step, workflow,
};

use crate::support::{Lab, Place, soon};

#[step]
pub(super) async fn plus(n: u32) -> Result<u32> {
    Ok(n + 1)
}

#[step]
async fn minus(a: u32, b: u32) -> Result<u32> {
    a.checked_sub(b).ok_or_else(|| Error::fatal("below zero"))
}

#[step]
async fn one() -> Result<u32> {
    Ok(1)
}

#[step(queue = "forks")]
async fn plus_elsewhere(n: u32) -> Result<u32> {
    Ok(n + 1)
}

#[step]
async fn sum(numbers: Vec<u32>) -> Result<u32> {
    Ok(numbers.iter().sum())
}

#[workflow]
async fn three() -> Result<Vec<u32>> {
    let (a, b, c) = tokio::try_join!(plus(1), plus(2), plus(3))?;
    Ok(vec![a, b, c])
}

#[workflow]
async fn three_elsewhere() -> Result<Vec<u32>> {
    let (a, b, c) = tokio::try_join!(plus_elsewhere(1), plus_elsewhere(2), plus_elsewhere(3))?;
    Ok(vec![a, b, c])
}

#[workflow]
async fn child(n: u32) -> Result<u32> {
    plus(n).await
}

#[workflow]
async fn many_kinds() -> Result<u32> {
    set_attribute("kind", "mixed")?;
    let (a, b, c, _, d) =
        tokio::join!(child(1), minus(5, 2), nondeterministic(async { 7 }), sleep(Duration::from_millis(1)), one());
    sum(vec![a?, b?, c?, d?]).await
}

#[workflow]
async fn three_in_each_generation(left: u32) -> Result<Vec<u32>> {
    let (a, b, c) = tokio::try_join!(plus(1), plus(2), plus(3))?;
    match left {
        0 => Ok(vec![a, b, c]),
        left => three_in_each_generation(left - 1).continue_as_new().await,
    }
}

/// Fails until the test calls [`mend`].
#[step(retries = 0)]
pub(super) async fn ships(#[resource] lab: &Lab, what: String) -> Result<String> {
    lab.note(&format!("ship {what}"));
    if lab.count(&format!("mend {what}")) == 0 {
        return Err(Error::new("no carrier"));
    }
    Ok(format!("shipped {what}"))
}

#[workflow]
async fn three_and_fails() -> Result<Vec<u32>> {
    let (a, b, c) = tokio::try_join!(plus(1), plus(2), plus(3))?;
    ships("x".into()).await?;
    Ok(vec![a, b, c])
}

#[workflow]
async fn shows(what: String) -> Result<Option<u32>> {
    ships(what).await?;
    state()
}

pub(super) fn mend(lab: &Lab, what: &str) {
    lab.note(&format!("mend {what}"));
}

pub(super) async fn events<T, E>(run: &Run<T, E>) -> Vec<workflow_runtime::RunEvent> {
    run.events().so_far().try_collect().await.unwrap()
}

/// The indexes of the events that started the steps of a run.
pub(super) async fn calls<T, E>(run: &Run<T, E>) -> Vec<u64> {
    run.steps().await.unwrap().iter().map(|step| step.event).collect()
}

/// The index of the first event whose kind satisfies `is`.
pub(super) async fn event<T, E>(run: &Run<T, E>, is: impl Fn(&RunEventKind) -> bool) -> u64 {
    events(run).await.iter().find(|event| is(&event.kind)).expect("an event of this kind").index
}

pub(super) async fn engine(place: &Place, lab: &Lab) -> workflow_runtime::Engine {
    place.builder(lab).queue("forks", 4).replay_every_turn().open().await.expect("the engine opens")
}

#[workflow]
async fn drops_a_call() -> Result<u32> {
    let dropped = tokio::select! {
        biased;
        n = plus(1) => n?,
        n = async { Ok::<_, Error>(2) } => n?,
    };
    plus(dropped).await
}

on_each_store! {
    async fn an_input_for_a_call_that_was_dropped_at_once_is_refused(place: Place) {
        let engine = engine(&place, &Lab::new()).await;
        let run = engine.start(drops_a_call, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 3);
        let called = calls(&run).await;
        assert_eq!(called.len(), 2);
        let error = run.fork(called[0]).input(&(100,)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotRepairable, "{error:?}");
        assert!(error.to_string().contains("is not executed"), "{error:?}");
        let fork = run.fork(called[1]).input(&(100,)).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), 101);
    }

    async fn an_input_of_a_fork_replaces_the_arguments_of_the_named_step(place: Place) {
        let engine = engine(&place, &Lab::new()).await;
        let run = engine.start(three, ()).await.unwrap();
        let other = engine.start(three_elsewhere, ()).await.unwrap();
        let expected = [[101, 3, 4], [2, 101, 4], [2, 3, 101]];
        for run in [run, engine.get_run(other.id())] {
            assert_eq!(soon(&run).await.unwrap(), [2, 3, 4]);
            for (call, expected) in calls(&run).await.into_iter().zip(expected) {
                let fork = run.fork(call).input(&(100_u32,)).await.unwrap();
                assert_eq!(soon(&fork).await.unwrap(), expected);
                // A fork of the fork inherits its input, except for a step that it gives another input.
                let first = calls(&fork).await[0];
                let again = fork.fork(first).input(&(50_u32,)).await.unwrap();
                let mut both = expected;
                both[0] = 51;
                assert_eq!(soon(&again).await.unwrap(), both);
                let same = fork.fork(first).await.unwrap();
                assert_eq!(soon(&same).await.unwrap(), expected);
            }
        }
    }

    async fn an_input_of_a_fork_applies_to_the_generation_of_the_named_step(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(three_in_each_generation, 1).await.unwrap();
        soon(&run).await.unwrap();
        let steps = run.steps().await.unwrap();
        let second = |generation: u64| steps.iter().filter(move |step| step.generation == generation).nth(1).unwrap();
        let fork = run.fork(second(1).event).input(&(100_u32,)).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), [2, 101, 4]);
        let fork = run.fork(second(0).event).input(&(100_u32,)).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), [2, 3, 4], "the next generation calls the steps again");
        assert_eq!(fork.steps().await.unwrap()[1].input, serde_json::json!(100));

        let run = engine.start(three_and_fails, ()).await.unwrap();
        assert!(soon(&run).await.is_err());
        run.retry().await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "x");
        run.retry().await.unwrap();
        soon(&run).await.unwrap();
        for event in events(&run).await {
            if let RunEventKind::StepStarted { input, .. } = &event.kind && *input == 2 {
                let fork = run.fork(event.index).input(&(100_u32,)).await.unwrap();
                assert_eq!(soon(&fork).await.unwrap(), [2, 101, 4], "in generation {}", event.generation);
            }
        }
    }

    async fn an_input_that_does_not_fit_the_step_is_refused(place: Place) {
        let engine = engine(&place, &Lab::new()).await;
        let run = engine.start(three, ()).await.unwrap();
        soon(&run).await.unwrap();
        let other = engine.start(three_elsewhere, ()).await.unwrap();
        soon(&other).await.unwrap();
        let kinds = engine.start(many_kinds, ()).await.unwrap();
        soon(&kinds).await.unwrap();
        let called = |name: &'static str| {
            let kinds = &kinds;
            async move { event(kinds, |kind| matches!(kind, RunEventKind::StepStarted { step, .. } if step.ends_with(name))).await }
        };
        let (minus, one) = (called("::minus").await, called("::one").await);
        let first = calls(&run).await[0];
        let first_elsewhere = calls(&other).await[0];
        let refused = [
            (run.fork(first).input(&("a",)).await.map(drop), "::plus", "(u32,)"),
            (run.fork(first).input(&(1, 2)).await.map(drop), "::plus", "(u32,)"),
            (run.fork(first).input(&()).await.map(drop), "::plus", "(u32,)"),
            (run.fork(first).input(&100).await.map(drop), "::plus", "(u32,)"),
            (run.fork(first).input(&(-1,)).await.map(drop), "::plus", "(u32,)"),
            (other.fork(first_elsewhere).input(&("a",)).await.map(drop), "::plus_elsewhere", "(u32,)"),
            (kinds.fork(minus).input(&(1,)).await.map(drop), "::minus", "(u32, u32)"),
            (kinds.fork(minus).input(&(1, 2, 3)).await.map(drop), "::minus", "(u32, u32)"),
            (kinds.fork(one).input(&(1,)).await.map(drop), "::one", "()"),
        ];
        for (refused, step, expected) in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArguments, "{error:?}");
            let text = format!("{error:?}");
            assert!(text.contains(step) && text.contains(expected), "{text}");
        }
        let fork = kinds.fork(minus).input(&(9, 2)).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), 2 + 7 + 7 + 1);
        let fork = kinds.fork(one).input(&()).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), 2 + 3 + 7 + 1);
    }

    async fn an_input_for_an_event_other_than_a_step_call_is_refused(place: Place) {
        let engine = engine(&place, &Lab::new()).await;
        let run = engine.start(many_kinds, ()).await.unwrap();
        soon(&run).await.unwrap();
        let mut kinds = Vec::new();
        for event in events(&run).await {
            let kind = serde_json::to_value(&event.kind).unwrap()["type"].as_str().unwrap().to_owned();
            let is_step = matches!(&event.kind, RunEventKind::StepStarted { step, .. } if !step.ends_with("nondeterministic"));
            if is_step {
                continue;
            }
            let error = run.fork(event.index).input(&(1,)).await.unwrap_err();
            assert_eq!(error.code(), Code::NotRepairable, "{kind}: {error:?}");
            let text = format!("{error:?}");
            assert!(text.contains(&format!("event {}", event.index)), "{text}");
            kinds.push(kind);
        }
        for kind in ["started", "attribute", "child_started", "sleeping", "step_started", "run_ended", "step_completed", "ended"] {
            assert!(kinds.iter().any(|tried| tried == kind), "{kind} of {kinds:?}");
        }
    }

    async fn a_fork_from_the_beginning_has_the_state_and_attributes_of_the_start(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        mend(&lab, "x");
        let run = engine.start(shows, "x".into()).attribute("kind", "first").initial_state(&7_u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), Some(7));
        for event in 0..=1 {
            let fork = run.fork(event).await.unwrap();
            assert_eq!(soon(&fork).await.unwrap(), Some(7));
            assert_eq!(fork.state::<u32>().await.unwrap(), Some(7));
            assert_eq!(fork.attributes().await.unwrap()["kind"], "first");
        }
    }

    async fn a_run_cancelled_before_it_began_can_be_retried_and_forked(place: Place) {
        let lab = Lab::new();
        // No engine is open yet: the start and the cancel are both in the inbox.
        let client = place.builder(&lab).connect().await.unwrap();
        let run = client.start(three, ()).id("r").await.unwrap();
        let cancel = tokio::spawn({
            let run = run.clone();
            async move { run.cancel("not now").await }
        });
        soon(async { while place.inbox("r").await < 2 { workflow_harness::pause().await } }).await;
        let engine = engine(&place, &lab).await;
        assert!(soon(cancel).await.unwrap().unwrap());
        assert_eq!(events(&run).await.len(), 1, "the run has not begun");
        let fork = run.fork(0).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), [2, 3, 4]);
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [2, 3, 4]);
        assert_eq!(run.status().await.unwrap(), Status::Completed);
        drop(engine);
    }

    async fn a_created_run_cancelled_before_its_start_cannot_be_retried_or_forked(place: Place) {
        let engine = engine(&place, &Lab::new()).await;
        let run = engine.create_run(three).await.unwrap().run();
        assert!(soon(run.cancel("not at all")).await.unwrap());
        for error in [run.retry().await.unwrap_err(), run.fork(0).await.unwrap_err()] {
            assert_eq!(error.code(), Code::NotRepairable, "{error:?}");
            assert!(error.to_string().contains("before it was started"), "{error:?}");
        }
        assert_eq!(run.status().await.unwrap(), Status::Cancelled);
    }
}
