//! Every wait for a run ends, whichever process waits, whichever engine executes, and however the store learns of
//! changes.

use std::future::IntoFuture;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::join;
use futures::{FutureExt, TryStreamExt, poll};
use workflow_harness::postgres::{Cluster, Pooler};
use workflow_runtime::store::Write;
use workflow_runtime::{
    Chunk, Client, Engine, Error, Result, Run, RunEvent, Status, hook, step, suspend, workflow, writer,
};

use crate::support::{Faulty, Lab, Place, soon};

/// The intervals at which stores poll for changes of which they get no notification.
const POLLS: [&str; 3] = ["20ms", "1s", "5s"];

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<u32> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(7)
}

#[step(queue = "scribes")]
async fn writes_elsewhere(#[resource] lab: &Lab, name: String) -> Result<()> {
    let log = writer::<u32>("log");
    log.write(&1).await?;
    lab.note(&name);
    lab.pass_gate(&name).await;
    log.write(&2).await?;
    // The step ends once the test has read both chunks.
    lab.pass_gate(&format!("{name}, read")).await;
    Ok(())
}

#[workflow]
async fn ends(name: String) -> Result<u32> {
    gated(name).await
}

#[workflow]
async fn has_a_child(name: String) -> Result<u32> {
    Ok(ends(name).await? + 1)
}

#[workflow]
async fn waits_for_ever() -> Result<()> {
    hook::<()>().await
}

#[workflow]
async fn asks(question: String) -> Result<u32> {
    suspend(&question).await
}

#[workflow]
async fn writes(name: String) -> Result<()> {
    let log = writer::<u32>("log");
    log.write(&1).await?;
    gated(name).await?;
    log.write(&2).await
}

#[workflow]
async fn has_a_scribe(name: String) -> Result<()> {
    writes_elsewhere(name).await
}

/// A process that waits. Its name is part of the ids of its runs.
struct Observer<'a> {
    client: &'a Client,
    lab: &'a Lab,
    name: &'a str,
}

impl Observer<'_> {
    fn id(&self, what: &str) -> String {
        format!("{} {what}", self.name)
    }

    /// Waits until the step of a run has begun, and lets it continue.
    async fn lets_go(&self, id: &str) {
        self.lab.executed(id, 1).await;
        self.lab.open_gate(id);
    }

    async fn awaits(&self) {
        let id = self.id("end");
        let run = self.client.start(ends, id.clone()).id(&id).await.unwrap();
        let (end, ()) = join(run.into_future(), self.lets_go(&id)).await;
        assert_eq!(end.unwrap(), 7);
    }

    async fn awaits_a_parent(&self) {
        let id = self.id("child");
        let run = self.client.start(has_a_child, id.clone()).await.unwrap();
        let (end, ()) = join(run.into_future(), self.lets_go(&id)).await;
        assert_eq!(end.unwrap(), 8);
    }

    async fn asks_for_the_outcome(&self) {
        let id = self.id("outcome");
        let run = self.client.start(ends, id.clone()).id(&id).await.unwrap();
        let (outcome, ()) = join(run.outcome().into_future(), self.lets_go(&id)).await;
        assert_eq!(outcome.unwrap().run_id, id);
    }

    async fn cancels(&self) {
        let run = self.client.start(waits_for_ever, ()).id(self.id("cancel")).await.unwrap();
        assert!(run.cancel("enough").await.unwrap());
    }

    async fn reads_events(&self) {
        let id = self.id("events");
        let run = self.client.start(ends, id.clone()).id(&id).await.unwrap();
        let (events, ()) = join(run.events().try_collect::<Vec<RunEvent>>(), self.lets_go(&id)).await;
        assert!(events.unwrap().len() > 2);
    }

    async fn reads_a_stream(&self) {
        let id = self.id("stream");
        let run = self.client.start(writes, id.clone()).id(&id).await.unwrap();
        let (chunks, ()) = join(run.stream("log").try_collect::<Vec<Chunk<u32>>>(), self.lets_go(&id)).await;
        assert_eq!(chunks.unwrap().iter().map(|chunk| chunk.value).collect::<Vec<_>>(), [1, 2]);
    }

    /// The step may be executed by another engine than the run.
    async fn reads_what_is_written_elsewhere(&self) {
        let id = self.id("scribe");
        let run = self.client.start(has_a_scribe, id.clone()).id(&id).await.unwrap();
        let mut log = run.stream::<u32>("log");
        assert_eq!(log.try_next().await.unwrap().unwrap().value, 1);
        let (second, ()) = join(log.try_next(), self.lets_go(&id)).await;
        assert_eq!(second.unwrap().unwrap().value, 2);
        self.lab.open_gate(&format!("{id}, read"));
        assert!(log.try_next().await.unwrap().is_none());
        run.await.unwrap();
    }

    async fn resumes_what_is_suspended(&self) {
        let run: Run<u32> = self.client.start(asks, "how many?".to_owned()).id(self.id("suspended")).await.unwrap();
        let mut events = run.events();
        while run.suspended().await.unwrap().is_empty() {
            assert!(events.try_next().await.unwrap().is_some());
        }
        run.resume(&3_u32).await.unwrap();
        assert_eq!(run.await.unwrap(), 3);
    }

    async fn waits_for_everything(self) {
        let all = async {
            tokio::join!(
                self.awaits(),
                self.awaits_a_parent(),
                self.asks_for_the_outcome(),
                self.cancels(),
                self.reads_events(),
                self.reads_a_stream(),
                self.reads_what_is_written_elsewhere(),
                self.resumes_what_is_suspended(),
            )
        };
        // Each wait takes several polling intervals. A lost wake-up would exceed this limit.
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("a wait does not end");
    }
}

/// The executing engine, another engine and a client wait concurrently.
async fn all_processes_wait(place: &Place) {
    let lab = Lab::new();
    let scribe = || place.builder(&lab).queue("scribes", 100);
    let worker: Engine = scribe().open().await.unwrap();
    let other = scribe().open().await.unwrap();
    let client = place.builder(&lab).connect().await.unwrap();
    let observer = |client, name| Observer { client, lab: &lab, name };
    tokio::join!(
        observer(&worker, "the worker").waits_for_everything(),
        observer(&other, "another engine").waits_for_everything(),
        observer(&client, "a client").waits_for_everything(),
    );
    other.shutdown().await.unwrap();
    worker.shutdown().await.unwrap();
}

#[step(retries = 0)]
async fn fails_at_first(#[resource] lab: &Lab) -> Result<u32> {
    match lab.note("fails at first") {
        1 => Err(Error::new("not at first")),
        _ => Ok(7),
    }
}

#[workflow]
async fn fails_until_it_is_retried() -> Result<u32> {
    fails_at_first().await
}

on_each_store! {
    async fn every_wait_ends(place: Place) {
        all_processes_wait(&place).await;
    }

    async fn a_wait_that_begins_after_a_retry_returns_the_result_of_the_retried_run(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let gate = lab.clone();
        faulty.after(move |group| {
            let fails = |write: &Write| matches!(write, Write::Turn(turn) if turn.change.as_ref().is_some_and(|change| change.status == Status::Failed));
            group.iter().any(fails).then(|| {
                let gate = gate.clone();
                gate.note("failed");
                async move { gate.pass_gate("answer").await }.boxed()
            })
        });
        let engine = place.builder(&lab).store(Arc::new(faulty)).open().await.unwrap();
        let run = engine.start(fails_until_it_is_retried, ()).id("r").await.unwrap();
        lab.executed("failed", 1).await;
        // The store has the failure, and the engine has not received the answer.
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        client.get_run::<u32, Error>("r").retry().await.unwrap();
        let mut awaited = run.into_future();
        let first = poll!(&mut awaited);
        lab.open_gate("answer");
        let result = match first {
            Poll::Ready(result) => result,
            Poll::Pending => soon(awaited).await,
        };
        assert_eq!(result.unwrap(), 7);
    }
}

case! {
    #[postgres]
    async fn every_wait_ends_if_stores_poll_for_changes() {
        let places = POLLS.map(|poll| Place::postgres().with(&format!("listen=off&poll={poll}")));
        let [short, middle, long] = &places;
        tokio::join!(all_processes_wait(short), all_processes_wait(middle), all_processes_wait(long));
    }
}

case! {
    #[postgres]
    async fn every_wait_ends_if_stores_listen_for_changes() {
        let places = [POLLS[0], POLLS[1]].map(|poll| Place::postgres().with(&format!("poll={poll}")));
        let [short, middle] = &places;
        tokio::join!(all_processes_wait(short), all_processes_wait(middle));
    }
}

case! {
    #[pooler]
    async fn every_wait_ends_through_a_pooler() {
        let cluster = Cluster::start();
        let pooler = Pooler::start(&cluster);
        let pooled = cluster.address.url().replace(&format!(":{}/", cluster.address.port), &format!(":{}/", pooler.port));
        // Notifications do not pass the pooler, whether `listen=off` is set or not.
        let places = ["listen=off&poll=20ms", "listen=off&poll=1s", "poll=1s"];
        let place = |(number, parameters): (usize, &str)| {
            Place::at(format!("{pooled}?schema=waits{number}&connections=4")).with(&format!("prepared=off&{parameters}"))
        };
        let places: Vec<Place> = places.into_iter().enumerate().map(place).collect();
        tokio::join!(all_processes_wait(&places[0]), all_processes_wait(&places[1]), all_processes_wait(&places[2]));
    }
}

case! {
    #[postgres]
    async fn the_owner_of_a_run_reads_chunks_that_another_process_writes() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(has_a_scribe, "scribe".to_owned()).await.unwrap();
        let scribe = place.builder(&lab).queue("scribes", 1).open().await.unwrap();
        let mut log = run.stream::<u32>("log");
        assert_eq!(soon(log.try_next()).await.unwrap().unwrap().value, 1);
        let mut second = std::pin::pin!(log.try_next());
        // The reader waits for the second chunk before it is written.
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err());
        lab.open_gate("scribe");
        assert_eq!(soon(second).await.unwrap().unwrap().value, 2);
        lab.open_gate("scribe, read");
        soon(run).await.unwrap();
        scribe.shutdown().await.unwrap();
    }
}
