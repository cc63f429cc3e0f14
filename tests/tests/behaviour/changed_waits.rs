//! Code that changes the length of a wait while a run waits: the recorded deadline applies, and the run continues.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use workflow_runtime::{Result, Run, hook, now, sleep, sleep_until, step, timeout, uuid, workflow};

use crate::support::{Lab, ManualClock, Place, soon};

const HOUR: u64 = 3_600_000;
const START: u64 = 1_700_000_000_000;

/// The hours that a run's code waits, by the run's build.
static HOURS: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

fn wait_of(build: &str) -> Duration {
    Duration::from_millis(HOURS.lock().unwrap()[build] * HOUR)
}

fn deploy(build: &str, hours: u64) {
    HOURS.lock().unwrap().insert(build.to_owned(), hours);
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn waits(build: String, shape: String) -> Result<(bool, SystemTime)> {
    let wait = wait_of(&build);
    let ended_in_time = match shape.as_str() {
        "sleep" => {
            sleep(wait).await;
            false
        }
        "sleep until" => {
            sleep_until(at(START) + wait).await;
            false
        }
        "bound of a step" => timeout(wait, gated(build)).await.is_ok(),
        "bound of a hook" => timeout(wait, hook::<()>().token(build)).await.is_ok(),
        "bound of a sleep" => timeout(wait, sleep(100 * wait)).await.is_ok(),
        _ => tokio::select! {
            _ = hook::<()>().token(build).open() => true,
            () = sleep(wait) => false,
        },
    };
    let ended_at = now();
    gated("last".into()).await?;
    Ok((ended_in_time, ended_at))
}

const SHAPES: [&str; 6] = ["sleep", "sleep until", "bound of a step", "bound of a hook", "bound of a sleep", "select"];

/// Starts a run of each shape with code that waits `before` hours, continues it with code that waits `after` hours, and
/// asserts that each wait ends after `before` hours.
async fn change(place: &Place, before: u64, after: u64) {
    let (lab, clock) = (Lab::new(), ManualClock::at(START));
    let engine = place.open_at(&lab, &clock).await;
    let mut builds = Vec::new();
    for shape in SHAPES {
        let build = uuid().to_string();
        deploy(&build, before);
        engine.start(waits, (build.clone(), shape.to_owned())).id(shape).await.unwrap();
        builds.push(build);
    }
    drop(engine);
    builds.iter().for_each(|build| deploy(build, after));
    let engine = place.open_at(&lab, &clock).await;
    for shape in SHAPES {
        let run: Run<(bool, SystemTime)> = engine.get_run(shape);
        assert_eq!(
            run.info().await.unwrap().wakes_at.filter(|_| shape != "bound of a step"),
            match shape {
                "bound of a step" => None,
                _ => Some(at(START + before * HOUR)),
            }
        );
    }
    clock.set(START + before * HOUR - 1);
    assert_eq!(lab.count("last"), 0);
    clock.set(START + before * HOUR);
    soon(lab.executed("last", SHAPES.len())).await;
    // The changed code replays the whole journal once more.
    drop(engine);
    let engine = place.open_at(&lab, &clock).await;
    lab.open_gate("last");
    for shape in SHAPES {
        let run: Run<(bool, SystemTime)> = engine.get_run(shape);
        assert_eq!(soon(run).await.unwrap(), (false, at(START + before * HOUR)), "{shape}");
    }
}

on_each_store! {
    async fn a_wait_that_new_code_makes_longer_ends_at_its_recorded_deadline(place: Place) {
        change(&place, 1, 2).await;
    }

    async fn a_wait_that_new_code_makes_shorter_ends_at_its_recorded_deadline(place: Place) {
        change(&place, 2, 1).await;
    }
}
