//! Sleeps, the clock, random values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workflow_runtime::{Elapsed, Result, Run, Uuid, now, random, sleep, sleep_until, step, timeout, uuid, workflow};

use crate::support::{Lab, ManualClock};

const HOUR: u64 = 3_600_000;
const START: u64 = 1_700_000_000_000;

#[step]
async fn note(#[resource] lab: &Lab, name: String) -> Result<()> {
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
async fn naps(hours: u64) -> Result<(SystemTime, SystemTime)> {
    let before = now();
    sleep(Duration::from_secs(hours * 3600)).await;
    note("awake".into()).await?;
    Ok((before, now()))
}

#[workflow]
async fn naps_until(time: SystemTime) -> Result<SystemTime> {
    sleep_until(time).await;
    Ok(now())
}

#[workflow]
async fn patient(name: String) -> Result<Option<String>> {
    match timeout(Duration::from_secs(3600), gated(name)).await {
        Ok(answer) => Ok(Some(answer?)),
        Err(Elapsed) => Ok(None),
    }
}

#[workflow]
async fn rolls() -> Result<(u64, u64, Uuid, Uuid, f64)> {
    let (a, id) = (random::<u64>(), uuid());
    note("roll".into()).await?;
    Ok((a, random(), id, uuid(), random()))
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

on_each_store! {
    async fn a_sleep_ends_when_its_time_has_come(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(naps, 1).await.unwrap();
        clock.set(START + HOUR - 1);
        assert_eq!(lab.count("awake"), 0);
        clock.set(START + HOUR);
        assert_eq!(run.await.unwrap(), (time(START), time(START + HOUR)));
    }

    async fn a_sleep_that_ended_during_downtime_is_over(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        drop(engine.start(naps, 1).id("nap").await.unwrap());
        drop(engine);
        clock.set(START + 5 * HOUR);
        let engine = place.open_at(&lab, &clock).await;
        let run: Run<(SystemTime, SystemTime)> = engine.get_run("nap");
        assert_eq!(run.await.unwrap(), (time(START), time(START + 5 * HOUR)));
    }

    async fn a_sleep_until_a_past_time_is_over_at_once(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(naps_until, UNIX_EPOCH).await.unwrap();
        run.await.unwrap();
    }

    async fn a_sleep_of_the_longest_duration_does_no_harm(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(naps, u64::MAX / 3600).await.unwrap();
        let info = run.info().await.unwrap();
        assert_eq!((info.status, info.wakes_at), (workflow_runtime::Status::Suspended, None));
    }

    async fn a_timeout_gives_up_on_an_operation(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(patient, "slow".into()).await.unwrap();
        lab.executed("slow", 1).await;
        clock.set(START + HOUR);
        assert_eq!((&run).await.unwrap(), None);
        assert!(place.journal(run.id()).await.concat().contains(r#"{"cancel":{"op":0}}"#));
    }

    async fn a_timeout_lets_an_answer_pass(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("quick");
        let run = engine.start(patient, "quick".into()).await.unwrap();
        assert_eq!((&run).await.unwrap().as_deref(), Some("quick"));
    }

    async fn random_values_are_the_same_after_a_crash(place: Place) {
        // `replay_every_turn` compares the values of each replay. The test checks that values differ from one another.
        let engine = place.open(&Lab::new()).await;
        let (a, b, id, other, fraction) = engine.start(rolls, ()).await.unwrap().await.unwrap();
        let (c, ..) = engine.start(rolls, ()).await.unwrap().await.unwrap();
        assert!(a != b && a != c && id != other && (0.0..1.0).contains(&fraction));
        assert_eq!(id.get_version_num(), 4);
    }
}

case! {
    async fn outside_a_workflow_time_and_random_functions_are_plain() {
        let before = SystemTime::now();
        sleep(Duration::from_millis(1)).await;
        sleep_until(now() + Duration::from_millis(1)).await;
        assert!(now() >= before + Duration::from_millis(2));
        assert_ne!(random::<u128>(), random::<u128>());
        assert_ne!(uuid(), uuid());
        assert_eq!(timeout(Duration::from_secs(60), async { 4 }).await, Ok(4));
        assert_eq!(timeout(Duration::ZERO, std::future::pending::<()>()).await, Err(Elapsed));
    }
}
