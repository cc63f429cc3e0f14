//! Writes that share a commit.

use std::collections::{HashMap, HashSet};
use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use workflow_runtime::store::{First, MemoryStore, SendMessage, Store, Write};
use workflow_runtime::testing::TestEngine;
use workflow_runtime::{Engine, Result, Run, sleep, step, workflow, writer};

use crate::support::{Faulty, Lab, When, soon};

#[step]
async fn note(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    Ok(name)
}

#[workflow]
async fn notes(name: String) -> Result<String> {
    note(name).await
}

#[workflow]
async fn sleeps(_number: u32) -> Result<()> {
    sleep(Duration::from_secs(3_600)).await;
    Ok(())
}

#[workflow]
async fn takes(text: String) -> Result<usize> {
    Ok(text.len())
}

/// A store that holds each group with new runs until the test opens the gate of the current attempt. Writes that the
/// engine sends on its own can share these groups and delay others, so tests that need two groups of new runs repeat
/// the attempt until they get them.
struct Holding {
    lab: Lab,
    faulty: Faulty,
    engine: Engine,
    attempt: Arc<AtomicUsize>,
}

impl Holding {
    async fn open(store: Arc<dyn Store>) -> Self {
        let (lab, faulty) = (Lab::new(), Faulty::new(store));
        let (held, attempt) = (lab.clone(), Arc::new(AtomicUsize::new(0)));
        let current = attempt.clone();
        faulty.before(move |group| {
            let creates = group.iter().any(|write| matches!(write, Write::Create(_)));
            let (lab, attempt) = (held.clone(), current.load(Ordering::SeqCst));
            creates.then(|| {
                Box::pin(async move {
                    lab.note(&format!("held {attempt}"));
                    lab.pass_gate(&format!("commit {attempt}")).await;
                }) as _
            })
        });
        let engine = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone()).open().await.unwrap();
        Holding { lab, faulty, engine, attempt }
    }

    /// Starts one run and, while the store holds its group, 300 more. Returns the results of these, and whether the
    /// store received a second group while it held the first.
    async fn start(
        &self,
        id: impl Fn(usize) -> String,
        plan: impl FnOnce(&Faulty),
    ) -> (Vec<Result<Run<String>>>, bool) {
        let attempt = self.attempt.fetch_add(1, Ordering::SeqCst) + 1;
        let held = format!("held {attempt}");
        let first = tokio::spawn(self.engine.start(notes, "first".into()).into_future());
        self.lab.executed(&held, 1).await;
        plan(&self.faulty);
        let starts =
            (0..300).map(|number| self.engine.start(notes, id(number)).id(format!("{attempt}/{}", id(number))));
        let others = tokio::spawn(join_all(starts.map(IntoFuture::into_future)));
        for _ in 0..200_000 {
            if self.lab.count(&held) > 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        let beside = self.lab.count(&held) > 1;
        self.lab.open_gate(&format!("commit {attempt}"));
        drop(first.await.unwrap());
        (others.await.unwrap(), beside)
    }
}

on_each_store! {
    async fn the_engine_commits_a_second_group_before_the_first_has_returned(place: Place) {
        let holding = Holding::open(place.store()).await;
        loop {
            let (others, beside) = holding.start(|number| format!("other {number}"), |_| {}).await;
            for run in others {
                run.unwrap().await.unwrap();
            }
            if beside {
                break;
            }
        }
    }

    async fn a_refused_write_does_not_fail_other_writes_of_its_group(place: Place) {
        let holding = Holding::open(place.store()).await;
        let id = |number: usize| if number == 137 { "bad".to_owned() } else { format!("run-{number}") };
        loop {
            let plan = |faulty: &Faulty| faulty.plan(|group| {
                let bad = |write: &Write| matches!(write, Write::Create(new) if new.id.ends_with("bad"));
                group.iter().any(bad).then_some(When::Refused)
            });
            let (others, beside) = holding.start(id, plan).await;
            for (number, started) in others.into_iter().enumerate() {
                match started {
                    Ok(run) => assert_eq!(run.await.unwrap(), id(number)),
                    Err(error) => assert_eq!((number, error.to_string().contains("on fire")), (137, true), "{error}"),
                }
            }
            assert_eq!(holding.lab.count("bad"), 0);
            if beside {
                break;
            }
        }
    }

    async fn the_part_of_a_group_that_was_committed_is_answered_and_not_sent_again(place: Place) {
        let holding = Holding::open(place.store()).await;
        let (again, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (sent_again, groups) = (again.clone(), sent.clone());
        let plan = move |faulty: &Faulty| {
            let mut committed = HashSet::new();
            faulty.plan(move |group| {
                let repeated = group.iter().filter_map(created).filter(|id| committed.contains(id)).count();
                sent_again.fetch_add(repeated, Ordering::SeqCst);
                let half = &group[..group.len().div_ceil(2)];
                committed.extend(half.iter().filter_map(created));
                groups.fetch_add(1, Ordering::SeqCst);
                group.iter().any(|write| created(write).is_some()).then_some(When::HalfRefused)
            });
        };
        let (others, _) = holding.start(|number| format!("other {number}"), plan).await;
        for (number, started) in others.into_iter().enumerate() {
            assert_eq!(started.unwrap().await.unwrap(), format!("other {number}"));
        }
        assert_eq!(again.load(Ordering::SeqCst), 0);
        assert!(sent.load(Ordering::SeqCst) > 1);
    }

    async fn a_store_that_refuses_all_writes_is_not_asked_once_per_write(place: Place) {
        let holding = Holding::open(place.store()).await;
        loop {
            let groups = Arc::new(Mutex::new(Vec::new()));
            let sent = groups.clone();
            let plan = move |faulty: &Faulty| {
                let mut first_group = HashMap::new();
                faulty.plan(move |group| {
                    let ids: Vec<_> = group.iter().filter_map(created).collect();
                    let any = ids.first()?;
                    let mut sent = sent.lock().unwrap();
                    let number = *first_group.get(any).unwrap_or(&sent.len());
                    match sent.get_mut(number) {
                        Some(Sent { times, .. }) => *times += 1,
                        None => sent.push(Sent { writes: group.len(), times: 1 }),
                    }
                    first_group.extend(ids.into_iter().map(|id| (id, number)));
                    Some(When::Refused)
                });
            };
            let (others, beside) = holding.start(|number| format!("other {number}"), plan).await;
            assert!(others.iter().all(Result::is_err));
            let groups = groups.lock().unwrap();
            for Sent { writes, times } in groups.iter() {
                assert!(*times < 50, "{times} attempts for a group of {writes} writes");
            }
            if beside && groups.iter().any(|sent| sent.writes >= 200) {
                break;
            }
        }
    }

    async fn a_write_that_may_depend_on_a_group_waits_for_its_commit(place: Place) {
        let (lab, faulty) = (Lab::new(), Faulty::new(place.store()));
        let engine = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone()).open().await.unwrap();
        let runs = try_join_all((0..300).map(|number| engine.start(sleeps, number).into_future())).await.unwrap();
        let (held, opened) = (lab.clone(), Arc::new(AtomicBool::new(false)));
        let is_opened = opened.clone();
        faulty.before(move |group| {
            if group.iter().any(|write| matches!(write, Write::Create(_))) {
                let lab = held.clone();
                return Some(Box::pin(async move {
                    lab.note("first");
                    lab.pass_gate("again").await;
                }) as _);
            }
            if !is_opened.load(Ordering::SeqCst) && group.iter().any(|write| matches!(write, Write::SendMessage(SendMessage { .. }))) {
                held.note("beside");
            }
            None
        });
        let first = tokio::spawn(engine.start(notes, "first".into()).into_future());
        lab.executed("first", 1).await;
        let cancels: Vec<_> = runs.iter().map(|run| run.id().to_owned()).collect();
        let canceller = engine.clone();
        let cancels = tokio::spawn(async move {
            let runs = cancels.iter().map(|id| canceller.get_run(id));
            join_all(runs.map(|run: Run<()>| async move { run.cancel("enough").await })).await
        });
        // Enough scheduling rounds for a forbidden group to reach the store.
        for _ in 0..100_000 {
            tokio::task::yield_now().await;
        }
        opened.store(true, Ordering::SeqCst);
        lab.open_gate("again");
        first.await.unwrap().unwrap().await.unwrap();
        assert!(cancels.await.unwrap().iter().all(Result::is_ok));
        assert_eq!(lab.count("beside"), 0);
        for run in runs {
            assert!(run.await.is_err());
        }
    }
}

/// A group of new writes: how many they were, and how often the store received the group or a part of it.
struct Sent {
    writes: usize,
    times: usize,
}

/// The id of the run that a write creates.
fn created(write: &Write) -> Option<String> {
    match write {
        Write::Create(new) => Some(new.id.to_string()),
        _ => None,
    }
}

/// The size of the first messages and first turns of a group, in bytes.
fn arguments(group: &[Write]) -> usize {
    let first = |write: &Write| match write {
        Write::Create(new) => match &new.first {
            First::Turn { row, .. } => row.body.len(),
            First::Message(message) => message.body.len(),
            _ => 0,
        },
        _ => 0,
    };
    group.iter().map(first).sum()
}

on_each_store! {
    async fn a_group_of_large_starts_is_limited_in_bytes(place: Place) {
        const ARGUMENT: usize = 4 << 20;
        const GROUP: usize = 16 << 20;
        let (lab, faulty) = (Lab::new(), Faulty::new(place.store()));
        let largest = Arc::new(AtomicUsize::new(0));
        let (seen, held) = (largest.clone(), lab.clone());
        faulty.before(move |group| {
            seen.fetch_max(arguments(group), Ordering::SeqCst);
            let creates = group.iter().any(|write| matches!(write, Write::Create(_)));
            let lab = held.clone();
            creates.then(|| {
                Box::pin(async move {
                    lab.note("held");
                    lab.pass_gate("commit").await;
                }) as _
            })
        });
        let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
        let first = tokio::spawn(engine.start(takes, "x".into()).into_future());
        lab.executed("held", 1).await;
        // Polling each future once queues its write behind the held group.
        let mut starts: Vec<_> = (0..8).map(|_| engine.start(takes, "x".repeat(ARGUMENT)).into_future()).collect();
        for start in &mut starts {
            assert!(futures::poll!(start).is_pending());
        }
        lab.open_gate("commit");
        assert_eq!(first.await.unwrap().unwrap().await.unwrap(), 1);
        for run in try_join_all(starts).await.unwrap() {
            assert_eq!(run.await.unwrap(), ARGUMENT);
        }
        let largest = largest.load(Ordering::SeqCst);
        assert!((GROUP..=GROUP + ARGUMENT + 1_024).contains(&largest), "the largest group has {largest} bytes");
        engine.shutdown().await.unwrap();
    }
}

/// The size of a payload of which not all fit into the queue in front of the store, and how many there are.
const PAYLOAD: usize = 4 << 20;
const PAYLOADS: usize = 20;
/// The same for chunks, which are smaller.
const CHUNK: usize = 1_000_000;
const CHUNKS: usize = 80;

/// A store that holds each group with payloads until the test opens the gate `commit`, and the number of their bytes.
fn holding(store: Arc<dyn Store>, lab: &Lab, payload: fn(&Write) -> usize) -> (Faulty, Arc<AtomicUsize>) {
    let (faulty, bytes) = (Faulty::new(store), Arc::new(AtomicUsize::new(0)));
    let (seen, held) = (bytes.clone(), lab.clone());
    faulty.before(move |group| {
        let bytes = group.iter().map(payload).sum();
        seen.fetch_add(bytes, Ordering::SeqCst);
        let lab = held.clone();
        (bytes > 0).then(|| {
            Box::pin(async move {
                lab.note("held");
                lab.pass_gate("commit").await;
            }) as _
        })
    });
    (faulty, bytes)
}

/// Polls each future once, which queues its write if there is room, and drops it: some at once, the others when all were polled.
fn queue_and_drop<F: Future>(futures: impl ExactSizeIterator<Item = F>) {
    let (mut kept, some) = (Vec::new(), futures.len() / 2);
    for (number, future) in futures.enumerate() {
        let mut future = Box::pin(future);
        assert!(future.as_mut().now_or_never().is_none(), "the store had answered");
        if number >= some {
            kept.push(future);
        }
    }
}

fn assert_full(bytes: &AtomicUsize) {
    const QUEUE: usize = 64 << 20;
    let bytes = bytes.load(Ordering::SeqCst);
    assert!((QUEUE - 2 * PAYLOAD..=QUEUE + 1_024).contains(&bytes), "{bytes} bytes were queued");
}

#[step(retries = 0)]
async fn writes_much(#[resource] lab: &Lab) -> Result<()> {
    let chunks = writer::<String>("much");
    let (small, large) = ("x".to_owned(), "x".repeat(CHUNK));
    let mut first = Box::pin(chunks.write(&small));
    assert!(first.as_mut().now_or_never().is_none());
    lab.executed("held", 1).await;
    queue_and_drop((0..CHUNKS).map(|_| chunks.write(&large)));
    lab.open_gate("commit");
    first.await
}

#[workflow]
async fn has_written_much() -> Result<()> {
    writes_much().await
}

on_each_store! {
    async fn starts_wait_for_room_in_the_queue_even_if_callers_are_gone(place: Place) {
        let lab = Lab::new();
        let (faulty, bytes) = holding(place.store(), &lab, |write| arguments(std::slice::from_ref(write)));
        let client = Engine::builder().store(Arc::new(faulty)).connect().await.unwrap();
        let first = tokio::spawn(client.start(takes, "x".into()).into_future());
        lab.executed("held", 1).await;
        queue_and_drop((0..PAYLOADS).map(|_| client.start(takes, "x".repeat(PAYLOAD)).into_future()));
        lab.open_gate("commit");
        soon(first).await.unwrap().unwrap();
        // It is queued behind the others.
        soon(client.start(takes, "x".into())).await.unwrap();
        assert_full(&bytes);
    }

    async fn chunks_wait_for_room_in_the_queue_even_if_callers_are_gone(place: Place) {
        let lab = Lab::new();
        let chunk = |write: &Write| match write {
            Write::AppendChunk(append) => append.chunk.value.as_ref().map_or(0, |value| value.len()),
            _ => 0,
        };
        let (faulty, bytes) = holding(place.store(), &lab, chunk);
        let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
        soon(engine.start(has_written_much, ()).await.unwrap()).await.unwrap();
        assert_full(&bytes);
        engine.shutdown().await.unwrap();
    }
}

case! {
    // In memory, where a delivery has no read to wait for.
    async fn deliveries_wait_for_room_in_the_queue_even_if_callers_are_gone() {
        let lab = Lab::new();
        let payload = |write: &Write| match write {
            Write::Create(_) => 1,
            Write::Deliver(deliver) => deliver.message.body.len(),
            _ => 0,
        };
        let (faulty, bytes) = holding(Arc::new(MemoryStore::new()), &lab, payload);
        let client = Engine::builder().store(Arc::new(faulty)).connect().await.unwrap();
        let first = tokio::spawn(client.start(takes, "x".into()).into_future());
        lab.executed("held", 1).await;
        let large = "x".repeat(PAYLOAD);
        queue_and_drop((0..PAYLOADS).map(|_| client.resume_hook("nobody", &large).into_future()));
        lab.open_gate("commit");
        soon(first).await.unwrap().unwrap();
        soon(client.start(takes, "x".into())).await.unwrap();
        assert_full(&bytes);
    }
}

case! {
    async fn a_start_larger_than_the_write_queue_is_committed_alone() {
        let engine = TestEngine::open().await.unwrap();
        let large = "x".repeat(40 << 20);
        let (small, large) = tokio::join!(
            engine.start(takes, "x".repeat(1 << 10)).into_future(),
            engine.start(takes, large.clone()).initial_state(&large).into_future(),
        );
        assert_eq!((small.unwrap().await.unwrap(), large.unwrap().await.unwrap()), (1 << 10, 40 << 20));
        engine.shutdown().await.unwrap();
    }
}
