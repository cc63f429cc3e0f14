//! Streams that runs write.

use std::sync::{Arc, Mutex};

use futures::{FutureExt, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use workflow_runtime::store::{AppendChunk, Turn, Write};
use workflow_runtime::{
    Chunk, ChunkWriter, Code, Engine, Error, Result, Run, nondeterministic, spawn, step, workflow, writer,
};

use crate::support::{Faulty, Lab, When};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Progress {
    file: String,
    percent: f64,
}

#[step]
async fn counts(#[resource] lab: &Lab, from: u32, to: u32) -> Result<()> {
    for number in from..to {
        writer("numbers").write(&number).await?;
        lab.note("written");
    }
    Ok(())
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[step(backoff = "0ms..0ms")]
async fn fails_once(#[resource] lab: &Lab) -> Result<()> {
    let numbers = writer("numbers");
    let attempt = lab.note("attempt") as u32;
    numbers.write(&attempt).await?;
    if attempt == 1 {
        numbers.close().await?;
        return Err(Error::new("the first attempt fails"));
    }
    numbers.write(&attempt).await
}

#[step]
async fn writes_and_waits(#[resource] lab: &Lab) -> Result<()> {
    writer("numbers").write(&(lab.note("attempt") as u32)).await?;
    lab.note("waiting");
    lab.pass_gate("go on").await;
    Ok(())
}

#[workflow]
async fn counting(from: u32, to: u32) -> Result<()> {
    counts(from, to).await
}

#[workflow]
async fn writes() -> Result<()> {
    let numbers = writer::<u32>("numbers");
    numbers.write(&0).await?;
    counts(1, 3).await?;
    numbers.write(&3).await?;
    gated("middle".into()).await?;
    let branch = spawn(async { writer::<u32>("numbers").write(&4).await });
    branch.await?;
    writer("progress").write(&Progress { file: "a".into(), percent: 0.5 }).await?;
    numbers.write(&5).await
}

#[workflow]
async fn retries() -> Result<()> {
    fails_once().await
}

#[workflow]
async fn dies_once() -> Result<()> {
    writes_and_waits().await
}

#[workflow]
async fn closes() -> Result<u32> {
    let numbers = writer::<u32>("numbers");
    numbers.write(&1).await?;
    numbers.close().await?;
    let codes = [numbers.write(&2).await.unwrap_err().code(), numbers.close().await.unwrap_err().code()];
    assert_eq!(codes, [Code::StreamClosed; 2]);
    let error = counts(2, 3).retries(0).await.unwrap_err();
    assert_eq!(error.code(), Code::StreamClosed);
    gated("closed".into()).await?;
    Ok(1)
}

#[workflow]
async fn waits_first() -> Result<()> {
    gated("first".into()).await?;
    counts(0, 2).await?;
    gated("second".into()).await
}

#[workflow]
async fn writes_late() -> Result<()> {
    gated("first".into()).await?;
    writer("numbers").write(&7u32).await?;
    gated("second".into()).await
}

#[step]
async fn inner() -> Result<()> {
    writer("numbers").write(&1u32).await
}

#[step]
async fn outer() -> Result<()> {
    inner().await?;
    let numbers = writer("numbers");
    tokio::spawn(async move { numbers.write(&2u32).await }).await?
}

#[workflow]
async fn nested() -> Result<()> {
    outer().await?;
    nondeterministic(async { writer("numbers").write(&3u32).await }).await?
}

#[step]
fn outlives(#[resource] lab: &Lab) -> Result<()> {
    let (lab, numbers) = (lab.clone(), writer("numbers"));
    tokio::spawn(async move {
        lab.pass_gate("late").await;
        lab.note(numbers.write(&1u32).await.unwrap_err().code().as_str());
    });
    Ok(())
}

#[workflow]
async fn leaves_a_task() -> Result<()> {
    outlives().await?;
    gated("end".into()).await
}

#[workflow]
async fn odd_values() -> Result<()> {
    let refused = writer::<f64>("numbers").write(&f64::NAN).await.unwrap_err();
    assert_eq!(refused.code(), Code::Payload);
    let refused = writer::<String>("numbers").write(&"x".repeat(1 << 20)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PayloadTooLarge);
    let refused = writer::<u32>("a\nb").write(&1).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidName);
    writer::<Option<u32>>("nothing").write(&None).await?;
    writer::<()>("nothing").close().await
}

async fn numbers<T>(run: &Run<T>) -> Vec<u32> {
    run.stream("numbers").map_ok(|chunk: Chunk<u32>| chunk.value).try_collect().await.unwrap()
}

fn writes_chunk(group: &[Write]) -> bool {
    group.iter().any(|write| matches!(write, Write::AppendChunk(AppendChunk { .. })))
}

on_each_store! {
    async fn steps_and_workflows_write_and_a_replay_writes_nothing_again(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(writes, ()).id("run").await.unwrap();
        lab.executed("middle", 1).await;
        drop((run, engine));
        lab.open_gate("middle");
        let engine = place.open(&lab).await;
        let run = engine.get_run::<(), Error>("run");
        (&run).await.unwrap();
        assert_eq!(numbers(&run).await, [0, 1, 2, 3, 4, 5]);
        assert_eq!(run.streams().await.unwrap(), ["numbers", "progress"]);
        let chunks: Vec<Chunk<u32>> = run.stream("numbers").try_collect().await.unwrap();
        for (chunk, index) in chunks.iter().zip(0..) {
            assert_eq!((chunk.index, chunk.discarded), (index, false));
            match (&chunk.writer, index) {
                (Some(ChunkWriter { operation, step, attempt, epoch, .. }), 1 | 2) => {
                    assert_eq!((*operation, *attempt, *epoch), (0, 1, 1));
                    assert!(step.ends_with("::counts"), "{step}");
                }
                (writer, _) => assert_eq!(*writer, None),
            }
        }
        let progress: Vec<Chunk<Progress>> = run.stream("progress").try_collect().await.unwrap();
        assert_eq!(progress[0].value, Progress { file: "a".into(), percent: 0.5 });
    }

    async fn chunks_of_a_failed_attempt_are_discarded(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(retries, ()).await.unwrap();
        (&run).await.unwrap();
        let chunks: Vec<Chunk<u32>> = run.stream("numbers").try_collect().await.unwrap();
        let seen: Vec<_> = chunks.iter().map(|chunk| (chunk.value, chunk.discarded)).collect();
        assert_eq!(seen, [(1, true), (2, false), (2, false)], "the close of the failed attempt is discarded");
        let attempts = chunks.iter().map(|chunk| match &chunk.writer {
            Some(ChunkWriter { attempt, .. }) => *attempt,
            _ => 0,
        });
        assert_eq!(attempts.collect::<Vec<_>>(), [1, 2, 2]);
    }

    async fn chunks_of_an_attempt_that_a_crash_interrupted_are_discarded(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(dies_once, ()).id("run").await.unwrap();
        lab.executed("waiting", 1).await;
        drop((run, engine));
        let engine = place.open(&lab).await;
        let run = engine.get_run::<(), Error>("run");
        lab.executed("waiting", 2).await;
        let chunks: Vec<Chunk<u32>> = run.stream("numbers").take(2).try_collect().await.unwrap();
        let seen = |chunk: &Chunk<u32>| match &chunk.writer {
            Some(ChunkWriter { attempt, epoch, .. }) => (chunk.value, *attempt, *epoch, chunk.discarded),
            _ => (0, 0, 0, false),
        };
        assert_eq!(chunks.iter().map(seen).collect::<Vec<_>>(), [(1, 1, 1, true), (2, 1, 2, false)]);
        lab.open_gate("go on");
        run.clone().await.unwrap();
        let chunks: Vec<Chunk<u32>> = run.stream("numbers").try_collect().await.unwrap();
        assert_eq!(chunks.iter().map(seen).collect::<Vec<_>>(), [(1, 1, 1, true), (2, 1, 2, false)]);
    }

    async fn a_reader_can_start_at_any_chunk(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(counting, (0, 10)).await.unwrap();
        (&run).await.unwrap();
        for (from, first) in [(0, 0), (3, 3), (-1, 9), (-3, 7), (-10, 0), (-11, 0), (i64::MIN, 0), (10, 10), (i64::MAX, 10)] {
            let read: Vec<Chunk<u32>> = run.stream("numbers").from(from).try_collect().await.unwrap();
            let read: Vec<u32> = read.iter().map(|chunk| chunk.value).collect();
            assert_eq!(read, (first..10).collect::<Vec<u32>>(), "from {from}");
        }
        assert_eq!(run.stream::<u32>("numbers").tail().await.unwrap(), Some(9));
        assert_eq!(run.stream::<u32>("others").tail().await.unwrap(), None);
    }

    async fn a_long_stream_is_read_page_by_page(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(counting, (0, 600)).await.unwrap();
        (&run).await.unwrap();
        assert_eq!(numbers(&run).await, (0..600).collect::<Vec<_>>());
    }

    async fn a_close_ends_readers_and_refuses_writers(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(closes, ()).await.unwrap();
        lab.executed("closed", 1).await;
        assert_eq!(numbers(&run).await, [1]);
        lab.open_gate("closed");
        run.await.unwrap();
    }

    async fn a_reader_waits_for_the_first_chunk_and_the_end_of_the_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(waits_first, ()).await.unwrap();
        let mut reader = run.stream::<u32>("numbers");
        let mut other = run.stream::<u32>("never written");
        assert!(reader.next().now_or_never().is_none() && other.next().now_or_never().is_none());
        drop(run.stream::<u32>("numbers"));
        lab.open_gate("first");
        for number in 0..2 {
            assert_eq!(reader.next().await.unwrap().unwrap().value, number);
        }
        assert!(reader.next().now_or_never().is_none(), "the run has not ended");
        lab.open_gate("second");
        assert!(reader.next().await.is_none() && other.next().await.is_none());
        assert!(reader.next().await.is_none());
    }

    async fn a_reader_gets_a_workflows_chunks_without_delay(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(writes_late, ()).await.unwrap();
        let mut reader = run.stream::<u32>("numbers");
        assert!(reader.next().now_or_never().is_none());
        lab.open_gate("first");
        assert_eq!(reader.next().await.unwrap().unwrap().value, 7);
        lab.open_gate("second");
        assert!(reader.next().await.is_none());
    }

    async fn another_engine_reads_an_unfinished_stream(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = place.open(&lab).await;
        let run = engine.start(waits_first, ()).id("run").await.unwrap();
        let mut reader = client.get_run::<(), Error>("run").stream::<u32>("numbers");
        assert!(reader.next().now_or_never().is_none());
        lab.open_gate("first");
        for number in 0..2 {
            assert_eq!(reader.next().await.unwrap().unwrap().value, number);
        }
        lab.open_gate("second");
        assert!(reader.next().await.is_none());
        run.await.unwrap();
    }

    async fn inner_steps_and_tasks_write_as_their_outer_step(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(nested, ()).await.unwrap();
        (&run).await.unwrap();
        let chunks: Vec<Chunk<u32>> = run.stream("numbers").try_collect().await.unwrap();
        let seen = chunks.iter().map(|chunk| match &chunk.writer {
            Some(ChunkWriter { operation, step, .. }) => (*operation, step.rsplit("::").next().unwrap().to_owned()),
            _ => (99, String::new()),
        });
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen, [(0, "outer".into()), (0, "outer".into()), (1, "nondeterministic".into())]);
        assert!(chunks.iter().all(|chunk| !chunk.discarded));
    }

    async fn an_attempt_that_is_over_writes_nothing(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves_a_task, ()).await.unwrap();
        lab.executed("end", 1).await;
        lab.open_gate("late");
        lab.executed("attempt_over", 1).await;
        lab.open_gate("end");
        run.clone().await.unwrap();
        assert!(numbers(&run).await.is_empty());
    }

    async fn invalid_writes_and_reads_are_errors_with_their_reason(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(odd_values, ()).await.unwrap();
        (&run).await.unwrap();
        assert_eq!(run.streams().await.unwrap(), ["nothing"]);
        let nothing: Vec<Chunk<Option<u32>>> = run.stream("nothing").try_collect().await.unwrap();
        assert_eq!(nothing[0].value, None);
        let mut wrong = run.stream::<bool>("nothing");
        let error = wrong.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Payload);
        assert!(format!("{error:?}").contains("chunk 0 of the stream `nothing`"), "{error:?}");
        assert!(wrong.next().await.is_none());
        let error = writer("numbers").write(&1u32).await.unwrap_err();
        assert_eq!(error.code(), Code::OutsideRun);
        assert!(format!("{error:?}").contains("streams.rs") && format!("{error:?}").contains("help: "), "{error:?}");
        let nobody = engine.get_run::<(), Error>("nobody");
        let codes = [
            nobody.stream::<u32>("numbers").next().await.unwrap().unwrap_err().code(),
            nobody.stream::<u32>("numbers").from(-1).next().await.unwrap().unwrap_err().code(),
            nobody.stream::<u32>("numbers").tail().await.unwrap_err().code(),
            nobody.streams().await.unwrap_err().code(),
        ];
        assert_eq!(codes, [Code::RunNotFound; 4]);
    }

    async fn a_write_returns_once_it_is_durable(place: Place) {
        let lab = Lab::new();
        let store = Faulty::new(place.store());
        let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (arrives, released) = (arrived.clone(), release.clone());
        store.before(move |group| {
            let (arrives, released) = (arrives.clone(), released.clone());
            writes_chunk(group).then(|| async move {
                arrives.notify_one();
                released.notified().await;
            }.boxed())
        });
        let engine = Engine::builder().store(Arc::new(store)).resource(lab.clone()).open().await.unwrap();
        let run = engine.start(counting, (0, 2)).await.unwrap();
        for written in 0..2 {
            arrived.notified().await;
            assert_eq!(lab.count("written"), written);
            assert_eq!(run.stream::<u32>("numbers").tail().await.unwrap(), (written as u64).checked_sub(1));
            release.notify_one();
            lab.executed("written", written + 1).await;
        }
        run.await.unwrap();
    }

    async fn a_chunk_in_doubt_is_written_once(place: Place) {
        let store = Faulty::new(place.store());
        let faults = Mutex::new(vec![When::CommittedButInDoubt, When::LostAndInDoubt]);
        store.plan(move |group| writes_chunk(group).then(|| faults.lock().unwrap().pop()).flatten());
        let engine = Engine::builder().store(Arc::new(store)).resource(Lab::new()).open().await.unwrap();
        let run = engine.start(counting, (0, 3)).await.unwrap();
        (&run).await.unwrap();
        assert_eq!(numbers(&run).await, [0, 1, 2]);
    }

    async fn a_step_waits_while_the_store_refuses_its_chunks(place: Place) {
        let store = Faulty::new(place.store());
        let faults = Mutex::new(vec![When::Refused, When::Refused]);
        store.plan(move |group| writes_chunk(group).then(|| faults.lock().unwrap().pop()).flatten());
        let engine = Engine::builder().store(Arc::new(store)).resource(Lab::new()).open().await.unwrap();
        let run = engine.start(counting, (0, 3)).await.unwrap();
        (&run).await.unwrap();
        let chunks: Vec<Chunk<u32>> = run.stream("numbers").try_collect().await.unwrap();
        let seen = chunks.iter().map(|chunk| (chunk.value, chunk.writer.as_ref().map(|writer| writer.attempt)));
        assert_eq!(seen.collect::<Vec<_>>(), [(0, Some(1)), (1, Some(1)), (2, Some(1))], "the step did not fail");
    }

    async fn an_engine_that_lost_its_runs_writes_nothing(place: Place) {
        let lab = Lab::new();
        let store = Faulty::new(place.store());
        let engine = Engine::builder().store(Arc::new(store.clone())).resource(lab.clone()).open().await.unwrap();
        let run = engine.start(waits_first, ()).id("run").await.unwrap();
        lab.executed("first", 1).await;
        let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (arrives, released) = (arrived.clone(), release.clone());
        store.before(move |group| {
            let (arrives, released) = (arrives.clone(), released.clone());
            writes_chunk(group).then(|| async move {
                arrives.notify_one();
                released.notified().await;
            }.boxed())
        });
        lab.open_gate("first");
        arrived.notified().await;
        store.lose_ownership();
        let second = place.open(&lab).await;
        // The second engine has activated the run when it executes the step.
        lab.executed("second", 1).await;
        release.notify_one();
        lab.open_gate("second");
        second.get_run::<(), Error>("run").await.unwrap();
        let chunks: Vec<Chunk<u32>> = second.get_run::<(), Error>("run").stream("numbers").try_collect().await.unwrap();
        let seen = chunks.iter().map(|chunk| match &chunk.writer {
            Some(ChunkWriter { epoch, .. }) => (chunk.value, *epoch, chunk.discarded),
            _ => (99, 0, false),
        });
        assert_eq!(seen.collect::<Vec<_>>(), [(0, 2, false), (1, 2, false)], "the first engine wrote nothing");
        drop((run, engine));
    }

    async fn only_steps_with_chunks_finalize_chunks(place: Place) {
        let store = Faulty::new(place.store());
        let settled = Arc::new(Mutex::new(0));
        let counted = settled.clone();
        store.plan(move |group| {
            let turns = group.iter().map(|write| match write {
                Write::Turn(Turn { settles, .. }) => settles.len(),
                _ => 0,
            });
            *counted.lock().unwrap() += turns.sum::<usize>();
            None
        });
        let engine = Engine::builder().store(Arc::new(store)).resource(Lab::new()).open().await.unwrap();
        engine.start(counting, (0, 0)).await.unwrap().await.unwrap();
        assert_eq!(*settled.lock().unwrap(), 0);
        engine.start(counting, (0, 3)).await.unwrap().await.unwrap();
        assert_eq!(*settled.lock().unwrap(), 1);
    }
}

mod edits {
    //! A workflow in two versions of its code, in two engines of one process.

    use workflow_runtime::{Code, Error, Result, workflow, writer};

    use super::{Lab, gated};

    #[workflow]
    async fn edited(#[allow(unused)] first: bool) -> Result<()> {
        let value = EDITED.load(std::sync::atomic::Ordering::SeqCst);
        writer::<u32>("numbers").write(&value).await?;
        gated("edited".into()).await
    }

    static EDITED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

    case! {
        async fn a_write_that_differs_on_a_replay_is_nondeterminism() {
            let (lab, place) = (Lab::new(), crate::support::Place::memory());
            let engine = place.builder(&lab).open().await.unwrap();
            let run = engine.start(edited, true).id("run").await.unwrap();
            lab.executed("edited", 1).await;
            drop((run, engine));
            EDITED.store(2, std::sync::atomic::Ordering::SeqCst);
            let engine = place.builder(&lab).open().await.unwrap();
            let run = engine.get_run::<(), Error>("run");
            let error = (&run).await.unwrap_err();
            assert_eq!(error.code(), Code::Stuck);
            let text = format!("{error:?}");
            assert!(text.contains("writing 1 to the stream `numbers`") && text.contains("writing 2 to"), "{text}");
            assert_eq!(run.stream::<u32>("numbers").tail().await.unwrap(), Some(0));
        }
    }
}
