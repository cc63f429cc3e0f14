//! Runs that hold everything at once (an accepted payload, chunks, attributes, a child with an id, an open suspension) when
//! they are retried, forked, evicted, cancelled, rolled back or continued.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use workflow_harness::pause;
use workflow_runtime::{
    Code, Engine, Error, OutputChunk, Result, Run, Status, Suspended, hook, remove_attribute, set_attribute, step,
    suspend, workflow, writer,
};

use crate::support::{Lab, Place, soon};

const QUEUE: &str = "crossings";

/// Writes to the stream `log`, and fails if its name begins with `broken` until the test has noted `repaired`.
#[step(retries = 0)]
async fn works(#[resource] lab: &Lab, name: String) -> Result<String> {
    let done = format!("{name} {}", lab.note(&name));
    writer("log").write(&done).await?;
    if name.starts_with("broken") {
        lab.pass_gate(&name).await;
        if lab.count("repaired") == 0 {
            return Err(Error::new("it is broken"));
        }
    }
    Ok(done)
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, done: String) -> Result<()> {
    writer("log").write(&format!("undo {done}")).await?;
    lab.note(&format!("undo {done}"));
    Ok(())
}

#[step]
async fn asks(#[resource] lab: &Lab, question: String) -> Result<u32> {
    writer("log").write(&format!("ask {}", lab.note(&question))).await?;
    suspend(&question).label(&question).await
}

#[step(queue = "crossings")]
async fn asks_elsewhere(#[resource] lab: &Lab, question: String) -> Result<u32> {
    writer("log").write(&format!("ask {}", lab.note(&question))).await?;
    suspend(&question).label(&question).await
}

#[workflow]
async fn kid(name: String) -> Result<String> {
    works(name).await
}

/// Takes a payload, and asks beside a step that is broken.
#[workflow]
async fn holds_everything(elsewhere: bool, undo: bool) -> Result<(String, u32, String, u32)> {
    set_attribute("stage", "begun")?;
    let number = hook::<u32>().token("numbers").await?;
    let early = works("early".into());
    let early = if undo { early.rollback(undoes).await? } else { early.await? };
    let child = kid("child".into()).id("kid").attribute("of", "it").await?;
    set_attribute("stage", "asks")?;
    writer("log").write(&"workflow".to_owned()).await?;
    let asked = async {
        match elsewhere {
            true => asks_elsewhere("question".into()).await,
            false => asks("question".into()).await,
        }
    };
    let (answer, _) = tokio::try_join!(asked, works("broken".into()))?;
    remove_attribute("stage")?;
    Ok((early, number, child, answer))
}

/// In each generation takes a payload and asks a question; drops the question of the first.
#[workflow]
async fn asks_in_each_generation(last: bool, mut taken: Vec<u32>) -> Result<(Vec<u32>, u32, String)> {
    set_attribute("generation", if last { "second" } else { "first" })?;
    taken.push(hook::<u32>().token("numbers").await?);
    let child = kid("child".into()).id("kid").await?;
    let question = asks("question".into());
    if last {
        return Ok((taken, question.await?, child));
    }
    let mut next = hook::<()>().token("next").open();
    tokio::select! {
        biased;
        told = &mut next => told?,
        _ = question => {}
    }
    asks_in_each_generation(true, taken).continue_as_new().await
}

/// Its child with an id fails, after a step that rollbacks undo.
#[workflow]
async fn has_a_broken_child(undo: bool) -> Result<Vec<String>> {
    let early = works("early".into());
    let early = if undo { early.rollback(undoes).await? } else { early.await? };
    Ok(vec![early, kid("broken".into()).id("kid").await?])
}

type Everything = Run<(String, u32, String, u32)>;

async fn open(place: &Place, lab: &Lab) -> Engine {
    place.builder(lab).queue(QUEUE, 4).replay_every_turn().open().await.unwrap()
}

async fn send(engine: &Engine, number: u32, key: &str) -> Result<()> {
    engine.resume_hook("numbers", &number).idempotency_key(key).await
}

/// The suspension of a run that waits for an answer.
async fn suspended<T, E>(run: &Run<T, E>) -> Suspended {
    soon(async {
        loop {
            match run.suspended().await.unwrap().pop() {
                Some(suspended) => return suspended,
                None => pause().await,
            }
        }
    })
    .await
}

/// The key of the payload of a run. A key is known for a while after the end of its run.
fn key(elsewhere: bool) -> &'static str {
    if elsewhere { "elsewhere" } else { "here" }
}

/// Starts the run, and lets it hold everything.
async fn held(engine: &Engine, elsewhere: bool, undo: bool) -> (Everything, Suspended) {
    let start = engine.start(holds_everything, (elsewhere, undo)).id("run").attribute("order", "7");
    let run = start.opens("numbers").await.unwrap();
    send(engine, 7, key(elsewhere)).await.unwrap();
    let suspended = suspended(&run).await;
    (run, suspended)
}

/// The chunks of the stream `log` so far, discarded ones in brackets.
async fn log<T, E>(run: &Run<T, E>) -> Vec<String> {
    let tail = run.stream::<String>("log").tail().await.unwrap().map_or(0, |tail| tail + 1);
    let mut chunks = run.stream::<String>("log");
    let mut log = Vec::new();
    for _ in 0..tail {
        let chunk = soon(chunks.try_next()).await.unwrap().unwrap();
        log.push(if chunk.discarded { format!("({})", chunk.value) } else { chunk.value });
    }
    log.sort();
    log
}

/// The number of runs with this attribute.
async fn found(engine: &Engine, key: &str, value: &str) -> u64 {
    engine.runs().attribute(key, value).count().await.unwrap().values().sum()
}

async fn code(answer: impl IntoFuture<Output = Result<()>>) -> Option<Code> {
    soon(answer).await.err().map(|error| error.code())
}

/// Deletes the runs, so that another round can use their ids.
async fn clear(engine: Engine, runs: &[&str]) {
    for run in runs {
        engine.get_run::<(), Error>(*run).delete().await.unwrap();
    }
    engine.shutdown().await.unwrap();
}

on_each_store! {
    async fn a_retried_run_keeps_all_that_it_has(place: Place) {
        for elsewhere in [false, true] {
            let lab = Lab::new();
            let engine = open(&place, &lab).await;
            let (run, before) = held(&engine, elsewhere, false).await;
            lab.open_gate("broken");
            assert_eq!(soon(&run).await.unwrap_err().to_string(), "it is broken");
            // The failed run accepts a repetition and nothing else.
            assert_eq!(code(send(&engine, 7, key(elsewhere))).await, None);
            assert_eq!(code(send(&engine, 8, "another")).await, Some(Code::HookFinished));
            // The step of the queue ends after its caller.
            soon(async { while !run.suspended().await.unwrap().is_empty() { pause().await } }).await;
            assert_eq!(code(run.resume(&1).of(&before.id)).await, Some(Code::NotSuspended));
            assert_eq!((found(&engine, "stage", "asks").await, found(&engine, "of", "it").await), (1, 1));
            lab.note("repaired");
            run.retry().await.unwrap();
            let after = suspended(&run).await;
            assert_eq!(after.id, before.id, "it is the same question");
            assert_eq!(code(send(&engine, 7, key(elsewhere))).await, None);
            run.resume(&5).of(&after.id).await.unwrap();
            let done = soon(&run).await.unwrap();
            assert_eq!(done, ("early 1".to_owned(), 7, "child 1".to_owned(), 5));
            assert_eq!((lab.count("early"), lab.count("child"), lab.count("broken")), (1, 1, 2));
            let expected = ["(ask 1)", "(broken 1)", "ask 2", "broken 2", "early 1", "workflow"];
            assert_eq!(log(&run).await, expected);
            assert_eq!(run.attributes().await.unwrap().into_iter().collect::<Vec<_>>(), [("order".to_owned(), "7".to_owned())]);
            assert_eq!((found(&engine, "order", "7").await, found(&engine, "of", "it").await), (1, 1));
            assert!(run.children().await.unwrap().contains(&"kid".to_owned()));
            clear(engine, &["run", "kid"]).await;
        }
    }

    async fn a_fork_has_what_its_source_had_and_does_not_share_it(place: Place) {
        for elsewhere in [false, true] {
            let lab = Lab::new();
            let engine = open(&place, &lab).await;
            let (run, asked) = held(&engine, elsewhere, false).await;
            lab.executed("broken", 1).await;
            let broken = run.steps().await.unwrap().into_iter().find(|step| step.step.ends_with("::works") && step.input == "broken");
            let fork = run.fork(broken.unwrap().event).id("fork").await.unwrap();
            let asked_of_fork = suspended(&fork).await;
            assert_eq!((&*asked_of_fork.run, &*asked.run), ("fork", "run"));
            assert_eq!(code(send(&engine, 7, key(elsewhere))).await, None, "accepted by the source");
            lab.note("repaired");
            lab.open_gate("broken");
            let resume = |suspended: &Suspended, number: u32| engine.get_run::<(), Error>(&*suspended.run).resume(&number).of(&suspended.id).into_future();
            resume(&asked_of_fork, 6).await.unwrap();
            let done = |answer| ("early 1".to_owned(), 7, "child 1".to_owned(), answer);
            assert_eq!(soon(&fork).await.unwrap(), done(6));
            resume(&asked, 5).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), done(5));
            // The child with an id is one for both, and belongs to the source.
            assert_eq!(lab.count("child"), 1);
            assert!(!fork.children().await.unwrap().contains(&"kid".to_owned()));
            assert!(run.children().await.unwrap().contains(&"kid".to_owned()));
            assert_eq!(found(&engine, "order", "7").await, 2);
            assert_eq!(log(&fork).await.iter().filter(|chunk| *chunk == "workflow").count(), 1);
            clear(engine, &["run", "fork", "kid"]).await;
        }
    }

    async fn an_evicted_run_keeps_all_that_it_has(place: Place) {
        for elsewhere in [false, true] {
            let lab = Lab::new();
            let builder = || place.builder(&lab).queue(QUEUE, 4).evict_after(Duration::ZERO);
            let engine = builder().open().await.unwrap();
            let (run, _) = held(&engine, elsewhere, false).await;
            lab.note("repaired");
            lab.open_gate("broken");
            // Now the run waits for nothing but the answer.
            soon(async {
                while !place.journal("run").await.concat().contains("broken 1") {
                    pause().await;
                }
            })
            .await;
            assert_eq!(code(send(&engine, 7, key(elsewhere))).await, None);
            assert_eq!(code(send(&engine, 8, "another")).await, Some(Code::HookDisposed));
            engine.shutdown().await.unwrap();
            let engine = builder().open().await.unwrap();
            let run: Everything = engine.get_run(run.id());
            assert_eq!(code(send(&engine, 7, key(elsewhere))).await, None);
            let asked = suspended(&run).await;
            assert_eq!(run.attributes().await.unwrap()["stage"], "asks");
            engine.get_run::<(), Error>(&*asked.run).resume(&5).of(&asked.id).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), ("early 1".to_owned(), 7, "child 1".to_owned(), 5));
            assert_eq!(log(&run).await, ["(ask 1)", "ask 2", "broken 1", "early 1", "workflow"]);
            assert_eq!((lab.count("early"), lab.count("child")), (1, 1));
            clear(engine, &["run", "kid"]).await;
        }
    }

    async fn a_cancelled_run_that_is_retried_asks_again(place: Place) {
        for elsewhere in [false, true] {
            let lab = Lab::new();
            let engine = open(&place, &lab).await;
            let (run, before) = held(&engine, elsewhere, false).await;
            lab.executed("broken", 1).await;
            assert!(soon(run.cancel("enough")).await.unwrap());
            // The step of the queue ends after its caller.
            soon(async { while !run.suspended().await.unwrap().is_empty() { pause().await } }).await;
            let refused = code(engine.get_run::<(), Error>(&*before.run).resume(&1).of(&before.id)).await;
            assert!([Some(Code::NotSuspended), Some(Code::AlreadyResumed)].contains(&refused), "{refused:?}");
            assert_eq!(code(send(&engine, 7, key(elsewhere))).await, None);
            lab.note("repaired");
            lab.open_gate("broken");
            run.retry().await.unwrap();
            let asked = suspended(&run).await;
            assert_eq!(asked.id, before.id, "it is the same question");
            engine.get_run::<(), Error>(&*asked.run).resume(&5).of(&asked.id).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), ("early 1".to_owned(), 7, "child 1".to_owned(), 5));
            assert_eq!((lab.count("early"), lab.count("child"), found(&engine, "of", "it").await), (1, 1, 1));
            assert_eq!(log(&run).await.iter().filter(|chunk| chunk.starts_with("broken")).count(), 1);
            clear(engine, &["run", "kid"]).await;
        }
    }

    async fn a_run_that_was_rolled_back_and_is_retried_does_all_again(place: Place) {
        let lab = Lab::new();
        let engine = open(&place, &lab).await;
        let (run, before) = held(&engine, false, true).await;
        lab.open_gate("broken");
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "it is broken");
        assert_eq!(lab.count("undo early 1"), 1);
        lab.note("repaired");
        run.retry().await.unwrap();
        // The run has taken the payload before the step that was undone.
        let after = suspended(&run).await;
        assert_ne!(after.id, before.id);
        run.resume(&5).of(&after.id).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ("early 2".to_owned(), 7, "child 1".to_owned(), 5));
        assert_eq!((lab.count("early"), lab.count("child")), (2, 1));
        assert_eq!(code(send(&engine, 7, key(false))).await, None);
        assert_eq!(found(&engine, "of", "it").await, 1);
    }

    async fn a_failed_child_with_an_id_continues_also_behind_an_undone_step(place: Place) {
        for undo in [false, true] {
            let lab = Lab::new();
            lab.open_gate("broken");
            let engine = open(&place, &lab).await;
            let run = engine.start(has_a_broken_child, undo).id("run").await.unwrap();
            assert_eq!(soon(&run).await.unwrap_err().to_string(), "it is broken");
            assert_eq!(lab.count("undo early 1"), usize::from(undo));
            lab.note("repaired");
            run.retry().await.unwrap();
            let early = if undo { "early 2" } else { "early 1" };
            assert_eq!(soon(&run).await.unwrap(), [early, "broken 2"]);
            assert_eq!(run.children().await.unwrap(), ["kid"]);
            assert_eq!(engine.get_run::<String, Error>("kid").status().await.unwrap(), Status::Completed);
            clear(engine, &["run", "kid"]).await;
        }
    }

    async fn the_next_generation_takes_only_what_is_meant_for_it(place: Place) {
        let lab = Lab::new();
        let engine = open(&place, &lab).await;
        let start = engine.start(asks_in_each_generation, (false, Vec::new())).id("run").attribute("order", "7");
        let run = start.opens("numbers").await.unwrap();
        send(&engine, 1, "first").await.unwrap();
        let first = suspended(&run).await;
        assert_eq!(code(send(&engine, 1, "first")).await, None);
        engine.resume_hook("next", &()).await.unwrap();
        soon(async { while send(&engine, 2, "second").await.is_err() { pause().await } }).await;
        for (number, key) in [(1, "first"), (2, "second"), (1, "first")] {
            assert_eq!(code(send(&engine, number, key)).await, None);
        }
        let second = suspended(&run).await;
        assert_ne!(first.id, second.id);
        assert_eq!(code(run.resume(&8).of(&first.id)).await, Some(Code::NotSuspended), "the question of the first generation");
        run.resume(&5).of(&second.id).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), (vec![1, 2], 5, "child 1".to_owned()));
        assert_eq!(lab.count("child"), 1, "the child with an id is one for both generations");
        assert_eq!(log(&run).await, ["(ask 1)", "(ask 2)", "ask 3"]);
        assert_eq!((found(&engine, "generation", "second").await, found(&engine, "generation", "first").await), (1, 0));
        assert_eq!(found(&engine, "order", "7").await, 1);
    }

    async fn an_output_writer_takes_the_chunks_of_all_attempts_of_its_start(place: Place) {
        let lab = Lab::new();
        let engine = open(&place, &lab).await;
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let takes = taken.clone();
        let start = engine.start(holds_everything, (false, true)).id("run").opens("numbers");
        let start = start.output_writer(move |chunk: OutputChunk| {
            let takes = takes.clone();
            async move {
                takes.lock().unwrap().push(chunk.get()?);
                Ok(())
            }
        });
        let run = start.await.unwrap();
        send(&engine, 7, key(false)).await.unwrap();
        suspended(&run).await;
        lab.open_gate("broken");
        assert!(soon(&run).await.is_err());
        let mut written = taken.lock().unwrap().clone();
        written.sort();
        assert_eq!(written, ["ask 1", "broken 1", "early 1", "undo early 1"], "neither the workflow nor the child");
    }
}
