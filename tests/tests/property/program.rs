//! Programs, as data.

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// A program: it makes a number of a number, or fails.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Node {
    Step(Work),
    Sleep {
        milliseconds: u64,
    },
    Random,
    Uuid,
    Now(Work),
    Foreign {
        yields: u32,
    },
    Sequence(Vec<Node>),
    /// As many times as its first result says.
    Loop(Box<Node>),
    JoinAll(Vec<Node>),
    TryJoinAll(Vec<Node>),
    Unordered(Vec<Node>),
    Buffered {
        most: usize,
        nodes: Vec<Node>,
    },
    Join(Box<[Node; 2]>),
    /// The loser is dropped.
    Race(Box<[Node; 2]>),
    Timeout {
        milliseconds: u64,
        node: Box<Node>,
    },
    /// The first as a branch beside the second, and awaited after it.
    Spawn(Box<[Node; 2]>),
    Detach(Box<Node>),
    Catch(Box<Node>),
}

/// What a step does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    pub how: How,
    /// How many attempts fail.
    pub failures: u32,
    /// Whether the failure ends it.
    pub fatal: bool,
    pub timeout_ms: Option<u64>,
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum How {
    Yields(u32),
    /// Until the test lets it pass.
    Gate,
    Milliseconds(u64),
}

/// How many nodes there may still be.
struct Budget(u32);

impl Node {
    pub fn generate(random: &mut StdRng) -> Self {
        let mut budget = Budget(random.random_range(3..60));
        let mut nodes = Vec::new();
        while budget.0 > 0 {
            let node = node(random, &mut budget, 3);
            // Else most would end at their first failure.
            nodes.push(if random.random_bool(0.9) { Node::Catch(Box::new(node)) } else { node });
        }
        Node::Sequence(nodes)
    }
}

fn work(random: &mut StdRng) -> Work {
    Work {
        how: match random.random_range(0..5) {
            0 | 1 => How::Gate,
            2 => How::Milliseconds(random.random_range(0..4)),
            _ => How::Yields(random.random_range(0..12)),
        },
        failures: if random.random_bool(0.2) { random.random_range(1..3) } else { 0 },
        fatal: random.random_bool(0.3),
        timeout_ms: random.random_bool(0.1).then_some(50),
    }
}

fn node(random: &mut StdRng, budget: &mut Budget, depth: u32) -> Node {
    budget.0 = budget.0.saturating_sub(1);
    let leaf = depth == 0 || budget.0 == 0;
    let choice = if leaf { random.random_range(0..9) } else { random.random_range(0..22) };
    let mut next = |random: &mut StdRng| node(random, budget, depth - 1);
    match choice {
        0..=3 => Node::Step(work(random)),
        4 => Node::Sleep { milliseconds: random.random_range(0..4) },
        5 => Node::Random,
        6 => Node::Uuid,
        7 => Node::Now(work(random)),
        8 => Node::Foreign { yields: random.random_range(0..5) },
        9 => Node::Loop(Box::new(next(random))),
        10 => Node::Join(Box::new([next(random), next(random)])),
        11 | 12 => Node::Race(Box::new([next(random), next(random)])),
        13 => Node::Timeout { milliseconds: random.random_range(0..4), node: Box::new(next(random)) },
        14 | 15 => Node::Spawn(Box::new([next(random), next(random)])),
        16 => Node::Detach(Box::new(next(random))),
        17 => Node::Catch(Box::new(next(random))),
        several => {
            let nodes: Vec<_> = (0..random.random_range(0..5)).map(|_| next(random)).collect();
            match several {
                18 => Node::JoinAll(nodes),
                19 => Node::TryJoinAll(nodes),
                20 => Node::Unordered(nodes),
                _ => Node::Buffered { most: random.random_range(1..4), nodes },
            }
        }
    }
}
