//! Programs as data, and their random generation.

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// A program: a function from a number to a number that may fail.
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
    /// Repeated; the first result determines how often.
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
    /// The first is spawned as a branch, and awaited after the second.
    Spawn(Box<[Node; 2]>),
    Detach(Box<Node>),
    Catch(Box<Node>),
    /// Receives `count` payloads of a token, whose hook is open while the node is executed.
    Letters {
        token: u8,
        count: usize,
        node: Box<Node>,
    },
    /// A step with a rollback, which may fail, too.
    Undoable {
        work: Work,
        undo: Work,
    },
    /// A step that writes this many chunks.
    Tells {
        work: Work,
        chunks: u64,
    },
    /// A step of a queue.
    Queued(Work),
    /// Suspends until somebody resumes the run with a number.
    Suspend,
    /// The workflow writes a chunk.
    Says,
    State,
    Attribute {
        key: u8,
        /// Whether the attribute is set; otherwise it is removed.
        set: bool,
    },
    Child {
        bond: Bond,
        node: Box<Node>,
    },
    /// Continues as new with this program.
    Continue(Box<Node>),
}

/// How a parent starts a child.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Bond {
    Awaited,
    /// Awaited, with a typed error.
    Typed,
    Abandoned,
    Detached,
}

/// What a step does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    pub how: How,
    /// The number of attempts that fail.
    pub failures: u32,
    /// Whether a failure is fatal, so that no retry follows.
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

/// Whether a program only computes, or also uses hooks, children, rollbacks, streams, state, queues, suspensions and
/// generations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Solitary,
    Talking,
}

/// The number of nodes that may still be generated, their manner, and whether sleeps may be long.
struct Budget {
    nodes: u32,
    manner: Manner,
    long: bool,
}

impl Node {
    pub fn generate(random: &mut StdRng, manner: Manner, long: bool) -> Self {
        let mut budget = Budget { nodes: random.random_range(3..60), manner, long };
        let mut nodes = Vec::new();
        while budget.nodes > 0 {
            let node = node(random, &mut budget, 3);
            // Catch most failures: otherwise most programs would end at their first one.
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
    budget.nodes = budget.nodes.saturating_sub(1);
    let leaf = depth == 0 || budget.nodes == 0;
    if budget.manner == Manner::Talking && random.random_bool(0.5) {
        return talk(random, budget, depth, leaf);
    }
    let choice = if leaf { random.random_range(0..9) } else { random.random_range(0..22) };
    let long = budget.long;
    let mut next = |random: &mut StdRng| node(random, budget, depth - 1);
    match choice {
        0..=3 => Node::Step(work(random)),
        // Longer than the time after which the engine reads the time of day again.
        4 if long && random.random_bool(0.2) => Node::Sleep { milliseconds: random.random_range(1_000..3_000) },
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

fn talk(random: &mut StdRng, budget: &mut Budget, depth: u32, leaf: bool) -> Node {
    match random.random_range(0..if leaf { 9 } else { 14 }) {
        0 | 1 => Node::Undoable { work: work(random), undo: work(random) },
        2 => Node::Tells { work: work(random), chunks: random.random_range(1..4) },
        3 => Node::Says,
        4 => Node::State,
        5 => Node::Attribute { key: random.random_range(0..3), set: random.random_bool(0.7) },
        6 => Node::Queued(work(random)),
        7 => Node::Suspend,
        8..=10 => {
            let (token, count) = (random.random_range(0..4), random.random_range(1..4));
            let node = if leaf { Node::Random } else { node(random, budget, depth - 1) };
            Node::Letters { token, count, node: Box::new(node) }
        }
        11 => Node::Continue(Box::new(node(random, budget, depth - 1))),
        _ => {
            let bonds = [Bond::Awaited, Bond::Awaited, Bond::Typed, Bond::Abandoned, Bond::Detached];
            let bond = bonds[random.random_range(0..bonds.len())];
            Node::Child { bond, node: Box::new(node(random, budget, depth - 1)) }
        }
    }
}
