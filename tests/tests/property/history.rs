//! A run's journal, and prefixes of it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use workflow_runtime::store::{
    CreateAnswer, Fence, First, JournalRow, MemoryStore, Message, NewRun, Request, RowChange, RunRow, SendMessage,
    SendMessageAnswer, Status, Store, Turn, TurnAnswer,
};
use workflow_runtime::{Code, Result};

const FORMAT: u32 = 1;
const OWNER: u64 = 7;

/// The row and the journal of a run.
#[derive(Default)]
pub struct History {
    run: Option<RunRow>,
    rows: Vec<JournalRow>,
}

#[derive(Deserialize)]
struct Deliveries {
    deliveries: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Delivery {
    event: Box<RawValue>,
}

impl History {
    pub async fn read(store: &dyn Store, id: &str) -> Self {
        let run = store.run(id).await.expect("the store is readable");
        let rows = match &run {
            Some(run) => store.journal(run.key, run.generation, 0, usize::MAX).await.expect("the store is readable"),
            None => Vec::new(),
        };
        History { run, rows }
    }

    fn deliveries(&self) -> Vec<Box<RawValue>> {
        let turns = self.rows.iter().map(|row| serde_json::from_slice::<Deliveries>(&row.body).expect("a turn"));
        turns.flat_map(|turn| turn.deliveries).collect()
    }

    /// The number of events.
    pub fn events(&self) -> usize {
        self.deliveries().len()
    }

    /// Whether the last event is the end of a timer.
    pub fn ends_by_timer(&self) -> bool {
        let last = self.deliveries().pop();
        last.is_some_and(|last| {
            let last: Delivery = serde_json::from_str(last.get()).expect("a delivery");
            last.event.get().starts_with(r#"{"timer""#)
        })
    }

    /// The prefix of this many events, with one row for each event.
    pub fn split(&self, events: usize) -> Self {
        let rows = (0..).zip(self.deliveries().into_iter().take(events)).map(|(index, delivery)| row(index, &delivery));
        History { run: self.run.clone(), rows: rows.collect() }
    }

    pub fn assert_continues(&self, before: &History) {
        let kept = self.rows.get(..before.rows.len());
        assert_eq!(kept, Some(&before.rows[..]), "recorded rows of the journal have changed");
    }

    /// The idempotency keys of the steps that have succeeded in the first generation, without rollbacks.
    pub fn succeeded(&self) -> Vec<String> {
        let deliveries = self.deliveries();
        let events = deliveries.iter().map(|delivery| serde_json::from_str::<Value>(delivery.get()).expect("JSON"));
        let ops = events.filter_map(|delivery| delivery["event"]["completed"]["op"].as_u64());
        let id = self.run.as_ref().map(|run| run.id.clone()).unwrap_or_default();
        ops.map(|op| format!("{id}/0/0/{op}")).collect()
    }

    /// Asserts that this generation of the run begins with what it keeps of the one before it, which had failed. It keeps
    /// nothing if the first event of the run has made it fail.
    pub fn assert_retries(&self, failed: &History) {
        let events = |history: &History| -> Vec<String> {
            let deliveries = history.deliveries().into_iter();
            deliveries
                .map(|delivery| serde_json::from_str::<Delivery>(delivery.get()).expect("JSON").event.to_string())
                .collect()
        };
        let (kept, failed) = (events(self), events(failed));
        let reopened = kept.iter().position(|event| event.starts_with(r#"{"reopened""#));
        assert!(reopened.is_some() || failed.len() == 1, "the run was not reopened");
        let mut failed = failed.iter();
        for event in &kept[..reopened.unwrap_or(0)] {
            assert!(failed.any(|before| before == event), "an event of another history is kept: {event}");
        }
    }

    pub fn assert_ended(&self, outcome: &Result<u64>) {
        let run = self.run.as_ref().expect("there is a run");
        let last = self.deliveries().pop().expect("the journal has an event");
        let last: Value = serde_json::from_str(last.get()).expect("an event");
        match outcome {
            Ok(value) => {
                assert_eq!(run.status, Status::Completed);
                assert_eq!(last["end"]["completed"], Value::from(*value));
            }
            Err(error) => {
                assert!(
                    matches!(error.code(), Code::User | Code::Timeout),
                    "the run failed with an unexpected error: {error:?}"
                );
                assert_eq!(run.status, Status::Failed, "{error:?}");
                assert_eq!(last["end"]["failed"]["message"], Value::from(error.message()));
            }
        }
    }

    /// A store with a prefix of the run's journal, as after a crash. With `message` the next event is in the inbox.
    pub async fn beginning(&self, events: usize, message: bool) -> MemoryStore {
        let run = self.run.clone().expect("there is a run");
        let store = MemoryStore::new();
        let right =
            store.acquire(OWNER).await.expect("memory is writable").expect("no other engine has the right to execute");
        let mut rows = self.split(events).rows.into_iter();
        let change = RowChange {
            status: Status::Running,
            wake_at: Some(0),
            started_at: run.started_at,
            completed_at: None,
            stuck: None,
            error: None,
            refused_by: None,
        };
        let first = First::Turn { owner: OWNER, row: rows.next().expect("at least one event"), change };
        let created = commit(
            &store,
            NewRun {
                id: run.id.clone(),
                workflow: run.workflow,
                fingerprint: run.fingerprint,
                args_digest: run.args_digest,
                created_at: run.created_at,
                token: 1,
                required_deployment: None,
                depth: 0,
                effects: None,
                chunks: Vec::new(),
                first,
            },
        );
        let CreateAnswer::Created(key) = created.await else { panic!("the run is not created") };
        for row in rows {
            let turn = Turn {
                run: key,
                generation: 0,
                fence: Fence { owner: OWNER, epoch: 1 },
                row: Some(row),
                change: None,
                effects: None,
                delivered: Vec::new(),
                unread: Vec::new(),
                returned: Vec::new(),
                chunks: Vec::new(),
                settles: Vec::new(),
            };
            assert!(matches!(commit(&store, turn).await, TurnAnswer::Committed));
        }
        if message {
            let next: Delivery = serde_json::from_str(self.deliveries()[events].get()).expect("a delivery");
            let body = next.event.get().as_bytes();
            let message = Message {
                dedupe: None,
                arrived_at: run.created_at,
                format: FORMAT,
                checksum: crc32fast::hash(body),
                body: body.into(),
            };
            assert!(matches!(
                commit(&store, SendMessage { run: run.id, message, unstick: false }).await,
                SendMessageAnswer::Committed
            ));
        }
        drop(right);
        store
    }
}

async fn commit<R: Request>(store: &MemoryStore, request: R) -> R::Answer {
    let answer = store.commit(&[request.into()]).await.expect("memory is writable").remove(0);
    R::answer(answer).expect("an answer of the same kind")
}

fn row(index: u64, delivery: &RawValue) -> JournalRow {
    let body = format!(r#"{{"deliveries":[{}]}}"#, delivery.get()).into_bytes();
    JournalRow { index, turn: index.into(), format: FORMAT, checksum: crc32fast::hash(&body), body: body.into() }
}
