//! Runs of each shape: what they wait for, and how they end.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use workflow_runtime::{
    Client, Code, Engine, Error, Result, Run, hook, sleep, step, suspend, timeout, workflow, writer,
};

/// The queue of some steps.
pub const QUEUE: &str = "heap";

/// The engine, and a client that learns of the ends of runs through the store. In memory both are the engine.
pub struct Place {
    pub engine: Engine,
    pub client: Client,
}

/// One run of a shape, until it has ended. The number is used once.
type Shape = fn(&Place, u64) -> BoxFuture<'_, Result<()>>;

/// Numbers whose step has failed once.
static FAILED: Mutex<Option<HashSet<u64>>> = Mutex::new(None);

#[step]
async fn echo(number: u64) -> Result<u64> {
    Ok(number)
}

#[step(queue = "heap")]
async fn echo_elsewhere(number: u64) -> Result<u64> {
    Ok(number)
}

/// Fails in every other attempt.
#[step(retries = 0)]
async fn fails_once(number: u64) -> Result<u64> {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = failed.get_or_insert_default();
    match failed.remove(&number) {
        true => Ok(number),
        false => {
            failed.insert(number);
            Err(Error::new("the first time"))
        }
    }
}

#[step(retries = 1, backoff = "1ms..1ms")]
async fn fails_and_is_attempted_again(number: u64) -> Result<u64> {
    fails_once(number).await
}

#[step]
async fn fails() -> Result<u64> {
    Err(Error::fatal("always"))
}

#[step]
async fn asks(number: u64) -> Result<u64> {
    suspend(&number).await
}

#[step]
async fn writes_numbers(number: u64) -> Result<u64> {
    let numbers = writer("numbers");
    for chunk in 0..3u64 {
        numbers.write(&chunk).await?;
    }
    Ok(number)
}

#[workflow]
async fn steps(number: u64) -> Result<u64> {
    Ok(echo(number).await? + fails_and_is_attempted_again(number).await?)
}

#[workflow]
async fn sleeps(number: u64) -> Result<u64> {
    sleep(Duration::from_millis(2)).await;
    Ok(number)
}

#[workflow]
async fn drops_a_child(number: u64) -> Result<u64> {
    timeout(Duration::from_millis(1), listens(number)).await.map_or(Ok(number), |ended| ended)
}

#[workflow]
async fn listens(number: u64) -> Result<u64> {
    hook::<u64>().token(format!("token {number}")).await
}

#[workflow]
async fn has_a_child(number: u64) -> Result<u64> {
    steps(number).attribute("number", number.to_string()).await
}

#[workflow]
async fn attaches(number: u64) -> Result<u64> {
    sleeps(number).id(format!("attached {number}")).await
}

#[workflow]
async fn two_steps(number: u64) -> Result<u64> {
    let first = echo(number).await?;
    echo(first).await
}

#[workflow]
async fn needs_a_retry(number: u64) -> Result<u64> {
    echo(number).await?;
    fails_once(number).await
}

#[workflow]
async fn goes_on(number: u64, left: u64) -> Result<u64> {
    echo(number).await?;
    match left {
        0 => Ok(number),
        left => goes_on(number, left - 1).continue_as_new().await,
    }
}

#[workflow]
async fn writes(number: u64) -> Result<u64> {
    writer("numbers").write(&number).await?;
    writes_numbers(number).await
}

#[workflow]
async fn is_undone(number: u64) -> Result<u64> {
    echo(number).rollback(echo).await?;
    fails().await
}

#[workflow]
async fn queues(number: u64) -> Result<u64> {
    echo_elsewhere(number).await
}

#[workflow]
async fn suspends(number: u64) -> Result<u64> {
    let answer: u64 = suspend(&number).label("in the workflow").await?;
    Ok(answer + asks(number).await?)
}

/// The error of a run that fails as expected.
fn expected<T>(ended: Result<T>, code: Code) -> Result<()> {
    match ended {
        Ok(_) => Err(Error::new("the run has not failed")),
        Err(error) if error.code() == code => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until a run is suspended once more, and answers.
async fn answer(run: &Run<u64>, number: u64) -> Result<()> {
    loop {
        if let Some(suspended) = run.suspended().await?.first() {
            return run.resume(&number).of(&suspended.id).await;
        }
        tokio::task::yield_now().await;
    }
}

pub const SHAPES: &[(&str, Shape)] = &[
    ("steps", |place, number| ends(place.engine.start(steps, number).into_future()).boxed()),
    ("followed by a client", |place, number| ends(place.client.start(steps, number).into_future()).boxed()),
    ("sleeps", |place, number| ends(place.engine.start(sleeps, number).into_future()).boxed()),
    ("cancelled child", |place, number| ends(place.engine.start(drops_a_child, number).into_future()).boxed()),
    ("child", |place, number| ends(place.engine.start(has_a_child, number).into_future()).boxed()),
    ("attached child", |place, number| {
        async move {
            let child = place.engine.start(sleeps, number).id(format!("attached {number}")).await?;
            place.engine.start(attaches, number).await?.await?;
            child.await.map(drop)
        }
        .boxed()
    }),
    ("continued as new", |place, number| ends(place.engine.start(goes_on, (number, 2)).into_future()).boxed()),
    ("queue", |place, number| ends(place.engine.start(queues, number).into_future()).boxed()),
    ("hook", |place, number| {
        async move {
            let token = format!("token {number}");
            let run = place.engine.start(listens, number).opens(&token).await?;
            place.client.resume_hook(&token, &number).idempotency_key("once").await?;
            place.client.resume_hook(&token, &number).idempotency_key("once").await?;
            run.await.map(drop)
        }
        .boxed()
    }),
    ("suspended", |place, number| {
        async move {
            let run = place.engine.start(suspends, number).await?;
            answer(&run, number).await?;
            answer(&run, number).await?;
            run.await.map(drop)
        }
        .boxed()
    }),
    ("stream", |place, number| {
        async move {
            let started = place.engine.start(writes, number).output_writer(|_| async { Ok(()) });
            let run = started.await?;
            let chunks = run.stream::<u64>("numbers").try_collect::<Vec<_>>().await?;
            assert_eq!(chunks.len(), 4, "the chunks of the workflow and of its step");
            run.await.map(drop)
        }
        .boxed()
    }),
    ("events", |place, number| {
        async move {
            let run = place.client.start(two_steps, number).await?;
            let mut events = run.events();
            while events.next().await.transpose()?.is_some() {}
            run.outcome().await?.result.map(drop)
        }
        .boxed()
    }),
    ("rolled back", |place, number| {
        async move { expected(place.engine.start(is_undone, number).await?.await, Code::User) }.boxed()
    }),
    ("cancelled", |place, number| {
        async move {
            let run = place.engine.start(listens, number).await?;
            run.cancel("enough").await?;
            expected(run.await, Code::Cancelled)
        }
        .boxed()
    }),
    ("retried", |place, number| {
        async move {
            let run = place.engine.start(needs_a_retry, number).await?;
            expected((&run).await, Code::User)?;
            run.retry().await?;
            run.await.map(drop)
        }
        .boxed()
    }),
    ("forked", |place, number| {
        async move {
            let run = place.engine.start(two_steps, number).await?;
            let steps = run.outcome().await?.steps;
            let fork = run.fork(steps.last().map_or(0, |step| step.event)).await?;
            fork.await.map(drop)
        }
        .boxed()
    }),
    ("created first", |place, number| {
        async move {
            let created = place.engine.create_run(steps).await?;
            created.start(number).await?.await.map(drop)
        }
        .boxed()
    }),
];

/// Starts a run and waits for its end.
async fn ends<S>(start: S) -> Result<()>
where
    S: Future<Output = Result<Run<u64>>>,
{
    start.await?.await.map(drop)
}

/// Deletes all runs, once they have ended: a child that was cancelled ends after its parent.
pub async fn delete_all(engine: &Engine) -> Result<()> {
    let runs: Vec<_> = engine.runs().stream().try_collect().await?;
    for run in runs {
        let run: Run<u64> = engine.get_run(&*run.id);
        (&run).await.ok();
        run.delete().await?;
    }
    Ok(())
}
