//! Eviction of waiting runs, and their activation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, hook, now, sleep, step, timeout, workflow};

use crate::support::{Lab, ManualClock, Place, soon};

const HOUR: u64 = 3_600_000;
const START: u64 = 1_700_000_000_000;

#[step]
async fn counted(#[resource] lab: &Lab, name: String) -> Result<usize> {
    Ok(lab.note(&name))
}

#[workflow]
async fn naps() -> Result<(usize, SystemTime)> {
    let executions = counted("before".into()).await?;
    sleep(Duration::from_secs(3600)).await;
    Ok((executions, now()))
}

#[workflow]
async fn adds_up(token: String, count: u32) -> Result<u32> {
    let mut numbers = hook::<u32>().token(token).open();
    let mut sum = 0;
    for _ in 0..count {
        sum += (&mut numbers).await?;
        counted("added".into()).await?;
    }
    Ok(sum)
}

#[workflow]
async fn panics_when_awake() -> Result<()> {
    sleep(Duration::from_secs(3600)).await;
    panic!("not a morning person")
}

#[workflow]
async fn naps_twice_within_a_bound() -> Result<(bool, SystemTime)> {
    let both = async {
        sleep(Duration::from_secs(3600)).await;
        sleep(Duration::from_secs(3600)).await;
    };
    let in_time = timeout(Duration::from_secs(5400), both).await.is_ok();
    Ok((in_time, now()))
}

#[step(retries = 2, backoff = "1h..1h")]
async fn fails(#[resource] lab: &Lab) -> Result<usize> {
    match lab.note("fails") {
        3 => Ok(3),
        attempt => Err(Error::new(format!("failure {attempt}"))),
    }
}

#[workflow]
async fn fails_twice() -> Result<usize> {
    fails().await
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

async fn open(place: &Place, lab: &Lab, clock: &ManualClock) -> Engine {
    let builder = place.builder_at(lab, clock).replay_every_turn();
    builder.evict_after(Duration::ZERO).open().await.unwrap()
}

/// Waits until no engine owns the run.
async fn given_back(place: &Place, id: &str) {
    let store = place.store();
    while store.run(id).await.unwrap().unwrap().fence.owner != 0 {
        workflow_harness::pause().await;
    }
}

/// Waits until the sleep is recorded: its deadline is computed at that time.
async fn sleeping(run: &Run<(usize, SystemTime)>) {
    while run.info().await.unwrap().wakes_at.is_none() {
        workflow_harness::pause().await;
    }
}

on_each_store! {
    async fn a_sleeping_run_is_evicted_and_wakes_in_time(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = open(&place, &lab, &clock).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        given_back(&place, "nap").await;
        let waiting = tokio::spawn((&run).into_future());
        clock.set(START + HOUR - 1_000);
        assert_eq!(place.store().run("nap").await.unwrap().unwrap().fence.owner, 0);
        clock.set(START + HOUR);
        assert_eq!(waiting.await.unwrap().unwrap(), (1, time(START + HOUR)));
        assert_eq!(lab.count("before"), 1);
    }

    async fn a_run_is_activated_before_its_deadline(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = open(&place, &lab, &clock).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        given_back(&place, "nap").await;
        clock.set(START + HOUR - 1);
        let store = place.store();
        while store.run("nap").await.unwrap().unwrap().fence.owner == 0 {
            workflow_harness::pause().await;
        }
        assert_eq!(run.status().await.unwrap(), Status::Suspended, "the run does not continue before its deadline");
        clock.set(START + HOUR);
        assert_eq!((&run).await.unwrap(), (1, time(START + HOUR)));
        assert_eq!(store.run("nap").await.unwrap().unwrap().fence.epoch, 2, "the run was activated once");
    }

    async fn a_run_that_wakes_soon_is_not_evicted(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let builder = place.builder_at(&lab, &clock);
        let engine = builder.evict_after(Duration::from_secs(7200)).open().await.unwrap();
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        sleeping(&run).await;
        clock.set(START + HOUR);
        (&run).await.unwrap();
        assert_eq!(place.store().run("nap").await.unwrap().unwrap().fence.epoch, 1, "the run was never evicted");
    }

    async fn a_payload_activates_an_evicted_run(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = open(&place, &lab, &clock).await;
        let run = engine.start(adds_up, ("t".into(), 5)).id("run").await.unwrap();
        for number in 1..=5 {
            given_back(&place, "run").await;
            engine.resume_hook("t", &number).await.unwrap();
            lab.executed("added", number as usize).await;
        }
        assert_eq!(run.await.unwrap(), 15);
        assert!(place.store().run("run").await.unwrap().unwrap().fence.epoch > 4);
    }

    async fn an_evicted_run_can_be_cancelled(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = open(&place, &lab, &clock).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        given_back(&place, "nap").await;
        assert!(run.cancel("enough").await.unwrap());
        assert_eq!(run.await.unwrap_err().code(), Code::Cancelled);
    }

    async fn rule_2_a_message_that_arrives_during_an_eviction_is_not_lost(place: Place) {
        let engine = place.builder(&Lab::new()).evict_after(Duration::ZERO).open().await.unwrap();
        let race = |number: usize| {
            let engine = engine.clone();
            async move {
                let token = format!("t{number}");
                let run = engine.start(adds_up, (token.clone(), 6)).await.unwrap();
                for value in 0..6u32 {
                    for _ in 0..(number + value as usize * 7) % 13 {
                        tokio::task::yield_now().await;
                    }
                    engine.resume_hook(&*token, &value).await.unwrap();
                }
                assert_eq!(run.await.unwrap(), 15);
            }
        };
        for batch in 0..6 {
            let races = join_all((0..50).map(|number| race(batch * 50 + number)));
            tokio::time::timeout(Duration::from_secs(120), races).await.expect("no inbox message is lost");
        }
    }

    async fn wake_up_ends_a_sleep_early(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(naps, ()).await.unwrap();
        sleeping(&run).await;
        clock.set(START + 5);
        run.wake_up().await.unwrap();
        assert_eq!((&run).await.unwrap(), (1, time(START + 5)));
        run.wake_up().await.unwrap();
        let nobody: Run<()> = engine.get_run("nobody");
        assert_eq!(nobody.wake_up().await.unwrap_err().code(), Code::RunNotFound);
    }

    async fn wake_up_begins_the_next_attempt_before_its_backoff_has_passed(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_twice, ()).id("run").await.unwrap();
        for attempts in [1, 2] {
            soon(async { while place.rows("run").await.len() < attempts + 1 { workflow_harness::pause().await } }).await;
            assert_eq!(lab.count("fails"), attempts);
            run.wake_up().await.unwrap();
        }
        assert_eq!(soon(run).await.unwrap(), 3);
        assert_eq!(lab.count("fails"), 3);
    }

    async fn wake_up_begins_the_next_attempt_of_a_run_that_was_replayed(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(fails_twice, ()).id("run").await.unwrap();
        soon(async { while place.rows("run").await.len() < 2 { workflow_harness::pause().await } }).await;
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        let run: Run<usize> = engine.get_run("run");
        run.wake_up().await.unwrap();
        soon(async { while place.rows("run").await.len() < 3 { workflow_harness::pause().await } }).await;
        assert_eq!(lab.count("fails"), 2);
        run.wake_up().await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 3);
    }

    async fn a_stuck_run_keeps_its_wake_up_in_the_inbox(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(panics_when_awake, ()).id("run").await.unwrap();
        run.wake_up().await.unwrap();
        assert_eq!(run.await.unwrap_err().code(), Code::Stuck);
        engine.shutdown().await.unwrap();
        assert_eq!(place.inbox("run").await, 1);
    }

    async fn a_wake_up_ends_a_sleep_of_an_evicted_run_inside_a_timeout(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = open(&place, &lab, &clock).await;
        let run = engine.start(naps_twice_within_a_bound, ()).id("run").await.unwrap();
        given_back(&place, "run").await;
        run.wake_up().await.unwrap();
        while place.rows("run").await.len() < 2 {
            workflow_harness::pause().await;
        }
        assert!(place.journal("run").await.concat().contains(r#"{"woken":{"op":"#));
        given_back(&place, "run").await;
        clock.set(START + HOUR);
        assert_eq!(run.await.unwrap(), (true, time(START + HOUR)), "the second sleep has its full length");
    }
}
