//! Runs that no live worker can execute: who is called, and who stops waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use workflow_runtime::engine::Environment as _;
use workflow_runtime::{Client, Code, Engine, Error, Result, Run, Stranded, hook, step, workflow};

use crate::support::{Lab, ManualClock, Place, soon};

#[workflow(id = "stranded.waits")]
async fn waits(token: String) -> Result<String> {
    hook::<()>().token(&token).await?;
    Ok(token)
}

#[step(queue = "stranded")]
async fn stranded_step() -> Result<()> {
    Ok(())
}

#[workflow(id = "stranded.queues")]
async fn queues() -> Result<()> {
    stranded_step().await
}

fn run(client: &Client, id: &str) -> Run<String, Error> {
    client.get_run(id)
}

/// A lease that outlasts the jumps of the clock.
fn patient(place: Place) -> Place {
    if matches!(place, Place::Postgres(_)) { place.with("lease=10m") } else { place }
}

/// Lets time pass until this has come to its end.
async fn passing<F: IntoFuture>(clock: &ManualClock, what: F) -> F::Output {
    soon(async {
        let mut what = std::pin::pin!(what.into_future());
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                () = tokio::time::sleep(Duration::from_millis(2)) => clock.pass(1_000),
            }
        }
    })
    .await
}

/// Lets time pass until the engine has looked this often.
async fn looks(clock: &ManualClock, times: u32) {
    for _ in 0..times {
        clock.pass(61_000);
        // The look reads the store. What it finds is asserted on by the caller, over and over if it has to come.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn noted(clock: &ManualClock, lab: &Lab, note: &str, times: usize) {
    soon(async {
        while lab.count(note) < times {
            looks(clock, 1).await;
        }
    })
    .await;
}

on_each_store! {
    async fn a_wait_for_a_run_without_a_worker_fails_after_its_time(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::right());
        let client = place.builder_at(&lab, &clock).connect().await.unwrap();
        let run = client.start(waits, "r".to_owned()).id("r").await.unwrap();
        let begun = clock.monotonic();
        let stranded = passing(&clock, run.until_stranded(Duration::from_secs(300))).await.unwrap_err();
        assert_eq!(stranded.code(), Code::Stranded);
        assert!(format!("{stranded:?}").contains("none for 300s"), "{stranded:?}");
        let waited = clock.monotonic() - begun;
        assert!((300_000..400_000).contains(&waited), "{waited} ms");
        assert_eq!(soon(run.until_stranded(Duration::ZERO)).await.unwrap_err().code(), Code::Stranded);
        // With a worker the time does not pass, however long the run takes.
        let engine = place.builder(&lab).open().await.unwrap();
        let waiting = run.clone();
        let waiting = tokio::spawn(async move { waiting.until_stranded(Duration::from_secs(300)).await });
        for _ in 0..100 {
            clock.pass(10_000);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!waiting.is_finished());
        soon(async {
            while client.resume_hook("r", &()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(passing(&clock, waiting).await.unwrap().unwrap(), "r");
        assert_eq!(run.until_stranded(Duration::ZERO).await.unwrap(), "r");
        let none = client.get_run::<String, Error>("none").until_stranded(Duration::ZERO).await;
        assert_eq!(none.unwrap_err().code(), Code::RunNotFound);
        engine.shutdown().await.unwrap();
    }

    async fn engines_report_what_is_stranded_once(place: Place) {
        let (place, lab, clock) = (patient(place), Lab::new(), ManualClock::right());
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        let one = place.builder(&lab).deployment("v1").open().await.unwrap();
        one.start(waits, "bound".to_owned()).id("bound").deployment("v1").await.unwrap();
        one.shutdown().await.unwrap();
        let (noting, failed) = (lab.clone(), AtomicBool::new(false));
        let two = place.builder_at(&lab, &clock).deployment("v2").on_stranded(move |stranded: Stranded| {
            noting.note(&stranded.to_string());
            // It is called again.
            let fails = matches!(stranded, Stranded::NoQueue { .. }) && !failed.swap(true, Ordering::SeqCst);
            std::future::ready(if fails { Err(Error::new("not now")) } else { Ok(()) })
        });
        let two = two.open().await.unwrap();
        let deployment = "deployment `v1`, to which runs are bound, has no live worker";
        noted(&clock, &lab, deployment, 1).await;
        assert_eq!(lab.notes(), [deployment]);
        // What can be executed is not reported, however long it waits.
        two.start(waits, "free".to_owned()).id("free").await.unwrap();
        two.start(queues, ()).id("queues").await.unwrap();
        let queue = "no live worker takes the steps of queue `stranded`";
        noted(&clock, &lab, queue, 2).await;
        looks(&clock, 5).await;
        assert_eq!((lab.count(deployment), lab.count(queue), lab.notes().len()), (1, 2, 3));
        client.drain("v2").await.unwrap();
        client.start(waits, "nobody's".to_owned()).id("nobody's").await.unwrap();
        let workflow = "no live worker takes the runs of workflow `stranded.waits`";
        noted(&clock, &lab, workflow, 1).await;
        // What is stranded anew is reported anew.
        client.undrain("v2").await.unwrap();
        client.release("v1").await.unwrap();
        looks(&clock, 3).await;
        client.start(waits, "again".to_owned()).id("again").deployment("v1").wait_for_deployment().await.unwrap();
        noted(&clock, &lab, deployment, 2).await;
        assert_eq!((lab.count(workflow), lab.count(queue)), (1, 2));
        assert_eq!(soon(run(&client, "again").until_stranded(Duration::ZERO)).await.unwrap_err().code(), Code::Stranded);
        two.shutdown().await.unwrap();
    }
}
