//! Reads everything that a store has of a tree of runs, and checks that it is consistent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use workflow_runtime::store::{JournalRow, RunRow, Status, Store};

use crate::interpreter::{STREAM, mix};
use crate::recorder::payload;

/// Everything that the store has of one run.
pub struct StoredRun {
    pub row: RunRow,
    generations: Vec<Generation>,
    pub children: Vec<String>,
    /// The payloads in the run's inbox.
    pub unread: Vec<u64>,
}

/// A generation of a run.
struct Generation {
    rows: Vec<JournalRow>,
    /// The deliveries, each with the number of its turn.
    deliveries: Vec<(usize, Value)>,
}

/// A run and all its descendants, by id.
pub type Tree = BTreeMap<String, StoredRun>;

pub async fn read(store: &dyn Store, root: &str) -> Tree {
    let mut tree = Tree::new();
    let mut next = vec![root.to_owned()];
    while let Some(id) = next.pop() {
        let Some(run) = StoredRun::read(store, &id).await else { continue };
        next.extend(run.children.iter().cloned());
        assert!(tree.insert(id.clone(), run).is_none(), "run `{id}` was started twice");
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

    /// The commands that start runs, each with the number of its turn.
    fn starts(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.deliveries.iter().flat_map(|(turn, delivery)| {
            let commands = delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
            let started = commands.filter_map(|command| command.get("child").or_else(|| command.get("step")));
            started
                .filter(|started| started.get("run").is_some_and(Value::is_string))
                .map(move |started| (*turn, started))
        })
    }

    fn steps<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a Value> {
        let steps = self.issued("step").map(|(_, step)| step);
        steps.filter(move |step| step["step"].as_str().is_some_and(|step| step.ends_with(name)))
    }

    /// The operations that were undone, in order.
    fn undone(&self) -> Vec<u64> {
        self.steps("::undo").filter_map(|step| step["input"][1].as_u64()).collect()
    }

    /// The payloads that were delivered to the workflow.
    fn delivered(&self) -> Vec<u64> {
        self.of("payload").filter_map(|payload| payload["value"].as_u64()).collect()
    }

    /// The turn in which an operation was dropped, if it was.
    fn dropped(&self, op: &Value) -> Option<usize> {
        self.issued("cancel").find(|(_, cancel)| cancel["op"] == *op).map(|(turn, _)| turn)
    }

    fn ends_in(&self, turn: usize) -> bool {
        let mut deliveries = self.deliveries.iter().filter(|(of, _)| *of == turn);
        deliveries.any(|(_, delivery)| delivery.get("end").is_some() || delivery.get("unwinds").is_some())
    }

    /// The idempotency keys of the steps whose results are recorded.
    fn recorded(&self, run: &str, number: usize) -> Vec<String> {
        let mut base = json!({ "generation": number, "unwindings": 0 });
        let mut keys = BTreeMap::new();
        let mut recorded = Vec::new();
        for (_, delivery) in &self.deliveries {
            let event = &delivery["event"];
            // A retry continues the generation that has failed, with its keys.
            if let Some(reopened) = event.get("reopened") {
                base = reopened["base"].clone();
            }
            let ended = event["completed"]["op"].as_u64().or(event["failed"]["op"].as_u64());
            recorded.extend(ended.and_then(|op| keys.get(&op).cloned()));
            for command in delivery["commands"].as_array().into_iter().flatten() {
                let Some(op) = command["step"]["op"].as_u64() else { continue };
                let key = command["step"].get("key").unwrap_or(&base);
                keys.insert(op, format!("{run}/{}/{}/{op}", key["generation"], key["unwindings"]));
            }
        }
        recorded
    }

    /// The number of deliveries that a fork has from the run that was forked: the first of its own follows them.
    fn inherited(&self) -> usize {
        let is_fork = |delivery: &Value| delivery["event"]["reopened"]["source"].is_string();
        self.deliveries.iter().rposition(|(_, delivery)| is_fork(delivery)).map_or(0, |at| at + 1)
    }

    fn has_continued(&self) -> bool {
        self.deliveries.last().is_some_and(|(_, delivery)| delivery["end"].get("continued").is_some())
    }

    /// Asserts that the generation has this end, and that no operation ended twice.
    fn assert_ended(&self, how: &str) {
        let ends: Vec<_> = self.deliveries.iter().filter_map(|(_, delivery)| delivery.get("end")).collect();
        assert_eq!(ends.len(), 1, "a generation has one end");
        let end = self
            .deliveries
            .last()
            .and_then(|(_, delivery)| delivery.get("end"))
            .expect("the end is in the last delivery");
        assert!(end.get(how).is_some(), "{how}: {end}");
        // A run that was cancelled before its start has no event `started`.
        let begun = self.deliveries.len() > 1 || how != "cancelled";
        assert_eq!(self.of("started").count(), usize::from(begun));
        let kinds = ["completed", "failed", "timer", "woken", "ended", "conflict"];
        let mut ended = BTreeSet::new();
        for event in kinds.into_iter().flat_map(|kind| self.of(kind)) {
            assert!(ended.insert(event["op"].as_u64()), "an operation has ended twice: {event}");
        }
    }

    /// Asserts the rules of rollbacks. A failed workflow undoes each succeeded step with a rollback once, in the
    /// reverse order of the results. A succeeded one undoes those that it had dropped and those that ended after it.
    /// Before the run undoes anything or ends, all steps with a rollback that began and all cancelled children must
    /// have ended.
    fn assert_undone(&self, how: &str) {
        let mut undoable: BTreeSet<u64> =
            self.steps("perform_undoable").filter_map(|step| step["op"].as_u64()).collect();
        let undone = self.undone();
        let own = self.inherited();
        // The run of a fork has executed the step whose result is delivered to the fork again.
        let again =
            self.deliveries[..own].last().and_then(|(_, delivery)| delivery["event"]["reopened"]["again"].as_u64());
        undoable.retain(|op| again != Some(*op));
        let unwinds = self.deliveries.iter().position(|(_, delivery)| delivery.get("unwinds").is_some());
        let workflow = unwinds.unwrap_or(self.deliveries.len() - 1);
        let dropped_before = |op: u64| {
            self.deliveries[..own].iter().any(|(_, delivery)| {
                let commands = delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
                commands.filter_map(|command| command["cancel"]["op"].as_u64()).any(|dropped| dropped == op)
            })
        };
        let settled: BTreeSet<u64> =
            self.of("completed").chain(self.of("failed")).filter_map(|event| event["op"].as_u64()).collect();
        for (at, (_, delivery)) in self.deliveries[..workflow].iter().enumerate() {
            let commands = || delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
            // A step that is dropped in the delivery that issued it does not begin. One that the run of a fork has dropped
            // ends in that run.
            let dropped: BTreeSet<u64> = commands().filter_map(|command| command["cancel"]["op"].as_u64()).collect();
            let ops = commands().filter_map(|command| command["step"]["op"].as_u64());
            let ended_there = |op: &u64| at < own && dropped_before(*op);
            let ops = ops.filter(|op| undoable.contains(op) && !dropped.contains(op) && !ended_there(op));
            let left: Vec<u64> = ops.filter(|op| !settled.contains(op)).collect();
            assert!(left.is_empty(), "the workflow ended before the steps {left:?}");
        }
        let completed = |deliveries: &[(usize, Value)]| -> Vec<u64> {
            let completed = deliveries.iter().filter_map(|(_, delivery)| delivery["event"]["completed"]["op"].as_u64());
            completed.filter(|op| undoable.contains(op)).collect()
        };
        let (before, late) = match unwinds {
            Some(unwinds) => (completed(&self.deliveries[own..=unwinds]), completed(&self.deliveries[unwinds + 1..])),
            None => (completed(&self.deliveries[own..]), Vec::new()),
        };
        let succeeded = how == "completed" || how == "continued";
        let dropped: BTreeSet<u64> = self.issued("cancel").filter_map(|(_, cancel)| cancel["op"].as_u64()).collect();
        let owed = before.iter().filter(|op| !succeeded || dropped.contains(op)).chain(&late);
        let owed: Vec<u64> = owed.copied().collect();
        assert_eq!(
            undone,
            owed.into_iter().rev().collect::<Vec<_>>(),
            "the rollbacks are not in the reverse order of the results"
        );
        let first = self.deliveries.iter().position(|(_, delivery)| {
            let commands = delivery.get("commands").and_then(Value::as_array).into_iter().flatten();
            commands.filter_map(|command| command["step"]["step"].as_str()).any(|step| step.ends_with("::undo"))
        });
        let Some(first) = first else { return };
        let behind = completed(&self.deliveries[first + 1..]);
        assert!(behind.is_empty(), "a rollback began before these steps had ended: {behind:?}");
        if !succeeded {
            self.assert_children_ended(&self.deliveries[own..workflow], &self.deliveries[..=first]);
        }
    }

    /// Asserts that the children which `begun` has started, except detached and abandoned ones, have ended in `then`.
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
            assert!(free || behind.contains(&op) || has_ended, "a rollback began before this child had ended: {child}");
        }
    }
}

impl StoredRun {
    async fn read(store: &dyn Store, id: &str) -> Option<Self> {
        let row = store.run(id).await.expect("the store is readable")?;
        let mut generations = Vec::new();
        for generation in 0..=row.generation {
            generations.push(Generation::read(store, &row, generation).await);
        }
        let messages = store.inbox(row.key).await.expect("the store is readable").1;
        let children = store.children(id).await.expect("the store is readable");
        let children = children.iter().map(|child| child.to_string()).collect();
        let unread = messages.iter().filter_map(|message| payload(&message.body)).collect();
        Some(StoredRun { row, generations, children, unread })
    }

    pub fn events(&self) -> usize {
        self.generations.iter().map(|generation| generation.deliveries.len()).sum()
    }

    fn issued<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        self.generations.iter().flat_map(move |generation| generation.issued(kind).map(|(_, command)| command))
    }

    /// The number of steps that were undone.
    pub fn undone(&self) -> usize {
        self.generations.iter().map(|generation| generation.undone().len()).sum()
    }

    /// Asserts that the run, a fork, has undone no operation that it inherited.
    pub fn assert_undoes_its_own(&self) {
        let first = &self.generations[0];
        let inherited = &first.deliveries[..first.inherited()];
        let kept = inherited.iter().filter_map(|(_, delivery)| delivery["event"]["completed"]["op"].as_u64());
        let kept: BTreeSet<u64> = kept.collect();
        let undone: BTreeSet<u64> = first.undone().into_iter().collect();
        assert!(kept.is_disjoint(&undone), "the fork has undone {undone:?}, and inherited {kept:?}");
    }

    /// The payloads that were delivered to any generation of the run, except those that a retry has replaced.
    pub fn delivered(&self) -> BTreeSet<u64> {
        self.in_force().flat_map(|(_, generation)| generation.delivered()).collect()
    }

    /// The generations and their numbers, without those that a retry has replaced.
    fn in_force(&self) -> impl Iterator<Item = (usize, &Generation)> {
        let last = self.generations.len() - 1;
        let all = self.generations.iter().enumerate();
        all.filter(move |(number, generation)| *number == last || generation.has_continued())
    }

    /// The idempotency keys of the steps whose results are recorded.
    pub fn recorded(&self) -> Vec<String> {
        self.in_force().flat_map(|(number, generation)| generation.recorded(&self.row.id, number)).collect()
    }

    pub fn assert_continues(&self, before: &StoredRun) {
        for (after, before) in self.generations.iter().zip(&before.generations) {
            let kept = after.rows.get(..before.rows.len());
            assert_eq!(kept, Some(&before.rows[..]), "recorded rows of the journal have changed");
        }
        assert!(self.generations.len() >= before.generations.len(), "a generation is lost");
    }

    pub fn assert_ended(&self) {
        let status = match self.row.status {
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            other => panic!("the run is {other}"),
        };
        for (number, generation) in self.in_force() {
            let how = if number + 1 == self.generations.len() { status } else { "continued" };
            generation.assert_ended(how);
            generation.assert_undone(how);
            let payloads = generation.delivered();
            let once: BTreeSet<u64> = payloads.iter().copied().collect();
            assert_eq!(once.len(), payloads.len(), "a generation received a payload twice: {payloads:?}");
        }
    }

    /// The commands that start runs: of children, and of steps of a queue.
    fn starts(&self) -> impl Iterator<Item = &Value> {
        self.generations.iter().flat_map(|generation| generation.starts().map(|(_, command)| command))
    }

    /// The number of steps of a queue, and of payloads that resumed a suspension.
    pub fn queued(&self) -> usize {
        self.issued("step").filter(|step| step.get("run").is_some_and(Value::is_string)).count()
    }

    pub fn suspended(&self) -> usize {
        let hooks = self.issued("hook").filter_map(|hook| hook["token"].as_str());
        hooks.filter(|token| token.starts_with("suspended/")).count()
    }

    /// Asserts that each child command has created one run, unless the same turn dropped it or ended the run.
    fn assert_children(&self, tree: &Tree) {
        let ids: Vec<&str> = self.starts().filter_map(|child| child["run"].as_str()).collect();
        let in_order: Vec<&str> =
            ids.iter().copied().filter(|id| self.children.iter().any(|child| child == id)).collect();
        assert_eq!(in_order, self.children, "commands for children: {ids:?}");
        for generation in &self.generations {
            for (turn, child) in generation.starts() {
                let dropped = generation.dropped(&child["op"]);
                let Some(run) = child["run"].as_str().and_then(|id| tree.get(id)) else {
                    assert!(dropped == Some(turn) || generation.ends_in(turn), "a child was never started: {child}");
                    continue;
                };
                assert_eq!(run.row.parent.as_deref(), Some(&*self.row.id));
                let free = child["detached"] == true || child["abandoned"] == true;
                let cancelled = run.row.status == Status::Cancelled;
                assert!(
                    !cancelled || !free || dropped.is_some(),
                    "a detached or abandoned child was cancelled with its parent: {child}"
                );
                let ended = generation.of("ended").find(|event| event["op"] == child["op"]);
                let last = run.generations.last().and_then(|generation| generation.deliveries.last());
                let last = last.map(|(_, delivery)| &delivery["end"]);
                assert!(ended.is_none_or(|event| Some(&event["end"]) == last), "the parent received another end");
            }
        }
    }

    /// Asserts that the state and the attributes of the run are those that its workflow has set. The journal of a fork of a later
    /// generation has no attributes of the earlier ones.
    pub async fn assert_shown(&self, store: &dyn Store) {
        let id = &*self.row.id;
        let carried = self.generations[0].of("started").next().map(|started| &started["carried"]);
        let begun = carried.and_then(|carried| carried.get("state"));
        let set = self.in_force().flat_map(|(_, generation)| generation.issued("state")).last();
        let state = set.map(|(_, state)| &state["value"]).or(begun).cloned();
        let stored = store.state(id).await.expect("the store is readable");
        assert_eq!(stored.map(|state| serde_json::from_str(&state).expect("JSON")), state, "the state");
        if carried.is_some_and(|carried| carried.get("attributes").is_some()) {
            return;
        }
        let mut attributes = BTreeMap::new();
        let changes = self.in_force().flat_map(|(_, generation)| generation.issued("attribute"));
        for (_, attribute) in changes {
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
        let found: Vec<Value> =
            page.rows.iter().filter(|chunk| chunk.writer.is_none()).map(|chunk| value(&chunk.value)).collect();
        let expected: Vec<Value> = self.issued("write").map(|write| write["value"].clone()).collect();
        assert_eq!(found, expected, "the chunks of the workflow");
        let mut written: BTreeMap<(u64, u64), Vec<Value>> = BTreeMap::new();
        for chunk in page.rows.iter().filter(|chunk| !chunk.discarded) {
            let Some(writer) = &chunk.writer else { continue };
            written.entry((writer.generation, writer.op)).or_default().push(value(&chunk.value));
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
                assert_eq!(written.remove(&(number, op)), expected, "the chunks of operation {op}");
            }
        }
        assert!(written.is_empty(), "chunks of unknown writers: {written:?}");
    }
}

/// Asserts that all runs have ended and that everything stored of them is consistent.
pub async fn assert_sound(store: &dyn Store, tree: &Tree) {
    for run in tree.values() {
        run.assert_ended();
        run.assert_children(tree);
        run.assert_shown(store).await;
        run.assert_written(store).await;
    }
}

/// Asserts that each payload that the store accepted was delivered, is unread, or was held once, and that there are no
/// other payloads. A payload with a key (`named`) may have been sent again when another run had the token: each run has
/// it once. A retry may have `lost` some.
pub fn assert_accounted(trees: &[&Tree], taken: &BTreeSet<u64>, lost: &BTreeSet<u64>, named: impl Fn(u64) -> bool) {
    let mut found = BTreeMap::<u64, usize>::new();
    for run in trees.iter().flat_map(|tree| tree.values()) {
        let unread: BTreeSet<u64> = run.unread.iter().copied().collect();
        assert_eq!(unread.len(), run.unread.len(), "run `{}` has a payload twice: {unread:?}", run.row.id);
        // A payload that the last generation received is not unread. One that an earlier generation received may be.
        let last: BTreeSet<u64> = run.generations.last().map(Generation::delivered).into_iter().flatten().collect();
        assert!(last.is_disjoint(&unread), "run `{}` has a payload twice: {unread:?} and {last:?}", run.row.id);
        let once = &run.delivered() | &unread;
        once.into_iter().for_each(|payload| *found.entry(payload).or_default() += 1);
    }
    let known: BTreeSet<u64> = found.keys().copied().collect();
    assert!(known.is_subset(taken), "payloads that were not acknowledged: {:?}", &known - taken);
    let missing = &(taken - &known) - lost;
    assert!(missing.is_empty(), "acknowledged payloads that the store does not have: {missing:?}");
    let twice: Vec<_> = found.iter().filter(|(payload, times)| **times > 1 && !named(**payload)).collect();
    assert!(twice.is_empty(), "payloads that arrived twice: {twice:?}");
}
