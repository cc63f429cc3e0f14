//! The workflow that executes a program.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use futures::stream::{self, FuturesUnordered};
use workflow_runtime::{
    Durable, DurableExt, Error, Result, durable, nondeterministic, now, random, sleep, spawn, step, step_info, timeout,
    uuid, workflow,
};

use crate::program::{How, Node, Work};
use crate::world::{World, yields};

/// Another number for each pair, whatever came before.
fn mix(a: u64, b: u64) -> u64 {
    (a ^ b.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) ^ b
}

#[step(retries = 2, backoff = "1ms..2ms")]
async fn perform(#[resource] world: &Arc<World>, work: Work, input: u64) -> Result<u64> {
    let attempt = step_info().map_or(1, |info| info.attempt);
    match work.how {
        How::Yields(times) => yields(times).await,
        How::Gate => world.pass().await,
        How::Milliseconds(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
    }
    match attempt <= work.failures {
        true if work.fatal => Err(Error::fatal("fatal")),
        true => Err(Error::new(format!("attempt {attempt} fails"))),
        false => Ok(mix(input, u64::from(work.failures))),
    }
}

async fn foreign(times: u32, input: u64) -> u64 {
    yields(times).await;
    mix(input, 5)
}

/// The future of a program, whatever it is.
fn execute(node: Node, input: u64) -> Pin<Box<dyn Durable<Output = Result<u64>> + Send>> {
    DurableExt::boxed(execute_node(node, input))
}

fn each(nodes: Vec<Node>, input: u64) -> impl Iterator<Item = Pin<Box<dyn Durable<Output = Result<u64>> + Send>>> {
    (0..).zip(nodes).map(move |(index, node)| execute(node, mix(input, index)))
}

/// A number for what came out, failures included.
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
    }
}

/// Executes a program.
#[workflow]
pub async fn interpret(program: Node) -> Result<u64> {
    execute(program, 1).await
}
