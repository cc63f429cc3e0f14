//! A workflow that uses every operation, and its possible outcomes.

use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;
use futures::stream::{self, FuturesUnordered};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Chunk, Error, Failure, Result, Run, durable, hook, nondeterministic, now, random, resume_hook, set_attribute,
    set_state, sleep, sleep_until, spawn, step, step_info, timeout, uuid, workflow, writer,
};

use crate::Log;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The id of the run that is cancelled.
pub const DOOMED: &str = "doomed";

/// What [`everything`] returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    dice: u32,
    dice_of_step: u32,
    id: String,
    retried: u64,
    fatal: String,
    refused: u16,
    blocking: u64,
    timed_out_once: u64,
    key: String,
    joined: (u64, u64, u64),
    tried: (u64, u64),
    try_failed: String,
    winner: u64,
    in_time: u64,
    too_late: bool,
    chosen: u64,
    all: Vec<u64>,
    unordered: Vec<u64>,
    buffered: Vec<u64>,
    helped: u64,
    letters: Vec<u64>,
    halves: (u64, u64),
    undone: String,
    sent_off: u64,
    went_on: Vec<u64>,
    slept_ms: u64,
}

impl Outcome {
    /// Asserts that the workflow below can have returned this outcome.
    ///
    /// # Panics
    ///
    /// If it cannot.
    pub fn assert_possible(&self, run: &str) {
        assert_eq!(self.dice, self.dice_of_step, "a step received another random number than the workflow");
        assert_eq!(self.id.len(), 36);
        assert_eq!((self.retried, self.refused, self.blocking, self.timed_out_once), (11, 402, 5, 6));
        assert_eq!(self.fatal, "not today");
        assert!(self.key.starts_with(&format!("{run}/0/")), "{}", self.key);
        assert_eq!((self.joined, self.tried), ((1, 2, 3), (4, 5)));
        assert_eq!(self.try_failed, "declined with 402");
        assert!([1, 2, 3].contains(&self.winner), "{}", self.winner);
        assert_eq!((self.in_time, self.too_late), (9, true));
        assert_eq!(self.all, [0, 1, 2, 3]);
        assert_eq!(sorted(&self.unordered), [0, 1, 2, 3]);
        assert_eq!(sorted(&self.buffered), [0, 1, 2, 3, 4]);
        assert_eq!(self.helped, 30);
        assert_eq!((&self.letters, &self.went_on), (&vec![0, 1, 2], &vec![0, 1, 2]));
        assert_eq!((self.halves, self.sent_off), ((4, 5), 6));
        assert_eq!(self.undone, "not today");
        assert!(self.slept_ms >= 4, "two sleeps of 2 ms took {} ms", self.slept_ms);
    }
}

/// Asserts that the stream `story` has each chunk once, apart from discarded chunks of attempts that died.
///
/// # Panics
///
/// If a chunk is missing, repeated or out of order.
pub async fn assert_story(run: &Run<Outcome>) -> Result<()> {
    let story: Vec<Chunk<u64>> = run.stream("story").try_collect().await?;
    let told: Vec<u64> = story.iter().filter(|chunk| !chunk.discarded).map(|chunk| chunk.value).collect();
    assert_eq!(told, [0, 1, 2, 3], "{story:?}");
    assert!(story.iter().zip(0..).all(|(chunk, index)| chunk.index == index), "{story:?}");
    Ok(())
}

fn sorted(numbers: &[u64]) -> Vec<u64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers
}

/// The typed error of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// The step failed.
    Declined {
        /// The reason.
        code: u16,
    },
    /// An error of the engine.
    Other(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Other(error.to_string())
    }
}

impl Failure for Refusal {
    fn is_fatal(&self) -> bool {
        matches!(self, Refusal::Declined { .. })
    }
}

#[step]
async fn echo(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value)
}

#[step(retries = 5, backoff = "1ms..2ms")]
async fn fails_at_first(#[resource] log: &Log, failures: u32, value: u64) -> Result<u64> {
    let attempt = log.note();
    if attempt <= failures {
        return Err(Error::new(format!("attempt {attempt} fails")));
    }
    Ok(value)
}

#[step]
async fn fails_for_good(#[resource] log: &Log) -> Result<u64> {
    log.note();
    Err(Error::fatal("not today"))
}

#[step]
async fn declines(#[resource] log: &Log, code: u16) -> Result<u64, Refusal> {
    log.note();
    Err(Refusal::Declined { code })
}

#[step]
fn blocks(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    std::thread::sleep(MILLISECOND);
    Ok(value)
}

#[step(timeout = "10ms", retries = 50, backoff = "1ms..2ms")]
async fn hangs_at_first(#[resource] log: &Log, value: u64) -> Result<u64> {
    if log.note() == 1 {
        std::future::pending::<()>().await;
    }
    Ok(value)
}

#[step]
async fn takes(#[resource] log: &Log, milliseconds: u64, value: u64) -> Result<u64> {
    log.note();
    tokio::time::sleep(MILLISECOND * u32::try_from(milliseconds)?).await;
    Ok(value)
}

/// Sends a payload to the calling workflow. The idempotency key makes repeated executions deliver it once.
#[step]
async fn send(#[resource] log: &Log, token: String, letter: u64) -> Result<()> {
    log.note();
    resume_hook(token, &letter).idempotency_key(letter.to_string()).await
}

#[step]
async fn tells(#[resource] log: &Log, chunks: Vec<u64>) -> Result<()> {
    log.note();
    let story = writer("story");
    for chunk in chunks {
        story.write(&chunk).await?;
    }
    Ok(())
}

#[step(retries = 5, backoff = "1ms..2ms")]
async fn undo(#[resource] log: &Log, value: u64) -> Result<u64> {
    if log.note() == 1 {
        return Err(Error::new("not at once"));
    }
    Ok(value)
}

#[workflow]
async fn half(value: u64) -> Result<u64> {
    Ok(echo(value).await? / 2)
}

#[workflow]
async fn saga(seed: u64) -> Result<()> {
    echo(seed).rollback(undo).await?;
    blocks(seed).rollback(undo).await?;
    let (failed, _) = tokio::join!(fails_for_good(), takes(1, seed).rollback(undo));
    failed.map(drop)
}

/// Accepts one payload in each of three generations; the others wait for the next generation.
#[workflow]
async fn goes_on(token: String, mut got: Vec<u64>) -> Result<Vec<u64>> {
    let mut mail = hook::<u64>().token(token.clone()).open();
    if got.is_empty() {
        for letter in 0..3 {
            send(token.clone(), letter).await?;
        }
    }
    got.push((&mut mail).await?);
    let behind = spawn(takes(1, 1));
    echo(0).await?;
    if got.len() == 3 {
        behind.await?;
        return Ok(got);
    }
    goes_on(token, got).continue_as_new().await
}

#[step]
async fn never_ends(#[resource] log: &Log) -> Result<u64> {
    log.note();
    std::future::pending().await
}

#[step]
async fn own_key(#[resource] log: &Log) -> Result<String> {
    log.note();
    Ok(step_info().map(|info| info.idempotency_key).unwrap_or_default())
}

#[durable]
async fn help(value: u64) -> Result<u64> {
    let first = echo(value).await?;
    sleep(MILLISECOND).await;
    echo(first * 2).await
}

async fn foreign() -> u64 {
    tokio::time::sleep(MILLISECOND).await;
    u64::from(std::process::id())
}

/// Uses every operation at least once. `seed` only distinguishes runs.
#[workflow]
pub async fn everything(seed: u64) -> Result<Outcome> {
    let dice = random::<u32>();
    drop(spawn(takes(3, seed)));
    let helper = spawn(help(15));
    let dice_of_step = echo(u64::from(dice)).await?;
    let id = uuid().to_string();
    let retried = fails_at_first(2, 11).await?;
    let fatal = fails_for_good().await.err().map(|error| error.to_string()).unwrap_or_default();
    let refused = match declines(402).name("a refusal").await {
        Err(Refusal::Declined { code }) => code,
        _ => 0,
    };
    let blocking = blocks(5).await?;
    let timed_out_once = hangs_at_first(6).await?;
    let key = own_key().await?;

    let joined = tokio::join!(echo(1), fails_at_first(1, 2), takes(1, 3));
    let joined = (joined.0?, joined.1?, joined.2?);
    let tried = tokio::try_join!(echo(4), blocks(5))?;
    let failing = async {
        match declines(402).await {
            Err(Refusal::Declined { code }) => Err(Error::fatal(format!("declined with {code}"))),
            _ => Ok(0),
        }
    };
    let try_failed = match tokio::try_join!(never_ends(), failing) {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    };
    let winner = tokio::select! {
        first = takes(1, 1) => first?,
        second = takes(2, 2) => second?,
        () = sleep(2 * MILLISECOND) => 3,
    };
    let in_time = timeout(Duration::from_secs(3600), echo(9)).await??;
    let too_late = timeout(2 * MILLISECOND, never_ends()).await.is_err();
    let chosen = nondeterministic(foreign()).await?;

    let all = join_all((0..4).map(|n| takes(n % 3, n))).await.into_iter().collect::<Result<Vec<_>>>()?;
    let mut racing: FuturesUnordered<_> = (0..4).map(|n| takes(3 - n, n)).collect();
    let mut unordered = Vec::new();
    while let Some(next) = racing.next().await {
        unordered.push(next?);
    }
    let buffered: Vec<_> = stream::iter(0..5).map(|n| takes(n % 2, n)).buffer_unordered(2).collect().await;
    let buffered = buffered.into_iter().collect::<Result<Vec<_>>>()?;

    let mut mail = hook::<u64>().token(format!("mail of {seed} {id}")).metadata(&seed).open();
    let mut letters = Vec::new();
    for letter in 0..3 {
        send(mail.token().to_owned(), letter).await?;
        letters.push((&mut mail).await?);
    }
    drop(mail);
    let story = writer::<u64>("story");
    story.write(&0).await?;
    tells(vec![1, 2]).await?;
    story.write(&3).await?;
    story.close().await?;

    set_state(&letters)?;
    set_attribute("seed", &seed.to_string())?;
    let halves = tokio::try_join!(half(8), half(10))?;
    let undone = saga(seed).await.err().map(|error| error.to_string()).unwrap_or_default();
    let sent_off = half(12).detach()?.await?;
    let went_on = goes_on(format!("long mail of {seed} {id}"), Vec::new()).await?;

    let before = now();
    sleep(2 * MILLISECOND).await;
    sleep_until(now() + 2 * MILLISECOND).await;
    let slept = now().duration_since(before)?;
    let helped = helper.await?;
    echo(u64::try_from(before.duration_since(UNIX_EPOCH)?.as_millis())?).await?;
    Ok(Outcome {
        dice,
        dice_of_step: u32::try_from(dice_of_step)?,
        id,
        retried,
        fatal,
        refused,
        blocking,
        timed_out_once,
        key,
        joined,
        tried,
        try_failed,
        winner,
        in_time,
        too_late,
        chosen,
        all,
        unordered,
        buffered,
        helped,
        letters,
        halves,
        undone,
        sent_off,
        went_on,
        slept_ms: u64::try_from(slept.as_millis())?,
    })
}
