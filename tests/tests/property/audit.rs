//! What is stored of all runs, and whether it can be true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use workflow_runtime::store::{JournalRow, RunRow, Status, Store};

use crate::interpreter::{STREAM, mix};
use crate::recorder::payload;

/// What is stored of one run.
pub struct Told {
    pub row: RunRow,
    generations: Vec<Generation>,
    pub children: Vec<String>,
    /// The payloads in its inbox.
    pub unread: Vec<u64>,
}

/// A generation of a run.
struct Generation {
    rows: Vec<JournalRow>,
    /// The events, each with the number of its turn.
    deliveries: Vec<(usize, Value)>,
}

/// All runs that a run has started, and itself, by id.
pub type Tree = BTreeMap<String, Told>;

pub async fn read(store: &dyn Store, root: &str) -> Tree {
    let mut tree = Tree::new();
    let mut next = vec![root.to_owned()];
    while let Some(id) = next.pop() {
        let Some(told) = Told::read(store, &id).await else { continue };
        next.extend(told.children.iter().cloned());
        assert!(tree.insert(id.clone(), told).is_none(), "run `{id}` was started twice");
    }
    tree
}

impl Generation {
    async fn read(store: &dyn Store, row: &RunRow, generation: u64) -> Self {
        let rows = store.journal(row.key, generation, 0, usize::MAX >> 1).await.expect("the store is readable");
        let turns = rows.iter().map(|row| serde_json::from_slice::<Value>(&row.body).expect("a turn"));
        let deliveries = turns.enumerate().flat_map(|(turn, value)| {
            let deliveries = value["deliveries"].as_array().expect("deliveries").clone();
            deliveries.into_iter().map(move |delivery| (turn, delivery))
        });
        let deliveries = deliveries.collect();
        Generation { rows, deliveries }
    }

    fn of<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        self.deliveries.iter().filter_map(move |(_, delivery)| delivery["event"].get(kind))
    }

    /// The commands of a kind, each with the number of its turn.
    fn issued<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = (usize, &'a Value)> {
        self.deliveries.iter().flat_map(move |(turn, delivery)| {
            let commands = delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
            commands.filter_map(move |command| Some((*turn, command.get(kind)?)))
        })
    }

    fn steps<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a Value> {
        let steps = self.issued("step").map(|(_, step)| step);
        steps.filter(move |step| step["step"].as_str().is_some_and(|step| step.ends_with(name)))
    }

    /// The steps that were undone, in order.
    fn undone(&self) -> Vec<u64> {
        self.steps("::undo").filter_map(|step| step["input"][1].as_u64()).collect()
    }

    /// The payloads that have reached the workflow, or its hooks.
    fn delivered(&self) -> Vec<u64> {
        self.of("payload").filter_map(|payload| payload["value"].as_u64()).collect()
    }

    /// Whether the turn in which an operation was dropped is this one.
    fn dropped(&self, op: &Value) -> Option<usize> {
        self.issued("cancel").find(|(_, cancel)| cancel["op"] == *op).map(|(turn, _)| turn)
    }

    fn ends_in(&self, turn: usize) -> bool {
        let mut deliveries = self.deliveries.iter().filter(|(of, _)| *of == turn);
        deliveries.any(|(_, delivery)| delivery.get("end").is_some() || delivery.get("unwinds").is_some())
    }

    /// How it has ended.
    fn assert_ended(&self, how: &str) {
        let ends: Vec<_> = self.deliveries.iter().filter_map(|(_, delivery)| delivery.get("end")).collect();
        assert_eq!(ends.len(), 1, "one end, and nothing behind it");
        let end = self.deliveries.last().and_then(|(_, delivery)| delivery.get("end")).expect("the end is the last");
        assert!(end.get(how).is_some(), "{how}: {end}");
        // Unless it was cancelled before it began.
        let begun = self.deliveries.len() > 1 || how != "cancelled";
        assert_eq!(self.of("started").count(), usize::from(begun));
        let kinds = ["completed", "failed", "timer", "woken", "ended", "conflict"];
        let mut ended = BTreeSet::new();
        for event in kinds.into_iter().flat_map(|kind| self.of(kind)) {
            assert!(ended.insert(event["op"].as_u64()), "an operation has ended twice: {event}");
        }
    }

    /// Every step with a rollback whose success is recorded of a workflow that has failed is undone once, in the reverse order
    /// of the results; of one that has succeeded those that it had dropped, or that ended after it. The run does not end,
    /// and undoes nothing, before all of them have ended that were begun, and the children that were cancelled.
    fn assert_undone(&self, how: &str) {
        let undoable: BTreeSet<u64> = self.steps("perform_undoable").filter_map(|step| step["op"].as_u64()).collect();
        let undone = self.undone();
        let unwinds = self.deliveries.iter().position(|(_, delivery)| delivery.get("unwinds").is_some());
        let workflow = unwinds.unwrap_or(self.deliveries.len() - 1);
        let settled: BTreeSet<u64> =
            self.of("completed").chain(self.of("failed")).filter_map(|event| event["op"].as_u64()).collect();
        for (_, delivery) in &self.deliveries[..workflow] {
            let commands = || delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
            // What is dropped behind the event that has asked for it is not begun.
            let dropped: BTreeSet<u64> = commands().filter_map(|command| command["cancel"]["op"].as_u64()).collect();
            let ops = commands().filter_map(|command| command["step"]["op"].as_u64());
            let ops = ops.filter(|op| undoable.contains(op) && !dropped.contains(op));
            let left: Vec<u64> = ops.filter(|op| !settled.contains(op)).collect();
            assert!(left.is_empty(), "the run has ended before it was known what came of {left:?}");
        }
        let completed = |deliveries: &[(usize, Value)]| -> Vec<u64> {
            let completed = deliveries.iter().filter_map(|(_, delivery)| delivery["event"]["completed"]["op"].as_u64());
            completed.filter(|op| undoable.contains(op)).collect()
        };
        let (before, late) = match unwinds {
            Some(unwinds) => (completed(&self.deliveries[..=unwinds]), completed(&self.deliveries[unwinds + 1..])),
            None => (completed(&self.deliveries), Vec::new()),
        };
        let succeeded = how == "completed" || how == "continued";
        let dropped: BTreeSet<u64> = self.issued("cancel").filter_map(|(_, cancel)| cancel["op"].as_u64()).collect();
        let owed = before.iter().filter(|op| !succeeded || dropped.contains(op)).chain(&late);
        let owed: Vec<u64> = owed.copied().collect();
        assert_eq!(undone, owed.into_iter().rev().collect::<Vec<_>>(), "the last first");
        let first = self.deliveries.iter().position(|(_, delivery)| {
            let commands = delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
            commands.filter_map(|command| command["step"]["step"].as_str()).any(|step| step.ends_with("::undo"))
        });
        let Some(first) = first else { return };
        let behind = completed(&self.deliveries[first + 1..]);
        assert!(behind.is_empty(), "it was undone before all had ended: {behind:?}");
        if !succeeded {
            self.assert_children_ended(&self.deliveries[..workflow], &self.deliveries[..=first]);
        }
    }

    /// The children that were cancelled, having been started by `begun`, have ended by then.
    fn assert_children_ended(&self, begun: &[(usize, Value)], then: &[(usize, Value)]) {
        let commands = |deliveries: &[(usize, Value)]| -> Vec<Value> {
            let commands = deliveries.iter().filter_map(|(_, delivery)| delivery.get("commands")?.as_array().cloned());
            commands.flatten().collect()
        };
        let ended: BTreeSet<u64> = ["ended", "failed"]
            .iter()
            .flat_map(|kind| then.iter().filter_map(move |(_, delivery)| delivery["event"][kind]["op"].as_u64()))
            .collect();
        let watched: BTreeMap<String, u64> = commands(then)
            .iter()
            .filter_map(|command| {
                Some((command["watch"]["run"].as_str()?.to_owned(), command["watch"]["op"].as_u64()?))
            })
            .collect();
        let behind: BTreeSet<u64> = begun
            .iter()
            .flat_map(|(_, delivery)| {
                let commands = commands(&[(0, delivery.clone())]);
                let dropped: BTreeSet<u64> =
                    commands.iter().filter_map(|command| command["cancel"]["op"].as_u64()).collect();
                let started = commands.into_iter().filter_map(|command| command["child"]["op"].as_u64());
                started.filter(|op| dropped.contains(op)).collect::<Vec<_>>()
            })
            .collect();
        for command in commands(begun) {
            let child = &command["child"];
            let (Some(op), Some(run)) = (child["op"].as_u64(), child["run"].as_str()) else { continue };
            let free = child["detached"] == true || child["abandoned"] == true;
            let has_ended = ended.contains(&op) || watched.get(run).is_some_and(|watch| ended.contains(watch));
            assert!(free || behind.contains(&op) || has_ended, "it was undone before its child had ended: {child}");
        }
    }
}

impl Told {
    async fn read(store: &dyn Store, id: &str) -> Option<Self> {
        let row = store.run(id).await.expect("the store is readable")?;
        let mut generations = Vec::new();
        for generation in 0..=row.generation {
            generations.push(Generation::read(store, &row, generation).await);
        }
        let letters = store.inbox(row.key).await.expect("the store is readable").1;
        let children = store.children(id).await.expect("the store is readable");
        let children = children.iter().map(|child| child.to_string()).collect();
        let unread = letters.iter().filter_map(|letter| payload(&letter.body)).collect();
        Some(Told { row, generations, children, unread })
    }

    pub fn events(&self) -> usize {
        self.generations.iter().map(|generation| generation.deliveries.len()).sum()
    }

    fn issued<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        self.generations.iter().flat_map(move |generation| generation.issued(kind).map(|(_, command)| command))
    }

    /// How many steps were undone.
    pub fn undone(&self) -> usize {
        self.generations.iter().map(|generation| generation.undone().len()).sum()
    }

    /// The payloads that have reached the workflow. What a generation has left is the next one's.
    pub fn delivered(&self) -> BTreeSet<u64> {
        self.generations.iter().flat_map(Generation::delivered).collect()
    }

    /// The keys of the steps whose results are recorded.
    pub fn recorded(&self) -> Vec<String> {
        let ended = self.generations.iter().enumerate().flat_map(|(number, generation)| {
            let ended = generation.of("completed").chain(generation.of("failed"));
            ended.map(move |event| format!("{}/{number}/0/{}", self.row.id, event["op"]))
        });
        ended.collect()
    }

    pub fn assert_continues(&self, before: &Told) {
        for (after, before) in self.generations.iter().zip(&before.generations) {
            let kept = after.rows.get(..before.rows.len());
            assert_eq!(kept, Some(&before.rows[..]), "the journal is not a continuation of what it was");
        }
        assert!(self.generations.len() >= before.generations.len(), "a generation is lost");
    }

    fn assert_ended(&self) {
        let status = match self.row.status {
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            other => panic!("the run is {other}"),
        };
        for (generation, at) in self.generations.iter().zip(0..) {
            let how = if at == self.row.generation { status } else { "continued" };
            generation.assert_ended(how);
            generation.assert_undone(how);
            let payloads = generation.delivered();
            let once: BTreeSet<u64> = payloads.iter().copied().collect();
            assert_eq!(once.len(), payloads.len(), "a generation has a payload twice: {payloads:?}");
        }
    }

    /// Each child that was asked for is there once, unless the same turn has given it up.
    fn assert_children(&self, tree: &Tree) {
        let ids: Vec<&str> = self.issued("child").filter_map(|child| child["run"].as_str()).collect();
        let in_order: Vec<&str> =
            ids.iter().copied().filter(|id| self.children.iter().any(|child| child == id)).collect();
        assert_eq!(in_order, self.children, "asked for: {ids:?}");
        for generation in &self.generations {
            for (turn, child) in generation.issued("child") {
                let dropped = generation.dropped(&child["op"]);
                let Some(told) = child["run"].as_str().and_then(|id| tree.get(id)) else {
                    assert!(dropped == Some(turn) || generation.ends_in(turn), "a child was never started: {child}");
                    continue;
                };
                assert_eq!(told.row.parent.as_deref(), Some(&*self.row.id));
                let free = child["detached"] == true || child["abandoned"] == true;
                let cancelled = told.row.status == Status::Cancelled;
                assert!(!cancelled || !free || dropped.is_some(), "cancelled with its parent: {child}");
                let ended = generation.of("ended").find(|event| event["op"] == child["op"]);
                let last = told.generations.last().and_then(|generation| generation.deliveries.last());
                let last = last.map(|(_, delivery)| &delivery["end"]);
                assert!(ended.is_none_or(|event| Some(&event["end"]) == last), "its parent was told something else");
            }
        }
    }

    async fn assert_shown(&self, store: &dyn Store) {
        let id = &*self.row.id;
        let state = self.issued("state").last().map(|state| state["value"].clone());
        let stored = store.state(id).await.expect("the store is readable");
        assert_eq!(stored.map(|state| serde_json::from_str(&state).expect("JSON")), state, "the state");
        let mut attributes = BTreeMap::new();
        for attribute in self.issued("attribute") {
            let key = attribute["key"].as_str().expect("a text");
            match attribute["value"].as_str() {
                Some(value) => attributes.insert(key, value),
                None => attributes.remove(key),
            };
        }
        let stored = store.attributes(id).await.expect("the store is readable");
        let stored: BTreeMap<&str, &str> = stored.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(stored, attributes, "the attributes");
    }

    async fn assert_written(&self, store: &dyn Store) {
        let page = store.chunks(self.row.key, STREAM, 0, 1_000_000).await.expect("the store is readable");
        let value = |value: &str| serde_json::from_str::<Value>(value).expect("JSON");
        assert!(page.rows.iter().zip(0..).all(|(chunk, index)| chunk.index == index));
        let said: Vec<Value> =
            page.rows.iter().filter(|chunk| chunk.writer.is_none()).map(|chunk| value(&chunk.value)).collect();
        let says: Vec<Value> = self.issued("write").map(|write| write["value"].clone()).collect();
        assert_eq!(said, says, "what the workflow has written");
        let mut told: BTreeMap<(u64, u64), Vec<Value>> = BTreeMap::new();
        for chunk in page.rows.iter().filter(|chunk| !chunk.discarded) {
            let Some(writer) = &chunk.writer else { continue };
            told.entry((writer.generation, writer.op)).or_default().push(value(&chunk.value));
        }
        for (generation, number) in self.generations.iter().zip(0..) {
            let completed: BTreeSet<u64> =
                generation.of("completed").filter_map(|event| event["op"].as_u64()).collect();
            for step in generation.steps("::tell") {
                let op = step["op"].as_u64().expect("a number");
                let (chunks, input) =
                    (step["input"][1].as_u64().expect("a number"), step["input"][2].as_u64().expect("a number"));
                let tells: Vec<Value> = (0..chunks).map(|chunk| mix(input, chunk).into()).collect();
                let expected = completed.contains(&op).then_some(tells);
                assert_eq!(told.remove(&(number, op)), expected, "what operation {op} has written");
            }
        }
        assert!(told.is_empty(), "somebody else has written: {told:?}");
    }
}

/// All runs have ended, and all that is stored of them fits.
pub async fn assert_sound(store: &dyn Store, tree: &Tree) {
    for told in tree.values() {
        told.assert_ended();
        told.assert_children(tree);
        told.assert_shown(store).await;
        told.assert_written(store).await;
    }
}

/// Each payload that the store has taken is delivered, unread or held once, and no other one is. One that names its
/// delivery may have been sent again when its token was another run's: it is there once for each run.
pub fn assert_accounted(trees: &[&Tree], taken: &BTreeSet<u64>, named: impl Fn(u64) -> bool) {
    let mut found = BTreeMap::<u64, usize>::new();
    for told in trees.iter().flat_map(|tree| tree.values()) {
        let unread: BTreeSet<u64> = told.unread.iter().copied().collect();
        assert_eq!(unread.len(), told.unread.len(), "run `{}` has a payload twice: {unread:?}", told.row.id);
        // What its last generation has taken is not unread; what one before has had and not taken may be.
        let last: BTreeSet<u64> = told.generations.last().map(Generation::delivered).into_iter().flatten().collect();
        assert!(last.is_disjoint(&unread), "run `{}` has a payload twice: {unread:?} and {last:?}", told.row.id);
        let once = &told.delivered() | &unread;
        once.into_iter().for_each(|payload| *found.entry(payload).or_default() += 1);
    }
    let known: BTreeSet<u64> = found.keys().copied().collect();
    assert_eq!(&known, taken, "the payloads that there are, and those that were acknowledged");
    let twice: Vec<_> = found.iter().filter(|(payload, times)| **times > 1 && !named(**payload)).collect();
    assert!(twice.is_empty(), "payloads that arrived twice: {twice:?}");
}
