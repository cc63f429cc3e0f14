//! Starting runs, finding them, waiting for them.

use std::time::{Duration, SystemTime};

use workflow_runtime::{Code, Result, Run, Status, Waiting, sleep, step, workflow};

use crate::support::Lab;

#[step]
async fn work(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(format!("{name} done"))
}

#[workflow]
async fn job(name: String) -> Result<String> {
    work(name).await
}

#[workflow]
async fn other(name: String) -> Result<String> {
    work(name).await
}

#[workflow]
async fn nothing() -> Result<()> {
    Ok(())
}

#[workflow]
async fn fails() -> Result<(), workflow_runtime::Error> {
    Err(workflow_runtime::Error::new("no luck"))
}

#[workflow]
async fn naps() -> Result<()> {
    sleep(Duration::from_secs(86_400)).await;
    Ok(())
}

on_each_store! {
    async fn start_returns_before_the_workflow_has_ended(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(job, "a".into()).await.unwrap();
        assert_eq!(run.status().await.unwrap(), Status::Running);
        lab.open_gate("a");
        assert_eq!(run.await.unwrap(), "a done");
    }

    async fn info_has_the_status_and_times_of_a_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        // The engine's clock may lag the system's clock by the time that its thread was not scheduled.
        let before = SystemTime::now() - Duration::from_secs(1);
        let run = engine.start(job, "a".into()).id("job-1").await.unwrap();
        assert_eq!(run.id(), "job-1");
        assert!(run.exists().await.unwrap());
        let info = run.info().await.unwrap();
        assert_eq!(info.id, "job-1");
        assert!(info.workflow.ends_with("::runs::job"), "{}", info.workflow);
        assert!(info.created_at >= before && info.started_at.unwrap() >= info.created_at);
        assert_eq!(info.completed_at, None);
        lab.open_gate("a");
        (&run).await.unwrap();
        let info = run.info().await.unwrap();
        assert_eq!(info.status, Status::Completed);
        assert!(info.completed_at.unwrap() >= info.started_at.unwrap());
        assert_eq!(info.reason, Some(Waiting::Ended { status: Status::Completed }));
    }

    async fn a_result_can_be_awaited_again_and_by_id(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("a");
        let run = engine.start(job, "a".into()).id("job-1").await.unwrap();
        assert_eq!((&run).await.unwrap(), "a done");
        assert_eq!(run.clone().await.unwrap(), "a done");
        let again: Run<String> = engine.get_run("job-1");
        assert_eq!(again.await.unwrap(), "a done");
    }

    async fn a_workflow_that_fails_gives_its_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(fails, ()).await.unwrap();
        assert_eq!((&run).await.unwrap_err().message(), "no luck");
        assert_eq!(run.status().await.unwrap(), Status::Failed);
    }

    async fn a_run_that_never_waits_is_completed_by_its_start(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(nothing, ()).await.unwrap();
        assert_eq!(run.status().await.unwrap(), Status::Completed);
        run.await.unwrap();
    }

    async fn the_same_id_with_the_same_arguments_is_the_same_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let first = engine.start(job, "a".into()).id("job-1").await.unwrap();
        let second = engine.start(job, "a".into()).id("job-1").await.unwrap();
        lab.open_gate("a");
        assert_eq!(first.await.unwrap(), second.await.unwrap());
        let third = engine.start(job, "a".into()).id("job-1").await.unwrap();
        assert_eq!(third.await.unwrap(), "a done");
        assert_eq!(lab.count("a"), 1);
    }

    async fn the_same_id_with_other_arguments_is_refused(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(job, "a".into()).id("job-1").await.unwrap();
        let error = engine.start(job, "b".into()).id("job-1").await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists);
        let text = format!("{error:?}");
        assert!(text.contains("\"a\"") && text.contains("\"b\"") && text.contains("help"), "{text}");
        let error = engine.start(other, "a".into()).id("job-1").await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists);
        assert!(format!("{error:?}").contains("::runs::job"));
        assert_eq!(lab.count("b"), 0);
    }

    async fn a_map_in_the_arguments_may_be_iterated_in_another_order(place: Place) {
        let lab = Lab::new();
        lab.open_gate("sum");
        let engine = place.open(&lab).await;
        let map = || (0..100).map(|n| (n, n)).collect::<std::collections::HashMap<u32, u32>>();
        let run = engine.start(maps, map()).id("map").await.unwrap();
        (&run).await.unwrap();
        let again = engine.start(maps, map()).id("map").await.unwrap();
        assert_eq!(again.await.unwrap(), run.await.unwrap());
    }

    async fn an_unknown_run_does_not_exist(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run: Run<()> = engine.get_run("nobody");
        assert!(!run.exists().await.unwrap());
        assert_eq!(run.status().await.unwrap_err().code(), Code::RunNotFound);
        assert_eq!(run.await.unwrap_err().code(), Code::RunNotFound);
    }

    async fn ten_thousand_waiters_see_the_end(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(job, "a".into()).await.unwrap();
        let waiters = (0..1_000).map(|_| tokio::spawn(run.clone().into_future())).collect::<Vec<_>>();
        lab.open_gate("a");
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap().unwrap(), "a done");
        }
    }

    async fn another_engine_on_the_store_starts_waits_and_takes_over(place: Place) {
        let lab = Lab::new();
        let first = place.open(&lab).await;
        let second = place.open(&lab).await;
        let run = second.start(job, "a".into()).id("job-1").await.unwrap();
        lab.executed("a", 1).await;
        let same = first.start(job, "a".into()).id("job-1").await.unwrap();
        lab.open_gate("a");
        assert_eq!(run.await.unwrap(), "a done");
        assert_eq!(same.await.unwrap(), "a done");
        let late = first.start(job, "b".into()).await.unwrap();
        lab.executed("b", 1).await;
        let id = late.id().to_owned();
        drop((late, first));
        lab.executed("b", 2).await;
        lab.open_gate("b");
        let late: Run<String> = second.get_run(id);
        assert_eq!(late.await.unwrap(), "b done");
    }

    async fn a_program_that_repeats_its_start_after_a_crash_continues_the_run(place: Place) {
        for n in 0..20 {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let id = format!("job-{n}");
            drop(engine.start(job, "a".into()).id(&id).await.unwrap());
            lab.executed("a", 1).await;
            drop(engine);
            lab.open_gate("a");
            // The start is concurrent with the claim of the run that the last engine left.
            let engine = place.open(&lab).await;
            let run = engine.start(job, "a".into()).id(&id).await.unwrap();
            assert_eq!(run.await.unwrap(), "a done");
        }
    }

    async fn a_run_continues_in_another_engine_when_its_engine_ends(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(job, "a".into()).id("job-1").await.unwrap();
        let sleeper = engine.start(naps, ()).id("nap").await.unwrap();
        lab.executed("a", 1).await;
        drop((engine, sleeper));
        lab.open_gate("a");
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("job-1");
        assert_eq!(run.await.unwrap(), "a done");
        let sleeper: Run<()> = engine.get_run("nap");
        let info = sleeper.info().await.unwrap();
        assert_eq!(info.status, Status::Suspended);
        assert!(info.wakes_at.unwrap() > SystemTime::now() + Duration::from_secs(80_000));
    }
}

#[workflow]
async fn maps(map: std::collections::HashMap<u32, u32>) -> Result<u32> {
    count_map(map).await
}

#[step]
async fn count_map(map: std::collections::HashMap<u32, u32>) -> Result<u32> {
    Ok(map.values().sum())
}

use std::future::IntoFuture;
