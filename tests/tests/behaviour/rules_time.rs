//! The rules of time and identity: the order of events, deadlines, attempts and recoveries after a crash.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workflow_runtime::store::{Message, SendMessage, Write};
use workflow_runtime::{Code, Engine, Error, Result, Run, hook, now, sleep, step, timeout, workflow};

use crate::support::{Faulty, Lab, ManualClock, Place, ServerClock, When, recorded, soon};

const HOUR: u64 = 3_600_000;
const START: u64 = 1_700_000_000_000;

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn patient() -> Result<String> {
    match timeout(Duration::from_secs(3600), gated("slow".into())).await {
        Ok(answer) => answer,
        Err(_) => Ok("nothing".into()),
    }
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// Starts `patient`, drops the engine, posts a result that arrived at `arrived_at`, and opens an engine two hours after
/// the start.
async fn answered_at(place: &Place, arrived_at: u64) -> String {
    let (lab, clock) = (Lab::new(), ManualClock::at(START));
    let engine = place.open_at(&lab, &clock).await;
    drop(engine.start(patient, ()).id("run").await.unwrap());
    lab.executed("slow", 1).await;
    drop(engine);
    let event = r#"{"completed":{"op":0,"value":"slow"}}"#.as_bytes();
    let message = Message { dedupe: None, arrived_at, format: 1, checksum: crc32fast::hash(event), body: event.into() };
    place
        .store()
        .commit(&[Write::SendMessage(SendMessage { run: "run".into(), message, unstick: false })])
        .await
        .unwrap();
    clock.set(START + 2 * HOUR);
    let engine = place.open_at(&lab, &clock).await;
    let run: Run<String> = engine.get_run("run");
    let answer = run.await.unwrap();
    assert_eq!(lab.count("slow"), 1, "an answered step is not executed again");
    answer
}

#[step(retries = 3)]
async fn fails_once(#[resource] lab: &Lab) -> Result<usize> {
    match lab.note("fails once") {
        1 => Err(Error::retry_after(Duration::from_millis(HOUR))),
        execution => Ok(execution),
    }
}

#[workflow]
async fn retries() -> Result<usize> {
    fails_once().await
}

#[workflow]
async fn clocks(steps: usize) -> Result<Vec<SystemTime>> {
    let mut times = vec![now()];
    for step in 0..steps {
        gated(format!("{step}")).await?;
        times.push(now());
    }
    Ok(times)
}

#[workflow]
async fn sleeps_from_the_call() -> Result<SystemTime> {
    let nap = sleep(Duration::from_secs(3600));
    gated("first".into()).await?;
    nap.await;
    Ok(now())
}

#[workflow]
async fn progresses() -> Result<()> {
    gated("one".into()).await?;
    gated("two".into()).await?;
    Ok(())
}

#[workflow]
async fn answers_after_an_hour() -> Result<u32> {
    let (answer, ()) = tokio::join!(hook::<u32>().token("t"), sleep(Duration::from_millis(HOUR)));
    answer
}

on_each_store! {
    /// The driver of a run waits before it sends a refused turn again. Meanwhile the engine loses the right to execute and
    /// acquires it again, so that it activates the run again.
    async fn a_timer_that_a_later_activation_has_armed_is_kept(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let faulty = Faulty::new(Arc::new(ServerClock::new(place.store(), None)));
        let builder = Engine::builder().store(Arc::new(faulty.clone())).environment(Arc::new(clock.clone()));
        let engine = builder.resource(lab.clone()).open().await.unwrap();
        let run = engine.start(answers_after_an_hour, ()).id("run").await.unwrap();
        let (noted, mut refuses) = (lab.clone(), true);
        faulty.plan(move |group| {
            let is_refused = group.iter().any(|write| matches!(write, Write::Turn(_))) && std::mem::take(&mut refuses);
            is_refused.then(|| {
                noted.note("refused");
                When::Refused
            })
        });
        engine.resume_hook("t", &7).await.unwrap();
        lab.executed("refused", 1).await;
        faulty.end_right();
        recorded(&place, "run", "payload").await;
        // The first driver gives up.
        clock.pass(1_000);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        clock.pass(HOUR);
        assert_eq!(soon(&run).await.unwrap(), 7);
    }

    async fn rule_11_a_result_in_time_wins_over_a_timeout_that_passed_during_downtime(place: Place) {
        assert_eq!(answered_at(&place, START + HOUR / 2).await, "slow");
    }

    async fn rule_11_at_the_deadline_the_inbox_comes_first(place: Place) {
        assert_eq!(answered_at(&place, START + HOUR).await, "slow");
    }

    async fn rule_11_a_result_after_the_deadline_is_too_late(place: Place) {
        assert_eq!(answered_at(&place, START + HOUR + 1).await, "nothing");
    }

    async fn rule_11_the_clock_of_a_run_never_goes_back(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(clocks, 3).await.unwrap();
        for (step, time) in [START + 5, START - HOUR, START + 7].into_iter().enumerate() {
            lab.executed(&format!("{step}"), 1).await;
            clock.set(time);
            lab.open_gate(&format!("{step}"));
        }
        assert_eq!(run.await.unwrap(), [at(START), at(START + 5), at(START + 5), at(START + 7)]);
    }

    async fn rule_11_a_deadline_is_fixed_at_the_call(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(sleeps_from_the_call, ()).await.unwrap();
        lab.executed("first", 1).await;
        clock.set(START + HOUR / 2);
        lab.open_gate("first");
        while place.rows(run.id()).await.len() < 2 {
            workflow_harness::pause().await;
        }
        clock.set(START + HOUR);
        assert_eq!(run.await.unwrap(), at(START + HOUR));
    }

    async fn rule_13_a_failed_attempt_is_recorded_before_its_backoff(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        drop(engine.start(retries, ()).id("run").await.unwrap());
        while place.rows("run").await.len() < 2 {
            workflow_harness::pause().await;
        }
        drop(engine);
        let engine = place.open_at(&lab, &clock).await;
        let run: Run<usize> = engine.get_run("run");
        clock.set(START + HOUR - 1);
        assert_eq!(lab.count("fails once"), 1, "a crash does not shorten the backoff");
        clock.set(START + HOUR);
        assert_eq!((&run).await.unwrap(), 2);
        assert!(place.journal("run").await[1].contains(r#""attempt":1"#));
    }

    async fn rule_13_a_run_with_too_many_recoveries_is_stuck(place: Place) {
        let lab = Lab::new();
        let open = || async { place.builder(&lab).recoveries(2).open().await.unwrap() };
        let mut engine = open().await;
        drop(engine.start(progresses, ()).id("run").await.unwrap());
        for death in 1..=3 {
            lab.executed("one", death).await;
            drop(engine);
            engine = open().await;
        }
        let run: Run<()> = engine.get_run("run");
        let error = (&run).await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        let text = format!("{error:?}");
        assert!(text.contains("3 recoveries") && text.contains("::gated"), "{text}");
        assert_eq!((&run).await.unwrap_err().code(), Code::Stuck, "the run can be awaited again");
        assert_eq!(lab.count("one"), 3);
    }

    async fn rule_13_progress_resets_the_count_of_recoveries(place: Place) {
        let lab = Lab::new();
        let open = || async { place.builder(&lab).recoveries(2).open().await.unwrap() };
        let mut engine = open().await;
        drop(engine.start(progresses, ()).id("run").await.unwrap());
        for death in 1..=2 {
            lab.executed("one", death).await;
            drop(engine);
            engine = open().await;
        }
        lab.open_gate("one");
        for death in 1..=2 {
            lab.executed("two", death).await;
            drop(engine);
            engine = open().await;
        }
        lab.open_gate("two");
        let run: Run<()> = engine.get_run("run");
        run.await.unwrap();
    }

    async fn rule_13_a_shutdown_does_not_count_as_a_crash(place: Place) {
        let lab = Lab::new();
        let open = || async { place.builder(&lab).recoveries(0).open().await.unwrap() };
        let engine = open().await;
        engine.start(retries, ()).id("run").await.unwrap();
        while place.rows("run").await.len() < 2 {
            workflow_harness::pause().await;
        }
        engine.shutdown().await.unwrap();
        let engine = open().await;
        let run: Run<usize> = engine.get_run("run");
        assert!(!run.status().await.unwrap().is_terminal());
        assert_eq!(run.info().await.unwrap().reason, None);
    }
}
