//! Output writers: functions that receive the chunks of a run's steps, in the process that has started the run.

use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use futures::future::join_all;
use tokio::sync::Semaphore;
use workflow_runtime::store::Write;
use workflow_runtime::{Code, Engine, Error, OutputChunk, Result, hook, step, workflow, writer};

use crate::support::{Faulty, Lab, When, soon};

#[step(retries = 1, backoff = "0ms..0ms")]
async fn writes(#[resource] lab: &Lab, stream: String, count: u32) -> Result<u32> {
    let attempt = lab.note(&stream);
    let out = writer::<u32>(&stream);
    for number in 0..count {
        out.write(&number).await?;
        lab.note(&format!("{stream} {number}"));
    }
    if stream == "fails first" && attempt == 1 { Err(Error::new("not this time")) } else { Ok(count) }
}

#[step(queue = "output")]
async fn writes_in_a_queue_step(count: u32) -> Result<()> {
    let out = writer::<u32>("elsewhere");
    for number in 0..count {
        out.write(&number).await?;
    }
    Ok(())
}

#[workflow]
async fn one_stream(stream: String, count: u32) -> Result<u32> {
    writer::<u32>(&stream).write(&99).await?;
    writes(stream, count).await
}

#[workflow]
async fn many_streams(streams: Vec<String>, count: u32) -> Result<()> {
    let written = join_all(streams.into_iter().map(|stream| writes(stream, count))).await;
    written.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

#[workflow]
async fn of_a_queue(count: u32) -> Result<()> {
    writes_in_a_queue_step(count).await
}

#[workflow]
async fn writes_when_resumed() -> Result<u32> {
    hook::<()>().token("tell").await?;
    writes("later".into(), 3).await
}

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<OutputChunk>>>);

impl Taken {
    async fn take(self, chunk: OutputChunk) -> Result<()> {
        self.0.lock().unwrap().push(chunk);
        Ok(())
    }

    fn of(&self, stream: &str) -> Vec<u32> {
        let taken = self.0.lock().unwrap();
        taken.iter().filter(|chunk| chunk.stream == stream).map(|chunk| chunk.get().unwrap()).collect()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

on_each_store! {
    async fn output_writer_takes_what_steps_write_in_order(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let taken = Taken::default();
        let takes = taken.clone();
        let start = engine.start(one_stream, ("log".into(), 20));
        let run = start.output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!(taken.of("log"), (0..20).collect::<Vec<_>>(), "the workflow's own chunks are not passed");
        let first = taken.0.lock().unwrap()[0].clone();
        assert!(first.step.ends_with("::writes"));
        assert_eq!((first.attempt, first.index), (1, 1));
        assert_eq!(first.get::<String>().unwrap_err().code(), Code::Payload);
    }

    async fn output_writer_takes_a_chunk_in_doubt_once(place: Place) {
        let store = Faulty::new(place.store());
        let faults = Mutex::new(vec![When::CommittedButInDoubt, When::LostAndInDoubt, When::Refused]);
        store.plan(move |group| {
            let writes = group.iter().any(|write| matches!(write, Write::AppendChunk(_)));
            writes.then(|| faults.lock().unwrap().pop()).flatten()
        });
        let engine = Engine::builder().store(Arc::new(store)).resource(Lab::new()).open().await.unwrap();
        let taken = Taken::default();
        let takes = taken.clone();
        let start = engine.start(one_stream, ("log".into(), 5));
        let run = start.output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!(taken.of("log"), [0, 1, 2, 3, 4]);
        let chunks: Vec<u32> = run.stream::<u32>("log").map_ok(|chunk| chunk.value).try_collect().await.unwrap();
        assert_eq!(chunks, [99, 0, 1, 2, 3, 4]);
    }

    async fn output_writer_takes_the_streams_of_parallel_steps(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let taken = Taken::default();
        let takes = taken.clone();
        let streams: Vec<String> = (0..4).map(|number| format!("s{number}")).collect();
        let created = engine.create_run(many_streams).await.unwrap();
        let start = created.start((streams.clone(), 10));
        let run = start.output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
        soon(&run).await.unwrap();
        for stream in streams {
            assert_eq!(taken.of(&stream), (0..10).collect::<Vec<_>>());
        }
    }

    async fn an_error_or_panic_of_the_output_writer_does_not_fail_the_step(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let given = Taken::default();
        let takes = given.clone();
        let refuses = move |chunk: OutputChunk| {
            let takes = takes.clone();
            async move {
                let number: u32 = chunk.get()?;
                takes.take(chunk).await?;
                assert_ne!(number, 1, "no room at all");
                Err(Error::new("no room"))
            }
        };
        let run = engine.start(one_stream, ("log".into(), 3)).output_writer(refuses).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 3);
        assert_eq!((lab.count("log"), given.of("log")), (1, vec![0, 1, 2]));
        assert_eq!(run.stream::<u32>("log").tail().await.unwrap(), Some(3));
    }

    async fn output_writer_may_write_to_the_streams_of_its_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let given = Taken::default();
        let takes = given.clone();
        let copies = move |chunk: OutputChunk| {
            let takes = takes.clone();
            async move {
                let number: u32 = chunk.get()?;
                // First, because a chunk of its own whose write fails must be counted, too.
                takes.take(chunk).await?;
                for stream in ["copy", "log"] {
                    let out = writer::<u32>(stream);
                    // Also from a task without the run's context.
                    let copied = tokio::spawn(async move { out.write(&(number + 10)).await });
                    copied.await??;
                }
                Ok(())
            }
        };
        let run = engine.start(one_stream, ("log".into(), 3)).output_writer(copies).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 3);
        assert_eq!((given.len(), given.of("log")), (3, vec![0, 1, 2]), "the writer's own chunks are not passed");
        let numbers = |stream: &str| run.stream::<u32>(stream).map_ok(|chunk| chunk.value).try_collect::<Vec<_>>();
        assert_eq!(soon(numbers("copy")).await.unwrap(), [10, 11, 12]);
        assert_eq!(soon(numbers("log")).await.unwrap(), [99, 0, 10, 1, 11, 2, 12]);
    }

    async fn a_slow_output_writer_of_one_stream_does_not_slow_other_streams(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let passes = lab.clone();
        let slow = move |chunk: OutputChunk| {
            let passes = passes.clone();
            async move {
                if chunk.stream == "slow" {
                    passes.note("is slow");
                    passes.pass_gate("slow").await;
                }
                Ok(())
            }
        };
        let streams = vec!["slow".to_owned(), "quick".to_owned()];
        let run = engine.start(many_streams, (streams, 3)).output_writer(slow).await.unwrap();
        soon(lab.executed("is slow", 1)).await;
        soon(lab.executed("quick 2", 1)).await;
        assert_eq!(lab.count("slow 0"), 0);
        lab.open_gate("slow");
        soon(&run).await.unwrap();
        assert_eq!(lab.count("slow 2"), 1);
    }

    async fn a_slow_output_writer_slows_only_its_step(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let gate = Arc::new(Semaphore::new(0));
        let passes = gate.clone();
        let slow = move |_| {
            let passes = passes.clone();
            async move {
                passes.acquire().await.expect("the semaphore stays open").forget();
                Ok(())
            }
        };
        let run = engine.start(one_stream, ("slow".into(), 3)).output_writer(slow).await.unwrap();
        lab.executed("slow", 1).await;
        let other = engine.start(one_stream, ("quick".into(), 3)).await.unwrap();
        soon(&other).await.unwrap();
        assert_eq!(lab.count("slow 0"), 0);
        gate.add_permits(1);
        lab.executed("slow 0", 1).await;
        assert_eq!(lab.count("slow 1"), 0);
        gate.add_permits(2);
        assert_eq!(soon(&run).await.unwrap(), 3);
    }

    async fn output_writer_takes_chunks_of_failed_attempts(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let taken = Taken::default();
        let takes = taken.clone();
        let start = engine.start(one_stream, ("fails first".into(), 2));
        let run = start.output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
        soon(&run).await.unwrap();
        let attempts: Vec<_> = taken.0.lock().unwrap().iter().map(|chunk| chunk.attempt).collect();
        assert_eq!((taken.of("fails first"), attempts), (vec![0, 1, 0, 1], vec![1, 1, 2, 2]));
    }

    async fn output_writer_takes_chunks_that_another_engine_writes(place: Place) {
        let lab = Lab::new();
        let worker = place.builder(&lab).queue("output", 1).open().await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        for starts in [&client, &*worker] {
            let taken = Taken::default();
            let takes = taken.clone();
            let run = starts.start(of_a_queue, 5).output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
            soon(&run).await.unwrap();
            soon(async { while taken.len() < 5 { workflow_harness::pause().await } }).await;
            assert_eq!(taken.of("elsewhere"), [0, 1, 2, 3, 4]);
        }
    }

    async fn output_writer_of_a_refused_start_takes_nothing(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let created = engine.create_run(writes_when_resumed).await.unwrap();
        let (first, second) = (Taken::default(), Taken::default());
        let takes = first.clone();
        let run = created.start(()).output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
        let takes = second.clone();
        let refused = created.start(()).output_writer(move |chunk| takes.clone().take(chunk)).await;
        assert_eq!(refused.unwrap_err().code(), Code::AlreadyStarted);
        engine.resume_hook("tell", &()).hold_for(std::time::Duration::from_secs(60)).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!((first.of("later"), second.len()), (vec![0, 1, 2], 0));
    }

    async fn output_writer_belongs_to_its_start(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let (first, second) = (Taken::default(), Taken::default());
        for taken in [&first, &second] {
            let takes = taken.clone();
            let start = engine.start(writes_when_resumed, ()).id("r");
            start.output_writer(move |chunk| takes.clone().take(chunk)).await.unwrap();
        }
        engine.shutdown().await.unwrap();
        // After a restart the stream still has its chunks, and there is no output writer.
        let engine = place.open(&lab).await;
        engine.resume_hook("tell", &()).await.unwrap();
        let run = engine.get_run::<u32, Error>("r");
        assert_eq!(soon(&run).await.unwrap(), 3);
        assert_eq!((first.len(), second.len(), run.stream::<u32>("later").tail().await.unwrap()), (0, 0, Some(2)));
    }
}
