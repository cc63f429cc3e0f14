//! The workflow that executes a program.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use futures::stream::{self, FuturesUnordered};
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Durable, DurableExt, Error, Failure, Result, durable, hook, nondeterministic, now, random, remove_attribute,
    set_attribute, set_state, sleep, spawn, step, step_info, suspend, timeout, uuid, workflow, writer,
};

use crate::program::{Bond, How, Node, Work};
use crate::world::{World, yields};

/// The queue of some steps.
pub const QUEUE: &str = "property";

/// The stream that all programs write to.
pub const STREAM: &str = "story";

/// The typed error of a child.
#[derive(Debug, Serialize, Deserialize)]
enum Odd {
    Of(u64),
    Other(String),
}

impl From<Error> for Odd {
    fn from(error: Error) -> Self {
        Odd::Other(error.to_string())
    }
}

impl Failure for Odd {}

/// Mixes two numbers into one that depends on both.
pub fn mix(a: u64, b: u64) -> u64 {
    (a ^ b.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) ^ b
}

/// The body of each step: waits, and fails as often as the work demands.
async fn attempt(world: &World, work: Work) -> Result<()> {
    let attempt = step_info().map_or(1, |info| info.attempt);
    world.note(step_info());
    match work.how {
        How::Yields(times) => yields(times).await,
        How::Gate => world.pass().await,
        How::Milliseconds(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
    }
    match attempt <= work.failures && !world.is_repaired() {
        true if work.fatal => Err(Error::fatal("fatal")),
        true => Err(Error::new(format!("attempt {attempt} fails"))),
        false => Ok(()),
    }
}

#[step(retries = 2, backoff = "1ms..2ms")]
async fn perform(#[resource] world: &Arc<World>, work: Work, input: u64) -> Result<u64> {
    let failures = work.failures;
    attempt(world, work).await?;
    Ok(mix(input, u64::from(failures)))
}

#[step(queue = "property", retries = 2, backoff = "1ms..2ms")]
async fn perform_queued(#[resource] world: &Arc<World>, work: Work, input: u64) -> Result<u64> {
    let failures = work.failures;
    attempt(world, work).await?;
    Ok(mix(input, u64::from(failures)))
}

/// Returns the number of its operation, which identifies its rollback.
#[step(retries = 2, backoff = "1ms..2ms")]
async fn perform_undoable(#[resource] world: &Arc<World>, work: Work) -> Result<u64> {
    attempt(world, work).await?;
    let key = step_info().map(|info| info.idempotency_key).unwrap_or_default();
    Ok(key.rsplit('/').next().unwrap_or_default().parse()?)
}

#[step(retries = 2, backoff = "1ms..2ms")]
async fn undo(#[resource] world: &Arc<World>, work: Work, op: u64) -> Result<u64> {
    attempt(world, work).await?;
    Ok(op)
}

#[step(retries = 2, backoff = "1ms..2ms")]
async fn tell(#[resource] world: &Arc<World>, work: Work, chunks: u64, input: u64) -> Result<u64> {
    let story = writer(STREAM);
    for chunk in 0..chunks {
        story.write(&mix(input, chunk)).await?;
    }
    attempt(world, work).await?;
    Ok(mix(input, chunks))
}

async fn foreign(times: u32, input: u64) -> u64 {
    yields(times).await;
    mix(input, 5)
}

/// A boxed future that executes a program.
fn execute(node: Node, input: u64) -> Pin<Box<dyn Durable<Output = Result<u64>> + Send>> {
    DurableExt::boxed(execute_node(node, input))
}

fn each(nodes: Vec<Node>, input: u64) -> impl Iterator<Item = Pin<Box<dyn Durable<Output = Result<u64>> + Send>>> {
    (0..).zip(nodes).map(move |(index, node)| execute(node, mix(input, index)))
}

/// Folds outcomes into a number, failures included.
fn fold(input: u64, outcomes: impl IntoIterator<Item = Result<u64>>) -> u64 {
    outcomes.into_iter().fold(input, |folded, outcome| mix(folded, outcome.unwrap_or(13)))
}

#[durable]
async fn execute_step(work: Work, input: u64) -> Result<u64> {
    let timeout = work.timeout_ms.map(Duration::from_millis);
    let call = perform(work, input);
    match timeout {
        Some(timeout) => call.timeout(timeout).await,
        None => call.await,
    }
}

#[durable]
async fn execute_node(node: Node, input: u64) -> Result<u64> {
    match node {
        Node::Step(work) => execute_step(work, input).await,
        Node::Sleep { milliseconds } => {
            sleep(Duration::from_millis(milliseconds)).await;
            Ok(mix(input, 1))
        }
        Node::Random => Ok(mix(input, random())),
        Node::Uuid => Ok(mix(input, uuid().as_u128() as u64)),
        Node::Now(work) => {
            let milliseconds = now().duration_since(UNIX_EPOCH)?.as_millis();
            execute_step(work, mix(input, u64::try_from(milliseconds)?)).await
        }
        Node::Foreign { yields } => nondeterministic(foreign(yields, input)).await,
        Node::Sequence(nodes) => {
            let mut value = input;
            for node in nodes {
                value = execute(node, value).await?;
            }
            Ok(value)
        }
        Node::Loop(node) => {
            let mut value = execute(node.as_ref().clone(), input).await?;
            for turn in 0..value % 3 {
                value = mix(value, execute(node.as_ref().clone(), mix(value, turn)).await?);
            }
            Ok(value)
        }
        Node::JoinAll(nodes) => Ok(fold(input, join_all(each(nodes, input)).await)),
        Node::TryJoinAll(nodes) => Ok(fold(input, try_join_all(each(nodes, input)).await?.into_iter().map(Ok))),
        Node::Unordered(nodes) => {
            let mut racing: FuturesUnordered<_> = each(nodes, input).collect();
            let mut value = input;
            while let Some(outcome) = racing.next().await {
                value = fold(value, [outcome]);
            }
            Ok(value)
        }
        Node::Buffered { most, nodes } => {
            let all: Vec<_> = each(nodes, input).collect();
            let outcomes: Vec<_> = stream::iter(all).buffer_unordered(most).collect().await;
            Ok(fold(input, outcomes))
        }
        Node::Join(both) => {
            let [first, second] = *both;
            let (first, second) = tokio::join!(execute(first, input), execute(second, mix(input, 1)));
            Ok(mix(first?, second?))
        }
        Node::Race(both) => {
            let [first, second] = *both;
            tokio::select! {
                outcome = execute(first, input) => outcome,
                outcome = execute(second, mix(input, 1)) => outcome,
            }
        }
        Node::Timeout { milliseconds, node } => {
            match timeout(Duration::from_millis(milliseconds), execute(*node, input)).await {
                Ok(outcome) => outcome,
                Err(_) => Ok(mix(input, 2)),
            }
        }
        Node::Spawn(both) => {
            let [beside, node] = *both;
            let handle = spawn(execute(beside, mix(input, 3)));
            let value = execute(node, input).await?;
            Ok(mix(value, handle.await?))
        }
        Node::Detach(node) => {
            drop(spawn(execute(*node, mix(input, 4))));
            Ok(input)
        }
        Node::Catch(node) => Ok(execute(*node, input).await.unwrap_or(17)),
        Node::Letters { token, count, node } => {
            let mut letters = hook::<u64>().token(format!("t{token}")).open();
            let mut value = execute(*node, input).await?;
            if count == 1 {
                return Ok(mix(value, letters.await?));
            }
            let mut some = letters.by_ref().take(count);
            while let Some(letter) = some.next().await {
                value = mix(value, letter?);
            }
            Ok(value)
        }
        Node::Undoable { work, undo: undoing } => {
            perform_undoable(work).rollback(|op| undo(undoing, op)).await.map(|op| mix(input, op))
        }
        Node::Tells { work, chunks } => tell(work, chunks, input).await,
        Node::Queued(work) => perform_queued(work, input).await,
        Node::Suspend => {
            // Two suspensions of a run may be open at once.
            let label = format!("{:x}", random::<u64>());
            let answer: u64 = suspend(&input).label(label).await?;
            Ok(mix(input, answer))
        }
        Node::Says => {
            writer(STREAM).write(&input).await?;
            Ok(mix(input, 6))
        }
        Node::State => {
            set_state(&input)?;
            Ok(mix(input, 7))
        }
        Node::Attribute { key, set } => {
            let key = format!("key {key}");
            match set {
                true => set_attribute(&key, &input.to_string())?,
                false => remove_attribute(&key)?,
            }
            Ok(mix(input, 8))
        }
        Node::Child { bond, node } => match bond {
            Bond::Awaited => interpret(*node).await,
            Bond::Typed => match interpret_typed(*node).await {
                Ok(value) => Ok(value),
                Err(Odd::Of(odd)) => Ok(mix(input, odd)),
                Err(Odd::Other(text)) => Err(Error::new(text)),
            },
            Bond::Abandoned => interpret(*node).abandon().await,
            Bond::Detached => interpret(*node).detach().map(|_| mix(input, 9)),
        },
        Node::Continue(node) => interpret(*node).continue_as_new().await,
    }
}

/// Executes a program.
#[workflow]
pub async fn interpret(program: Node) -> Result<u64> {
    execute(program, 1).await
}

#[workflow]
async fn interpret_typed(program: Node) -> Result<u64, Odd> {
    match execute(program, 1).await {
        Ok(value) if value % 2 == 0 => Err(Odd::Of(value)),
        other => Ok(other?),
    }
}

/// Receives the payloads that are held for a token.
#[workflow]
pub async fn drain(token: String) -> Result<()> {
    let held = hook::<u64>().token(token).open();
    sleep(Duration::from_millis(1)).await;
    drop(held);
    Ok(())
}
