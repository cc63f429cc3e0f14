//! Steps that workers of a queue execute, and clients that execute nothing.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Chunk, Client, Code, Engine, Error, Failure, Result, Run, Status, heartbeat, hook, sleep, step, step_info, suspend,
    timeout, workflow, writer,
};

use crate::support::{Lab, ManualClock, soon};

/// A resource that only the workers of the queue `tpu` have.
#[derive(Clone)]
struct Tpu;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Broken {
    Burnt { at: u32 },
    Other(String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Other(error.to_string())
    }
}

impl Failure for Broken {
    fn is_fatal(&self) -> bool {
        matches!(self, Broken::Burnt { .. })
    }
}

/// A place of a queue that an attempt occupies until this is dropped.
struct Occupied(Lab);

impl Occupied {
    fn by_attempt(lab: &Lab) -> Self {
        lab.note("begins");
        Occupied(lab.clone())
    }

    /// The greatest number of attempts at a time.
    fn most(lab: &Lab) -> usize {
        let (mut now, mut most) = (0, 0);
        for note in lab.notes() {
            match &*note {
                "begins" => now += 1,
                "ends" => now -= 1,
                _ => {}
            }
            most = most.max(now);
        }
        most
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.note("ends");
    }
}

#[step(queue = "gpu")]
async fn occupies(#[resource] lab: &Lab, name: String) -> Result<()> {
    let _place = Occupied::by_attempt(lab);
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[workflow]
async fn one_place(name: String) -> Result<()> {
    occupies(name).await
}

#[step(queue = "gpu")]
async fn render(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(format!("picture of {name}"))
}

#[step(queue = "gpu", retries = 5, backoff = "1ms..2ms")]
async fn flickers(#[resource] lab: &Lab, failures: usize) -> Result<usize> {
    let attempt = lab.note("flickers");
    if attempt <= failures { Err(Error::new("no picture")) } else { Ok(attempt) }
}

#[step(queue = "gpu")]
async fn burns(at: u32) -> Result<(), Broken> {
    Err(Broken::Burnt { at })
}

#[step(queue = "gpu")]
async fn reports() -> Result<(String, String)> {
    let frames = writer::<u32>("frames");
    frames.write(&1).await?;
    frames.write(&2).await?;
    let info = step_info().ok_or_else(|| Error::new("in a step"))?;
    Ok((info.run, info.idempotency_key))
}

#[step(queue = "gpu", retries = 1, backoff = "0ms..0ms", heartbeat = "10s")]
async fn falls_silent(#[resource] lab: &Lab, beats: usize) -> Result<usize> {
    let attempt = lab.note("falls silent");
    for beat in 0..beats {
        lab.pass_gate(&format!("beat {attempt}.{beat}")).await;
        heartbeat();
        lab.note(&format!("beaten {attempt}.{beat}"));
    }
    if attempt == 1 { std::future::pending().await } else { Ok(attempt) }
}

#[step(queue = "gpu", retries = 1, backoff = "3600s..3600s")]
async fn fails_first(#[resource] lab: &Lab) -> Result<()> {
    let _place = Occupied::by_attempt(lab);
    match lab.note("fails first") {
        1 => Err(Error::retry_after(Duration::from_secs(3600))),
        _ => Ok(()),
    }
}

#[step(queue = "gpu")]
async fn asks(#[resource] lab: &Lab) -> Result<u32> {
    let _place = Occupied::by_attempt(lab);
    lab.note("asks");
    suspend(&"how many?".to_owned()).label("asks").await
}

#[step(queue = "tpu")]
async fn multiplies(#[resource] _tpu: &Tpu, a: u64, b: u64) -> Result<u64> {
    Ok(a * b)
}

#[step]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[workflow]
async fn one(name: String) -> Result<String> {
    render(name).await
}

#[workflow]
async fn writes() -> Result<()> {
    writer::<u32>("written").write(&1).await
}

#[workflow]
async fn naps() -> Result<()> {
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Passes a second, with a run that has to be claimed for it.
async fn due_again(engine: &Engine, clock: &ManualClock) {
    let run = engine.start(naps, ()).await.unwrap();
    clock.pass(1_000);
    soon(run).await.unwrap();
}

#[workflow]
async fn two_attempts() -> Result<()> {
    fails_first().await
}

#[workflow]
async fn asked() -> Result<u32> {
    asks().await
}

#[workflow]
async fn many(names: Vec<String>) -> Result<usize> {
    let pictures = join_all(names.into_iter().map(render)).await;
    Ok(pictures.into_iter().collect::<Result<Vec<_>>>()?.len())
}

#[workflow]
async fn tries_again(failures: usize) -> Result<usize> {
    flickers(failures).await
}

#[workflow]
async fn burnt() -> Result<Result<(), Broken>> {
    Ok(burns(90).await)
}

#[workflow]
async fn reports_all() -> Result<(String, String)> {
    let reported = reports().await?;
    hook::<()>().token("reported").await?;
    Ok(reported)
}

#[workflow]
async fn loses(name: String) -> Result<String> {
    match timeout(Duration::from_millis(1), render(name.clone())).await {
        Ok(picture) => picture,
        Err(_) => Ok(format!("no {name}")),
    }
}

#[workflow]
async fn undoes_all() -> Result<()> {
    render("first".into()).rollback(|picture| undoes(format!("undo {picture}"))).await?;
    let second = render("second".into()).rollback(|picture| undoes(format!("undo {picture}")));
    let failing = async { hook::<()>().token("fail").await.and_then(|()| Err::<(), _>(Error::fatal("enough"))) };
    tokio::try_join!(second, failing).map(drop)
}

#[workflow]
async fn product(a: u64, b: u64) -> Result<u64> {
    multiplies(a, b).await
}

#[workflow]
async fn beats(beats: usize) -> Result<usize> {
    falls_silent(beats).await
}

async fn child_of<T, E>(run: &Run<T, E>) -> String {
    run.children().await.unwrap().remove(0)
}

on_each_store! {
    async fn a_step_waits_for_a_worker_that_serves_its_queue(place: Place) {
        let lab = Lab::new();
        lab.open_gate("cat");
        let engine = place.open(&lab).await;
        let run = engine.start(one, "cat".into()).id("run").await.unwrap();
        assert_eq!(run.status().await.unwrap(), Status::Suspended);
        let step: Run<String> = engine.get_run(child_of(&run).await);
        let reasons = step.waiting().await.unwrap();
        assert_eq!(reasons.len(), 1);
        let reason = reasons[0].to_string();
        assert!(reason.starts_with("no live worker serves the queue `gpu` of step "), "{reason}");
        drop((engine, run, step));
        assert_eq!(lab.count("cat"), 0);
        let engine = place.builder(&lab).queue("gpu", 1).replay_every_turn().open().await.unwrap();
        assert_eq!(engine.get_run::<String, Error>("run").await.unwrap(), "picture of cat");
        assert_eq!(lab.count("cat"), 1);
    }

    async fn a_queue_limits_its_concurrent_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 2).replay_every_turn().open().await.unwrap();
        let names: Vec<String> = (0..6).map(|number| format!("picture {number}")).collect();
        let run = engine.start(many, names.clone()).await.unwrap();
        let mut done: Vec<String> = Vec::new();
        while done.len() < names.len() {
            let want = names.len().min(done.len() + 2);
            let begun = loop {
                let begun: Vec<String> = lab.notes();
                if begun.len() >= want {
                    break begun;
                }
                workflow_harness::pause().await;
            };
            assert_eq!(begun.len(), want, "{begun:?}");
            let next = begun.into_iter().find(|name| !done.contains(name)).unwrap();
            lab.open_gate(&next);
            done.push(next);
        }
        assert_eq!(run.await.unwrap(), 6);
    }

    async fn a_step_in_backoff_frees_its_place_in_the_queue(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000_000));
        let engine = place.builder_at(&lab, &clock).queue("gpu", 1).open().await.unwrap();
        let first = engine.start(two_attempts, ()).await.unwrap();
        soon(lab.executed("fails first", 1)).await;
        lab.open_gate("cat");
        let second = engine.start(one_place, "cat".into()).await.unwrap();
        soon(&second).await.unwrap();
        // The step waits in the queue again when its backoff is over.
        let third = engine.start(one_place, "dog".into()).await.unwrap();
        soon(lab.executed("dog", 1)).await;
        clock.set(1_000_000 + 3_600_000);
        let fourth = engine.start(one_place, "cat".into()).await.unwrap();
        // The engine looks for due runs again, and would find the step.
        due_again(&engine, &clock).await;
        assert_eq!(lab.count("fails first"), 1);
        lab.open_gate("dog");
        soon(&third).await.unwrap();
        soon(&first).await.unwrap();
        soon(&fourth).await.unwrap();
        assert_eq!((lab.count("fails first"), Occupied::most(&lab)), (2, 1));
    }

    async fn a_suspended_step_frees_its_place_in_the_queue(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 1).replay_every_turn().open().await.unwrap();
        let first = engine.start(asked, ()).id("run").await.unwrap();
        soon(lab.executed("asks", 1)).await;
        let second = engine.start(one_place, "cat".into()).await.unwrap();
        soon(lab.executed("cat", 1)).await;
        // The step waits in the queue again when it is resumed.
        soon(async {
            while first.resume(&7u32).label("asks").await.is_err() {
                workflow_harness::pause().await;
            }
        })
        .await;
        // The store has the answer, and the engine has seen it when it executes a run that was started since.
        soon(engine.start(writes, ()).await.unwrap()).await.unwrap();
        assert_eq!(lab.count("asks"), 1);
        lab.open_gate("cat");
        soon(&second).await.unwrap();
        assert_eq!((soon(&first).await.unwrap(), lab.count("asks"), Occupied::most(&lab)), (7, 2, 1));
    }

    async fn steps_of_queues_have_retries_and_typed_errors(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 4).replay_every_turn().open().await.unwrap();
        assert_eq!(engine.start(tries_again, 3).await.unwrap().await.unwrap(), 4);
        assert_eq!(engine.start(burnt, ()).await.unwrap().await.unwrap(), Err(Broken::Burnt { at: 90 }));
    }

    async fn a_step_of_a_queue_has_the_run_id_key_and_streams_of_its_caller(place: Place) {
        let engine = place.builder(&Lab::new()).queue("gpu", 4).replay_every_turn().open().await.unwrap();
        let run = engine.start(reports_all, ()).id("run").opens("reported").await.unwrap();
        let mut frames = run.stream::<u32>("frames");
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(frames.try_next().await.unwrap().map(|chunk: Chunk<u32>| chunk.value));
        }
        engine.resume_hook("reported", &()).await.unwrap();
        assert_eq!((&run).await.unwrap(), ("run".into(), "run/0/0/0".into()));
        let frames: Vec<Chunk<u32>> = run.stream("frames").try_collect().await.unwrap();
        assert_eq!((seen, frames.iter().map(|frame| frame.discarded).collect()), (vec![1, 2], vec![false, false]));
    }

    async fn a_dropped_step_is_cancelled_in_its_queue(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 4).open().await.unwrap();
        let run = engine.start(loses, "cat".into()).await.unwrap();
        assert_eq!((&run).await.unwrap(), "no cat");
        let step: Run<String> = engine.get_run(child_of(&run).await);
        assert_eq!(step.await.unwrap_err().code(), Code::Cancelled);
        let run = engine.start(one, "dog".into()).await.unwrap();
        lab.executed("dog", 1).await;
        let step: Run<String> = engine.get_run(child_of(&run).await);
        assert!(run.cancel("enough").await.unwrap());
        assert_eq!(step.await.unwrap_err().code(), Code::Cancelled);
    }

    async fn the_cancel_of_a_step_is_an_error_of_its_workflow(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 4).replay_every_turn().open().await.unwrap();
        let run = engine.start(one, "cat".into()).await.unwrap();
        lab.executed("cat", 1).await;
        let step: Run<String> = engine.get_run(child_of(&run).await);
        assert!(step.cancel("not today").await.unwrap());
        assert_eq!(run.await.unwrap_err().code(), Code::Cancelled);
    }

    async fn steps_of_a_queue_are_rolled_back(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 4).replay_every_turn().open().await.unwrap();
        lab.open_gate("first");
        let run = engine.start(undoes_all, ()).id("run").await.unwrap();
        lab.executed("second", 1).await;
        engine.resume_hook("fail", &()).hold_for(Duration::from_secs(60)).await.unwrap();
        // The second step is running, and the failure does not stop it.
        while !place.journal("run").await.concat().contains("unwinds") {
            workflow_harness::pause().await;
        }
        lab.open_gate("second");
        assert_eq!(run.await.unwrap_err().to_string(), "enough");
        let undone: Vec<String> = lab.notes().into_iter().filter(|note| note.starts_with("undo")).collect();
        assert_eq!(undone.len(), 2);
        assert!(undone.contains(&"undo picture of second".to_owned()), "{undone:?}");
    }

    async fn a_step_of_a_lost_worker_is_attempted_again(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("gpu", 1).open().await.unwrap();
        let run = engine.start(one, "cat".into()).id("run").await.unwrap();
        lab.executed("cat", 1).await;
        drop((engine, run));
        let engine = place.builder(&lab).queue("gpu", 1).open().await.unwrap();
        lab.executed("cat", 2).await;
        lab.open_gate("cat");
        assert_eq!(engine.get_run::<String, Error>("run").await.unwrap(), "picture of cat");
        assert_eq!(lab.count("cat"), 2);
    }

    async fn an_attempt_without_a_heartbeat_fails(place: Place) {
        let (lab, mut now) = (Lab::new(), 1_000_000);
        let clock = ManualClock::at(now);
        let builder = place.builder_at(&lab, &clock).queue("gpu", 1);
        let engine = builder.replay_every_turn().open().await.unwrap();
        let run = engine.start(beats, 3).await.unwrap();
        for attempt in 1..=2 {
            lab.executed("falls silent", attempt).await;
            for beat in 0..3 {
                now += 9_000;
                clock.set(now);
                lab.open_gate(&format!("beat {attempt}.{beat}"));
                lab.executed(&format!("beaten {attempt}.{beat}"), 1).await;
            }
            now += 10_000;
            clock.set(now);
        }
        assert_eq!(run.await.unwrap(), 2);
    }

    async fn only_workers_of_a_queue_need_the_resources_of_its_steps(place: Place) {
        let lab = Lab::new();
        let error = place.builder(&lab).queue("tpu", 1).open().await.unwrap_err();
        assert_eq!(error.code(), Code::MissingResource);
        assert!(error.to_string().contains("Tpu") || format!("{error:?}").contains("Tpu"), "{error:?}");
        let engine = place.builder(&lab).queue("tpu", 1).resource(Tpu).open().await.unwrap();
        assert_eq!(engine.start(product, (6, 7)).await.unwrap().await.unwrap(), 42);
        let error = place.builder(&lab).queue("gpus", 1).open().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidName);
        let known = format!("{error:?}");
        assert!(known.contains(" gpu, ") && known.contains(" tpu"), "{known}");
    }

    async fn a_client_executes_nothing(place: Place) {
        let lab = Lab::new();
        lab.open_gate("cat");
        let client: Client = Engine::builder().store(place.store()).connect().await.unwrap();
        let run = client.start(one, "cat".into()).id("run").opens("reported").await.unwrap();
        assert_eq!(run.status().await.unwrap(), Status::Pending);
        let other = client.start(reports_all, ()).opens("reported").await.unwrap();
        client.resume_hook("reported", &()).hold_for(Duration::from_secs(60)).await.unwrap();
        let engine = place.builder(&lab).queue("gpu", 1).open().await.unwrap();
        assert_eq!((&run).await.unwrap(), "picture of cat");
        let info = run.info().await.unwrap();
        assert_eq!((info.status, info.id.as_str()), (Status::Completed, "run"));
        drop(other);
        engine.shutdown().await.unwrap();
        let late = client.start(one, "dog".into()).await.unwrap();
        assert_eq!(late.status().await.unwrap(), Status::Pending);
    }
}

case! {
    async fn a_step_of_a_queue_outside_a_run_is_executed_at_once() {
        assert_eq!(burns(7).await, Err(Broken::Burnt { at: 7 }));
    }
}
