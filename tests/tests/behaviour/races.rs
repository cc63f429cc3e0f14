//! Races between concurrent operations, each run in thousands of orders.
//!
//! Each store operation, each end of a step and each action from outside asks a [`Schedule`] for its turn, so that a
//! seed determines the order of all of them. In a third of the orders the engine crashes at some point. In half of them
//! runs are evicted as soon as they wait, and in half each turn is replayed at once.
//!
//! `WORKFLOW_SEED=N` runs only the order of that seed, which a failure prints. `WORKFLOW_SWEEP=full` runs ten times as
//! many orders.

mod children;
mod ends;
mod hooks;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use workflow_runtime::{Code, Engine, Result, Run, Status, step};

use crate::support::{Lab, Place, Schedule, Scheduled};

const ORDERS_ON_SQLITE: u64 = 25;

/// Defines a race once for each store. A race returns its outcome. In memory each listed outcome must occur.
macro_rules! races {
    (in $orders:literal orders: $($(#[$meta:meta])* async fn $name:ident($arena:ident: Arena) -> [$($outcome:literal),+] $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                use super::*;
                use crate::races::{ORDERS_ON_SQLITE, in_many_orders};
                use crate::support::Place;

                async fn race($arena: Arena) -> &'static str $body

                case!(@ memory, Nothing, || in_many_orders(Place::memory, $orders, &[$($outcome),+], race));
                case!(@ sqlite, Nothing, || in_many_orders(Place::sqlite, ORDERS_ON_SQLITE, &[], race));
            }
        )*
    };
}
use races;

/// What a race uses.
#[derive(Clone)]
struct Arena {
    schedule: Schedule,
    place: Place,
    lab: Lab,
    /// The engine that executes the runs. It may crash and be replaced.
    engine: Arc<Mutex<Option<Engine>>>,
    /// The engine that all calls from outside use: another engine on the store, or the same.
    outside: Engine,
    replays: bool,
    evicts: bool,
}

impl Arena {
    async fn new(schedule: Schedule, place: Place) -> Self {
        let lab = Lab::scheduled(&schedule);
        let (replays, evicts) = (schedule.chance(0.5), schedule.chance(0.5));
        let engine = open(&schedule, &place, &lab, replays, evicts).await;
        let dies = schedule.chance(0.33);
        let outside = match dies || schedule.chance(0.5) {
            true => open(&schedule, &place, &lab, replays, evicts).await,
            false => engine.clone(),
        };
        let engine = Arc::new(Mutex::new(Some(engine)));
        let arena = Arena { schedule, place, lab, engine, outside, replays, evicts };
        if dies {
            tokio::spawn(arena.clone().crash());
        }
        arena
    }

    async fn crash(self) {
        self.schedule.turn("crash").await;
        drop(self.engine.lock().unwrap().take());
        let engine = open(&self.schedule, &self.place, &self.lab, self.replays, self.evicts).await;
        *self.engine.lock().unwrap() = Some(engine);
    }

    /// Sends a payload when the schedule allows it. Returns whether the payload was accepted.
    async fn send(&self, token: &str, payload: u32, key: Option<&str>) -> bool {
        self.schedule.turn("send").await;
        let mut sending = self.outside.resume_hook(token, &payload);
        if let Some(key) = key {
            sending = sending.idempotency_key(key);
        }
        match sending.await {
            Ok(()) => true,
            Err(error) => {
                let code = error.code();
                let refused = [Code::HookNotFound, Code::HookDisposed, Code::HookFinished, Code::KeyReused];
                assert!(refused.contains(&code), "{error:?}");
                false
            }
        }
    }

    /// Cancels a run when the schedule allows it. Returns whether the cancel was in time.
    async fn cancel<T>(&self, run: &Run<T>) -> bool {
        self.schedule.turn("cancel").await;
        run.cancel("enough").await.unwrap()
    }

    /// Advances the clock when the schedule allows it.
    async fn pass(&self, milliseconds: u64) {
        self.schedule.turn("pass").await;
        self.schedule.pass(milliseconds);
    }

    /// Waits for the end of a run, and reads its story.
    async fn story(&self, id: &str) -> Story {
        let run: Run<Value> = self.outside.get_run(id);
        let ended = (&run).await.err();
        assert!(ended.is_none_or(|error| error.code() != Code::Stuck), "run `{id}` is stuck");
        Story::read(&self.place, id).await
    }
}

async fn open(schedule: &Schedule, place: &Place, lab: &Lab, replays: bool, evicts: bool) -> Engine {
    let store = Arc::new(Scheduled::new(place.store(), schedule));
    let mut builder = Engine::builder().store(store).environment(Arc::new(schedule.clone())).recoveries(u32::MAX);
    builder = builder.resource(lab.clone());
    if replays {
        builder = builder.replay_every_turn();
    }
    if evicts {
        builder = builder.evict_after(Duration::ZERO);
    }
    builder.open().await.unwrap()
}

/// A step that ends when the schedule allows it.
#[step(retries = 0)]
async fn sometime(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.turn().await;
    lab.note(&name);
    Ok(name)
}

/// What the store has of a run that has ended.
struct Story {
    status: Status,
    /// The events, in order.
    events: Vec<Value>,
    /// The commands that follow each event.
    commands: Vec<Vec<Value>>,
    /// The position of the event at which the rollback began.
    unwinds: Option<usize>,
    /// The payloads that stayed in the inbox.
    unread: Vec<u64>,
}

impl Story {
    async fn read(place: &Place, id: &str) -> Self {
        let store = place.store();
        let row = store.run(id).await.unwrap().unwrap();
        assert!(row.status.is_terminal(), "run `{id}` is {}", row.status);
        let turns = place.journal(id).await;
        let turns = turns.iter().map(|turn| serde_json::from_str::<Value>(turn).unwrap());
        let deliveries: Vec<Value> = turns.flat_map(|turn| turn["deliveries"].as_array().unwrap().clone()).collect();
        let ends = deliveries.iter().filter(|delivery| delivery.get("end").is_some()).count();
        assert!(ends == 1 && deliveries.last().unwrap().get("end").is_some(), "run `{id}` has {ends} ends");
        let messages = store.inbox(row.key).await.unwrap().1;
        let messages = messages.iter().map(|message| serde_json::from_slice::<Value>(&message.body).unwrap());
        let story = Story {
            status: row.status,
            events: deliveries.iter().map(|delivery| delivery["event"].clone()).collect(),
            commands: deliveries
                .iter()
                .map(|delivery| delivery["commands"].as_array().cloned().unwrap_or_default())
                .collect(),
            unwinds: deliveries.iter().position(|delivery| delivery.get("unwinds").is_some()),
            unread: messages.filter_map(|message| message["payload"]["value"].as_u64()).collect(),
        };
        story.assert_each_operation_ends_once(id);
        story
    }

    fn of<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter_map(move |event| event.get(kind))
    }

    fn issued<'a>(&'a self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        self.commands.iter().flatten().filter_map(move |command| command.get(kind))
    }

    /// The payloads that were delivered to the workflow, in order.
    fn delivered(&self) -> Vec<u64> {
        self.of("payload").map(|payload| payload["value"].as_u64().unwrap()).collect()
    }

    /// Asserts that the delivered and the unread payloads are exactly the acknowledged ones.
    fn assert_accounts_for(&self, acknowledged: &[(u32, bool)]) {
        let mut found = [self.delivered(), self.unread.clone()].concat();
        found.sort_unstable();
        let sent: BTreeSet<u64> = acknowledged.iter().filter(|(_, acked)| *acked).map(|(n, _)| u64::from(*n)).collect();
        let sent: Vec<u64> = sent.into_iter().collect();
        assert_eq!(found, sent, "delivered {:?}, unread {:?}", self.delivered(), self.unread);
    }

    fn assert_each_operation_ends_once(&self, id: &str) {
        let mut ended = BTreeSet::new();
        for kind in ["completed", "failed", "timer", "ended", "conflict"] {
            for event in self.of(kind) {
                assert!(ended.insert(event["op"].as_u64()), "an operation of run `{id}` has ended twice: {event}");
            }
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a race in `orders` orders. A failure names its seed.
fn in_many_orders<R>(place: fn() -> Place, orders: u64, outcomes: &[&'static str], race: fn(Arena) -> R)
where
    R: Future<Output = &'static str>,
{
    let one = |seed| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let place = place();
        let schedule = Schedule::new(seed, matches!(place, Place::Sqlite(_)));
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let race = async { race(Arena::new(schedule.clone(), place).await).await };
        let outcome = runtime.block_on(schedule.run(race));
        (outcome, schedule.order())
    };
    if let Some(seed) = number("WORKFLOW_SEED") {
        println!("{}", one(seed).0);
        return;
    }
    let full = std::env::var("WORKFLOW_SWEEP").is_ok_and(|sweep| sweep == "full");
    let orders = if full { 10 * orders } else { orders };
    let (mut outcomes_seen, mut different) = (BTreeMap::<_, u64>::new(), BTreeSet::new());
    for seed in 1..=orders {
        let raced = catch_unwind(AssertUnwindSafe(|| one(seed)));
        let Ok((outcome, order)) = raced else { panic!("failed with WORKFLOW_SEED={seed}") };
        *outcomes_seen.entry(outcome).or_default() += 1;
        different.insert(order);
    }
    println!("{} different orders of {orders}: {outcomes_seen:?}", different.len());
    assert!(different.len() as u64 > orders * 9 / 10, "only {} of {orders} orders are different", different.len());
    for outcome in outcomes {
        assert!(outcomes_seen.contains_key(outcome), "no order had the outcome {outcome:?}: {outcomes_seen:?}");
    }
}
