//! Clocks that change while something waits: an attempt, a backoff, a sleep in memory, an evicted sleep, and a sleep
//! across a restart. Also a paused clock.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use workflow_runtime::engine::{Environment, System};
use workflow_runtime::{
    Builder, Code, Engine, Error, Result, Run, Status, heartbeat, hook, sleep, sleep_until, step, timeout, workflow,
};

use crate::support::{Lab, ManualClock, Place, ServerClock, recorded, soon};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600_000;
/// How far the clock is set, in milliseconds.
const JUMPS: [i64; 2] = [2 * 3_600_000, -2 * 3_600_000];

#[step]
async fn note(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[step(retries = 0, timeout = "5s")]
async fn bounded(#[resource] lab: &Lab) -> Result<()> {
    lab.note("bounded");
    lab.pass_gate("bounded").await;
    Ok(())
}

#[workflow]
async fn attempts() -> Result<()> {
    bounded().await
}

#[step(retries = 0, heartbeat = "5s")]
async fn beating(#[resource] lab: &Lab) -> Result<()> {
    lab.note("beating");
    lab.pass_gate("beat").await;
    heartbeat();
    lab.note("beaten");
    lab.pass_gate("end").await;
    Ok(())
}

#[workflow]
async fn beats() -> Result<()> {
    beating().await
}

#[step(retries = 1)]
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
async fn naps(milliseconds: u64, name: String) -> Result<()> {
    sleep(Duration::from_millis(milliseconds)).await;
    note(name).await
}

#[workflow]
async fn bounds(milliseconds: u64, name: String) -> Result<()> {
    let answer = timeout(Duration::from_millis(milliseconds), hook::<()>().token(name.clone())).await;
    assert!(answer.is_err(), "nobody sends");
    note(name).await
}

#[workflow]
async fn waits_until(deadline: SystemTime, name: String) -> Result<()> {
    sleep_until(deadline).await;
    note(name).await
}

#[workflow]
async fn takes(token: String) -> Result<u32> {
    hook::<u32>().token(token).await
}

fn builder(place: &Place, lab: &Lab, clocks: &ManualClock) -> Builder {
    place.builder(lab).environment(Arc::new(clocks.clone())).replay_every_turn()
}

/// Opens an engine on these clocks, once the engine that was dropped before has released the store.
async fn open(place: &Place, lab: &Lab, clocks: &ManualClock) -> Engine {
    let store = place.store();
    while store.acquire(1).await.expect("the store locks").is_none() {
        tokio::task::yield_now().await;
    }
    builder(place, lab, clocks).open().await.expect("the engine opens")
}

/// Passes two seconds, so that the engine notices that the clock was set and handles what is due.
async fn pass_two_seconds(engine: &Engine, clocks: &ManualClock) {
    for _ in 0..2 {
        let probe = engine.start(naps, (SECOND, "probe".into())).await.expect("the probe starts");
        clocks.pass(SECOND);
        soon(probe).await.expect("the probe ends");
    }
}

/// Waits until no engine owns the run.
async fn given_back(place: &Place, id: &str) {
    let store = place.store();
    soon(async {
        while store.run(id).await.unwrap().unwrap().fence.owner != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Passes time until `what` is ready, second by second, because `what` depends on events outside these clocks.
async fn pass_until<T>(clocks: &ManualClock, what: impl IntoFuture<Output = T>) -> T {
    let mut what = std::pin::pin!(what.into_future());
    soon(async {
        loop {
            tokio::select! {
                biased;
                output = &mut what => return output,
                () = tokio::task::yield_now() => clocks.pass(SECOND),
            }
        }
    })
    .await
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

on_each_store! {
    async fn setting_the_clock_of_the_server_ends_and_delays_no_sleep(place: Place) {
        for (jump, is_evicted) in [(JUMPS[0], false), (JUMPS[0], true), (JUMPS[1], false), (JUMPS[1], true)] {
            let (lab, clocks, set_by) = (Lab::new(), ManualClock::right(), Arc::new(AtomicI64::new(0)));
            let (by, real) = (set_by.clone(), clocks.clone());
            let now = move || real.now().saturating_add_signed(by.load(Ordering::SeqCst));
            let served = ServerClock::new(place.store(), Some(Box::new(now)));
            let evict_after = Duration::from_secs(if is_evicted { 1 } else { 1_000_000 });
            let engine = builder(&place, &lab, &clocks).store(Arc::new(served)).evict_after(evict_after).open().await.unwrap();
            let sleeps = engine.start(naps, (HOUR, "slept".into())).await.unwrap();
            let retried = engine.start(retries, ()).await.unwrap();
            recorded(&place, retried.id(), r#""attempt":1"#).await;
            pass_two_seconds(&engine, &clocks).await;
            if is_evicted {
                given_back(&place, sleeps.id()).await;
            }
            set_by.store(jump, Ordering::SeqCst);
            pass_two_seconds(&engine, &clocks).await;
            pass_two_seconds(&engine, &clocks).await;
            assert_eq!((lab.count("slept"), lab.count("fails once")), (0, 1), "the hour is not over");
            clocks.pass(HOUR);
            pass_until(&clocks, sleeps).await.unwrap();
            assert_eq!(pass_until(&clocks, retried).await.unwrap(), 2);
            engine.shutdown().await.unwrap();
        }
    }

    async fn setting_the_clock_does_not_change_the_timeout_of_an_attempt(place: Place) {
        for jump in JUMPS {
            let (lab, clocks) = (Lab::new(), ManualClock::right());
            let engine = open(&place, &lab, &clocks).await;
            let run = engine.start(attempts, ()).await.unwrap();
            soon(lab.executed("bounded", 1)).await;
            clocks.set_by(jump);
            pass_two_seconds(&engine, &clocks).await;
            lab.open_gate("bounded");
            soon(run).await.expect("the attempt is within its five seconds");
            let lab = Lab::new();
            engine.shutdown().await.unwrap();
            let engine = open(&place, &lab, &clocks).await;
            let run = engine.start(attempts, ()).await.unwrap();
            soon(lab.executed("bounded", 1)).await;
            clocks.set_by(-jump);
            pass_two_seconds(&engine, &clocks).await;
            clocks.pass(3 * SECOND);
            assert_eq!(soon(run).await.unwrap_err().code(), Code::Timeout, "the attempt exceeds its five seconds");
            engine.shutdown().await.unwrap();
        }
    }

    async fn setting_the_clock_does_not_change_the_heartbeat_timeout(place: Place) {
        for jump in JUMPS {
            let (lab, clocks) = (Lab::new(), ManualClock::right());
            let engine = open(&place, &lab, &clocks).await;
            let run = engine.start(beats, ()).await.unwrap();
            soon(lab.executed("beating", 1)).await;
            clocks.set_by(jump);
            pass_two_seconds(&engine, &clocks).await;
            lab.open_gate("beat");
            soon(lab.executed("beaten", 1)).await;
            pass_two_seconds(&engine, &clocks).await;
            assert_eq!(run.status().await.unwrap(), Status::Running);
            clocks.pass(3 * SECOND);
            assert_eq!(soon(run).await.unwrap_err().code(), Code::Timeout);
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_suspend_of_the_machine_does_not_count_for_an_attempt(place: Place) {
        let (lab, clocks) = (Lab::new(), ManualClock::right());
        let engine = open(&place, &lab, &clocks).await;
        let run = engine.start(attempts, ()).await.unwrap();
        soon(lab.executed("bounded", 1)).await;
        clocks.suspend(2 * HOUR);
        pass_two_seconds(&engine, &clocks).await;
        lab.open_gate("bounded");
        soon(run).await.expect("a suspend of the machine does not count");
    }

    async fn setting_the_clock_does_not_change_a_backoff(place: Place) {
        for jump in JUMPS {
            let (lab, clocks) = (Lab::new(), ManualClock::right());
            let engine = open(&place, &lab, &clocks).await;
            let run = engine.start(retries, ()).await.unwrap();
            recorded(&place, run.id(), r#""attempt":1"#).await;
            pass_two_seconds(&engine, &clocks).await;
            clocks.set_by(jump);
            pass_two_seconds(&engine, &clocks).await;
            assert_eq!(lab.count("fails once"), 1, "the backoff of an hour is not over");
            clocks.pass(HOUR);
            assert_eq!(soon(run).await.unwrap(), 2);
            engine.shutdown().await.unwrap();
        }
    }

    async fn setting_the_clock_does_not_change_a_sleep_in_memory(place: Place) {
        for jump in JUMPS {
            let (lab, clocks) = (Lab::new(), ManualClock::right());
            let engine = open(&place, &lab, &clocks).await;
            let sleeps = engine.start(naps, (HOUR, "slept".into())).await.unwrap();
            let bounded = engine.start(bounds, (HOUR, format!("bounded {jump}"))).await.unwrap();
            clocks.set_by(jump);
            pass_two_seconds(&engine, &clocks).await;
            assert_eq!((lab.count("slept"), lab.count(&format!("bounded {jump}"))), (0, 0), "the hour is not over");
            clocks.pass(HOUR);
            soon(sleeps).await.unwrap();
            soon(bounded).await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn setting_the_clock_does_not_change_the_sleep_of_an_evicted_run(place: Place) {
        for jump in JUMPS {
            let (lab, clocks) = (Lab::new(), ManualClock::right());
            let engine = builder(&place, &lab, &clocks).evict_after(Duration::from_secs(1)).open().await.unwrap();
            let sleeps = engine.start(naps, (HOUR, "slept".into())).await.unwrap();
            pass_two_seconds(&engine, &clocks).await;
            given_back(&place, sleeps.id()).await;
            clocks.set_by(jump);
            pass_two_seconds(&engine, &clocks).await;
            pass_two_seconds(&engine, &clocks).await;
            assert_eq!(lab.count("slept"), 0, "the hour is not over");
            clocks.pass(HOUR);
            pass_until(&clocks, sleeps).await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_suspend_of_the_machine_counts_for_a_sleep(place: Place) {
        let (lab, clocks) = (Lab::new(), ManualClock::right());
        let engine = open(&place, &lab, &clocks).await;
        let sleeps = engine.start(naps, (HOUR, "slept".into())).await.unwrap();
        clocks.suspend(2 * HOUR);
        pass_two_seconds(&engine, &clocks).await;
        soon(sleeps).await.unwrap();
    }

    async fn after_a_restart_a_sleep_ends_by_the_clock_of_the_store(place: Place) {
        let has_server = matches!(place, Place::Postgres(_));
        for jump in JUMPS {
            let (lab, clocks) = (Lab::new(), ManualClock::right());
            let engine = open(&place, &lab, &clocks).await;
            let id = format!("run {jump}");
            drop(engine.start(naps, (HOUR, "slept".into())).id(&id).await.unwrap());
            engine.shutdown().await.unwrap();
            clocks.set_by(jump);
            let engine = open(&place, &lab, &clocks).await;
            let run: Run<()> = engine.get_run(&id);
            if jump > 0 && !has_server {
                soon(run).await.expect("the only clock is past the deadline");
            } else {
                pass_two_seconds(&engine, &clocks).await;
                assert_eq!(lab.count("slept"), 0);
                clocks.pass(HOUR);
                pass_two_seconds(&engine, &clocks).await;
                if !has_server {
                    assert_eq!(lab.count("slept"), 0, "a clock set back two hours needs three");
                    clocks.pass(2 * HOUR);
                }
                pass_until(&clocks, run).await.unwrap();
            }
            engine.shutdown().await.unwrap();
        }
    }

    async fn sleep_until_uses_the_clock_of_the_store(place: Place) {
        let has_server = matches!(place, Place::Postgres(_));
        let (lab, clocks) = (Lab::new(), ManualClock::right());
        let engine = open(&place, &lab, &clocks).await;
        let run = engine.start(waits_until, (time(System.now() + HOUR), "noon".into())).await.unwrap();
        pass_two_seconds(&engine, &clocks).await;
        assert_eq!(lab.count("noon"), 0);
        clocks.set_by(JUMPS[0]);
        pass_two_seconds(&engine, &clocks).await;
        if has_server {
            assert_eq!(lab.count("noon"), 0, "the server's clock was not set");
            clocks.pass(HOUR);
        }
        soon(run).await.unwrap();
    }

    async fn recorded_times_are_from_the_clock_of_the_store(place: Place) {
        let (lab, clocks) = (Lab::new(), ManualClock::up_for_an_hour_at(System.now() + 2 * HOUR));
        let engine = open(&place, &lab, &clocks).await;
        let run = engine.start(naps, (SECOND, "probe".into())).await.unwrap();
        let ahead = run.info().await.unwrap().created_at.duration_since(SystemTime::now()).unwrap_or_default();
        assert_eq!(ahead > Duration::from_millis(HOUR), !matches!(place, Place::Postgres(_)), "{ahead:?}");
    }
}

/// A payload is held for an hour, and a worker whose clock is two hours ahead must not remove it.
async fn payload_is_held_for_an_hour(place: &Place) {
    let (lab, clocks) = (Lab::new(), ManualClock::up_for_an_hour_at(System.now() + 2 * HOUR));
    let right = place.builder(&lab).open().await.unwrap();
    right.resume_hook("letter", &7).hold_for(Duration::from_millis(HOUR)).await.unwrap();
    let wrong = open(place, &lab, &clocks).await;
    // Long enough for the worker to clean up at least once.
    for _ in 0..100 {
        pass_two_seconds(&wrong, &clocks).await;
    }
    let run = wrong.start(takes, "letter".to_owned()).await.unwrap();
    assert_eq!(pass_until(&clocks, run).await.unwrap(), 7);
}

/// Counts the sleeps of the engine.
struct Counting(AtomicUsize);

impl Environment for Counting {
    fn now(&self) -> u64 {
        System.now()
    }

    fn monotonic(&self) -> u64 {
        System.monotonic()
    }

    fn is_paused(&self) -> bool {
        System.is_paused()
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        System.sleep_until(time)
    }

    fn fill(&self, bytes: &mut [u8]) {
        System.fill(bytes);
    }
}

#[step(retries = 1, timeout = "30d", backoff = "30d..30d")]
async fn never_ends(#[resource] lab: &Lab) -> Result<()> {
    match lab.note("never ends") {
        1 => std::future::pending().await,
        _ => Ok(()),
    }
}

#[workflow]
async fn yearly(years: u64) -> Result<SystemTime> {
    let begun = workflow_runtime::now();
    for _ in 0..years {
        sleep(Duration::from_secs(365 * 24 * 3600)).await;
    }
    never_ends().await?;
    sleep_until(begun + Duration::from_secs(366 * 24 * 3600 * years)).await;
    Ok(workflow_runtime::now())
}

case! {
    #[postgres]
    async fn a_worker_whose_clock_is_ahead_does_not_shorten_a_recovered_sleep() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let right = place.builder(&lab).open().await.unwrap();
        drop(right.start(naps, (60 * SECOND, "slept".into())).id("run").await.unwrap());
        right.shutdown().await.unwrap();
        let clocks = ManualClock::up_for_an_hour_at(System.now() + HOUR);
        let ahead = open(&place, &lab, &clocks).await;
        pass_two_seconds(&ahead, &clocks).await;
        pass_two_seconds(&ahead, &clocks).await;
        assert_eq!(lab.count("slept"), 0, "the sleep of a minute is not over");
        clocks.pass(60 * SECOND);
        pass_until(&clocks, ahead.get_run::<(), Error>("run")).await.unwrap();
    }
}

case! {
    #[postgres]
    async fn a_worker_whose_clock_is_ahead_does_not_remove_held_payloads() {
        payload_is_held_for_an_hour(&Place::postgres()).await;
    }
}

case! {
    #[postgres]
    async fn an_open_postgres_store_has_the_time_of_its_server() {
        let store = Place::postgres().store();
        let time = time(store.server_time().expect("the store has read the time when it opened"));
        let now = SystemTime::now();
        let apart = now.duration_since(time).or_else(|_| time.duration_since(now)).unwrap();
        assert!(apart < Duration::from_secs(60), "the server runs on this machine: {apart:?}");
        assert_eq!(Place::memory().store().server_time(), None);
        assert_eq!(Place::sqlite().store().server_time(), None);
    }
}

case! {
    fn sleeps_of_years_end_at_once_on_a_paused_clock() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(async {
            let environment = Arc::new(Counting(AtomicUsize::new(0)));
            let builder = Engine::builder().url("memory:").resource(Lab::new()).environment(environment.clone());
            let engine = builder.open().await.unwrap();
            let begun = System.now();
            let ended = engine.start(yearly, 3).await.unwrap().await.unwrap();
            assert!(ended >= time(begun + 3 * 366 * 24 * HOUR), "{ended:?}");
            let sleeps = environment.0.load(Ordering::SeqCst);
            assert!(sleeps < 20_000, "sleeping by seconds would take 95 million sleeps: {sleeps}");
            // The engine's default environment behaves the same.
            let engine = Engine::builder().url("memory:").resource(Lab::new()).open().await.unwrap();
            engine.start(yearly, 1).await.unwrap().await.unwrap();
        });
    }
}
