//! Forks of runs.

use futures::TryStreamExt;
use futures::future::join_all;
use workflow_runtime::{Code, Run, Status, StepStatus};

use super::repair::*;
use crate::support::{Lab, soon};

on_each_store! {
    async fn fork_continues_from_a_step_and_does_not_change_its_source(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a", "b", "c"])).await.unwrap();
        soon(&run).await.unwrap();
        let before: Vec<_> = run.events().try_collect::<Vec<_>>().await.unwrap();
        let fork = run.fork(call(&run, 1).await).id("fork").await.unwrap();
        assert_eq!(fork.id(), "fork");
        assert_eq!(soon(&fork).await.unwrap(), ["a 1", "b 2", "c 2"]);
        assert_eq!(fork.state::<Vec<String>>().await.unwrap().unwrap().len(), 3);
        assert_eq!(run.events().try_collect::<Vec<_>>().await.unwrap(), before);
        assert_eq!(soon(&run).await.unwrap(), ["a 1", "b 1", "c 1"]);
        let error = run.fork(1).id("fork").await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists);
        // A fork of a fork, and a fork from the very beginning.
        let again = fork.fork(call(&fork, 2).await).await.unwrap();
        assert_eq!(soon(&again).await.unwrap(), ["a 1", "b 2", "c 3"]);
        let anew = run.fork(0).await.unwrap();
        assert_eq!(soon(&anew).await.unwrap(), ["a 2", "b 3", "c 4"]);
    }

    async fn repeating_a_fork_returns_the_existing_fork(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a", "b"])).await.unwrap();
        soon(&run).await.unwrap();
        let (first, second) = (call(&run, 0).await, call(&run, 1).await);
        let client = place.builder(&lab).connect().await.unwrap();
        let theirs: Run<Vec<String>> = client.get_run(run.id());
        let forks = join_all((0..4).map(|n| {
            let run = if n % 2 == 0 { &run } else { &theirs };
            run.fork(second).id("fork").input(&("c",)).into_future()
        }));
        for fork in soon(forks).await {
            assert_eq!(soon(fork.unwrap()).await.unwrap(), ["a 1", "c 1"]);
        }
        assert_eq!(soon(run.fork(second).id("fork").input(&("c",)).await.unwrap()).await.unwrap(), ["a 1", "c 1"]);
        let others = [
            run.fork(second).id("fork"),
            run.fork(second).id("fork").input(&("d",)),
            run.fork(first).id("fork").input(&("c",)),
            engine.get_run("fork").fork(second).id("fork").input(&("c",)),
            run.fork(second).id(run.id()).input(&("c",)),
        ];
        for other in others {
            assert_eq!(other.await.unwrap_err().code(), Code::RunExists);
        }
        // A start with the fork's id compares the arguments.
        let same = engine.start(in_order, names(&["a", "b"])).id("fork").await.unwrap();
        assert_eq!(soon(same).await.unwrap(), ["a 1", "c 1"]);
        assert_eq!(engine.start(in_order, names(&["a"])).id("fork").await.unwrap_err().code(), Code::RunExists);
    }

    async fn fork_at_every_event_has_the_same_result(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a", "b"])).await.unwrap();
        soon(&run).await.unwrap();
        let events: Vec<_> = run.events().try_collect::<Vec<_>>().await.unwrap();
        for event in 0..events.len() as u64 {
            let fork = run.fork(event).await.unwrap();
            let done = soon(&fork).await.unwrap();
            assert_eq!(done.iter().map(|done| &done[..1]).collect::<Vec<_>>(), ["a", "b"], "at {event}");
        }
        let error = run.fork(events.len() as u64).await.unwrap_err();
        assert_eq!(error.code(), Code::NotRepairable, "{error:?}");
    }

    async fn fork_can_give_a_step_other_arguments(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a", "broken", "c"])).await.unwrap();
        assert!(soon(&run).await.is_err());
        let before: Vec<_> = run.events().try_collect::<Vec<_>>().await.unwrap();
        let at = call(&run, 1).await;
        let fork = run.fork(at).input(&("b",)).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), ["a 1", "b 1", "c 1"]);
        // The failed run does not change.
        assert_eq!(run.status().await.unwrap(), Status::Failed);
        assert_eq!(run.events().try_collect::<Vec<_>>().await.unwrap(), before);
        assert_eq!(lab.count("broken"), 2);
        let steps = fork.steps().await.unwrap();
        assert_eq!(steps[1].input, serde_json::json!("b"));
        assert_eq!(steps[1].status, StepStatus::Completed);
        // A replay of the fork uses the new arguments.
        let again = fork.fork(call(&fork, 2).await).await.unwrap();
        assert_eq!(soon(&again).await.unwrap(), ["a 1", "b 1", "c 2"]);
        let error = run.fork(1).input(&("b",)).await;
        assert!(error.is_ok(), "the first event is the call of the first step");
        let error = run.fork(0).input(&("b",)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotRepairable, "{error:?}");
    }

    async fn fork_of_a_run_that_waits_for_several_operations(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("repair", 2).open().await.unwrap();
        let run = engine.start(waits_for_much, "a".into()).await.unwrap();
        until_suspended(&run).await;
        let steps = run.steps().await.unwrap();
        let called = steps.iter().find(|step| step.step.ends_with("works_elsewhere")).unwrap().event;
        // The child has begun. The cancel frees the token of its hook.
        lab.executed("child", 1).await;
        assert!(soon(run.cancel("the fork takes over")).await.unwrap());
        let fork = run.fork(called).await.unwrap();
        until_suspended(&fork).await;
        assert_eq!(fork.attributes().await.unwrap()["kind"], "patient");
        let mut log = fork.stream::<u32>("log");
        assert_eq!(soon(log.try_next()).await.unwrap().unwrap().value, 1);
        fork.resume(&"asked").await.unwrap();
        engine.resume_hook(hook_of(&fork).await, &"answered").await.unwrap();
        let result = soon(&fork).await.unwrap();
        assert!(result.starts_with("a 1, answered") && result.ends_with("asked"), "{result}");
        assert_eq!((lab.count("a"), lab.count("child")), (1, 2));
        let children = fork.children().await.unwrap();
        assert_eq!(children.len(), 2);
        let mut called = fork.steps().await.unwrap().into_iter().filter_map(|step| step.run);
        assert!(called.all(|child| children.contains(&child)), "a step names another run: {children:?}");
    }

    async fn a_fork_of_a_suspended_run_waits_for_itself(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_and_works, "a".into()).await.unwrap();
        until_suspended(&run).await;
        let last = run.events().so_far().try_collect::<Vec<_>>().await.unwrap().len() as u64 - 1;
        let fork = run.fork(last).await.unwrap();
        until_suspended(&fork).await;
        fork.resume(&"b").label("ask").await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), ["a 1", "b 1"]);
        until_suspended(&run).await;
        run.resume(&"c").label("ask").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["a 1", "c 1"]);
        let error = fork.resume(&"d").label("ask").await.unwrap_err();
        assert!([Code::AlreadyResumed, Code::NotSuspended].contains(&error.code()), "{error:?}");
    }

    async fn fork_draws_other_random_numbers_behind_its_event(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(draws, ()).await.unwrap();
        let original = soon(&run).await.unwrap();
        let fork = soon(run.fork(call(&run, 1).await).await.unwrap()).await.unwrap();
        assert_eq!((&original.0, &original.1, &original.4), (&fork.0, &fork.1, &fork.4), "what was recorded");
        assert_ne!((&original.2, &original.3), (&fork.2, &fork.3));
        assert_ne!((&fork.0, &fork.1), (&fork.2, &fork.3));
        let fork = soon(run.fork(call(&run, 0).await).await.unwrap()).await.unwrap();
        assert_ne!(original.4, fork.4, "the key of a step that is executed again");
        let anew = soon(run.fork(0).await.unwrap()).await.unwrap();
        assert_ne!(original.0, anew.0);
    }

    async fn fork_of_a_run_that_has_continued_as_new(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(continues, 2).await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken at the end");
        let at = run.steps().await.unwrap().into_iter().find(|step| step.generation == 1).unwrap().event;
        let fork = run.fork(at).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), 0);
        assert_eq!(["left 2", "left 1", "left 0"].map(|name| lab.count(name)), [1, 2, 2]);
        let nobody: Run<()> = engine.get_run("nobody");
        assert_eq!(nobody.fork(0).await.unwrap_err().code(), Code::RunNotFound);
    }
}
