//! The rules that keep the records of a run correct: one writer, and answers that follow commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use workflow_runtime::store::{
    Answer, CreateAnswer, Deliver, First, Message, Release, SendMessage, SendMessageAnswer, Status, Store, TurnAnswer,
    Write,
};
use workflow_runtime::{Code, Engine, Error, Result, Run, hook, sleep, step, workflow};

use crate::support::{Faulty, Lab, Place, When, recorded};

#[step]
pub(super) async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    lab.note(&format!("{name} returns"));
    Ok(name)
}

#[step]
pub(super) async fn note(#[resource] lab: &Lab, name: String) -> Result<usize> {
    Ok(lab.note(&name))
}

#[workflow]
async fn one_two_three() -> Result<usize> {
    note("one".into()).await?;
    note("two".into()).await?;
    note("three".into()).await
}

#[workflow]
async fn two_steps_beside_a_hook() -> Result<usize> {
    let steps = async {
        gated("first".into()).await?;
        note("second".into()).await
    };
    let (second, answer) = tokio::join!(steps, hook::<()>().token("t"));
    answer?;
    second
}

/// Holds every group that has a turn with this index or a later one, until the gate `commit` is open.
pub(super) fn hold_turns(faulty: &Faulty, lab: &Lab, from: u64) {
    let lab = lab.clone();
    faulty.before(move |group| {
        let held = group
            .iter()
            .any(|write| matches!(write, Write::Turn(turn) if turn.row.as_ref().is_some_and(|row| row.index >= from)));
        let lab = lab.clone();
        held.then(|| {
            lab.note("held");
            Box::pin(async move { lab.pass_gate("commit").await }) as _
        })
    });
}

pub(super) async fn open_faulty(faulty: &Faulty, lab: &Lab) -> Engine {
    Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone()).open().await.unwrap()
}

on_each_store! {
    async fn rule_1_a_stale_owner_records_nothing(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        hold_turns(&faulty, &lab, 1);
        let stale = open_faulty(&faulty, &lab).await;
        stale.start(one_two_three, ()).id("run").await.unwrap();
        lab.executed("held", 1).await;
        faulty.lose_ownership();
        let owner = place.open(&lab).await;
        let run: Run<usize> = owner.get_run("run");
        assert_eq!((&run).await.unwrap(), 1);
        let journal = place.rows("run").await;
        lab.open_gate("commit");
        stale.shutdown().await.unwrap();
        assert_eq!(place.rows("run").await, journal);
        assert_eq!((lab.count("one"), lab.count("two")), (2, 1), "the stale owner did not execute `two`");
    }

    async fn rule_1_an_answer_to_a_claim_of_a_lost_ownership_activates_no_run(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        // The first turn of the first run waits for its commit, because its verification (the second read of a journal)
        // is held.
        let (journals, armed) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let (reader, is_armed) = (lab.clone(), armed.clone());
        faulty.reads(move |method| {
            let lab = reader.clone();
            match method {
                "journal" if journals.fetch_add(1, Ordering::SeqCst) == 1 => {
                    lab.note("verifying");
                    Some(Box::pin(async move { lab.pass_gate("turn").await }))
                }
                // The first turn is committed between the reads of a journal and of an inbox by the next activation.
                "inbox" if is_armed.load(Ordering::SeqCst) => {
                    lab.note("inbox");
                    lab.open_gate("turn");
                    Some(Box::pin(async move { lab.executed("sent", 1).await }))
                }
                "acquire" if is_armed.load(Ordering::SeqCst) => Some(Box::pin(async move {
                    for _ in 0..1_000 {
                        tokio::task::yield_now().await;
                    }
                    if lab.count("inbox") > 0 {
                        lab.executed("sent", 1).await;
                    }
                })),
                _ => None,
            }
        });
        let sender = lab.clone();
        faulty.after(move |group| {
            let lab = sender.clone();
            let is_first = |write: &Write| matches!(write, Write::Turn(turn) if turn.row.as_ref().is_some_and(|row| row.index == 0));
            if group.iter().any(is_first) {
                lab.note("sent");
            }
            let claims = group.iter().any(|write| matches!(write, Write::Claim(claim) if claim.again));
            claims.then(|| {
                lab.note("claimed");
                Box::pin(async move { lab.pass_gate("claim").await }) as _
            })
        });
        let engine = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone());
        let engine = engine.replay_every_turn().open().await.unwrap();
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        let first = client.start(one_two_three, ()).id("first").await.unwrap();
        lab.executed("verifying", 1).await;
        // The claim of the second run is in doubt. When the engine sends it again, it returns all runs that the engine
        // owns.
        faulty.plan(|group| {
            let claims = |write: &Write| matches!(write, Write::Claim(claim) if !claim.again);
            group.iter().any(claims).then_some(When::CommittedButInDoubt)
        });
        let second = client.start(one_two_three, ()).id("second").await.unwrap();
        lab.executed("claimed", 1).await;
        faulty.plan(|_| None);
        faulty.end_right();
        while engine.health().await.unwrap().executes {
            workflow_harness::pause().await;
        }
        armed.store(true, Ordering::SeqCst);
        lab.open_gate("claim");
        let mut results = [first.await.unwrap(), second.await.unwrap()];
        results.sort_unstable();
        assert_eq!(results, [1, 2], "each run has executed each step once");
    }

    async fn rule_2_a_message_that_arrives_during_a_release_is_not_lost(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = open_faulty(&faulty, &lab).await;
        engine.start(parks, ()).id("run").await.unwrap();
        let inner = place.store();
        faulty.before(move |group| {
            let release = group.iter().any(|write| matches!(write, Write::Release(Release { .. })));
            let inner = inner.clone();
            release.then(|| Box::pin(async move { post(&*inner, "run", r#"{"completed":{"op":99,"value":null}}"#, 0).await }) as _)
        });
        engine.shutdown().await.unwrap();
        let store = place.store();
        let key = store.run("run").await.unwrap().unwrap().key;
        assert_eq!(store.inbox(key).await.unwrap().1.len(), 1);
        let engine = place.open(&lab).await;
        while !store.inbox(key).await.unwrap().1.is_empty() {
            workflow_harness::pause().await;
        }
        drop(engine);
    }

    async fn rule_5_no_step_begins_under_an_expired_ownership(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = open_faulty(&faulty, &lab).await;
        let run = engine.start(two_steps_beside_a_hook, ()).id("run").await.unwrap();
        lab.executed("first", 1).await;
        faulty.expire();
        lab.open_gate("first");
        recorded(&place, "run", r#""completed""#).await;
        // The engine commits the next turn after it has executed or skipped the commands of the turn before.
        engine.resume_hook("t", &()).await.unwrap();
        recorded(&place, "run", r#""payload""#).await;
        assert_eq!(lab.count("second"), 0);
        drop((run, engine));
        let engine = place.open(&lab).await;
        assert_eq!(engine.get_run::<usize, Error>("run").await.unwrap(), 1);
    }

    async fn rule_4_a_commit_in_doubt_is_sent_again_and_counts_once(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let mut faults = [When::CommittedButInDoubt, When::LostAndInDoubt].into_iter().cycle();
        let mut again = false;
        faulty.plan(move |group| {
            let concerns = group.iter().any(|write| matches!(write, Write::Turn(_) | Write::Create(_)));
            again = !again && concerns;
            if again { faults.next() } else { None }
        });
        let engine = open_faulty(&faulty, &lab).await;
        let run = engine.start(one_two_three, ()).id("run").await.unwrap();
        assert_eq!(run.await.unwrap(), 1);
        assert_eq!(place.rows("run").await.len(), 4);
        assert_eq!(lab.notes(), ["one", "two", "three"]);
        engine.shutdown().await.unwrap();
        assert!(faulty.groups() >= 8, "each of the four groups was sent twice");
    }

    async fn rule_4_a_start_that_stays_in_doubt_is_executed_if_it_was_committed(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = open_faulty(&faulty, &lab).await;
        let mut doubts = [When::CommittedButInDoubt, When::LostAndInDoubt, When::LostAndInDoubt, When::LostAndInDoubt].into_iter();
        faulty.plan(move |group| {
            let create = group.iter().any(|write| matches!(write, Write::Create(_)));
            if create { doubts.next() } else { None }
        });
        let error = engine.start(one_two_three, ()).id("run").await.unwrap_err();
        assert_eq!(error.code(), Code::InDoubt);
        let run: Run<usize> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), 1);
        assert_eq!(lab.notes(), ["one", "two", "three"]);
    }

    async fn rule_4_a_refused_turn_is_sent_until_the_store_takes_it(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = open_faulty(&faulty, &lab).await;
        let run = engine.start(gated_then_note, ()).id("run").await.unwrap();
        lab.executed("gate", 1).await;
        let mut refusals = 2;
        faulty.plan(move |_| (std::mem::take(&mut refusals) > 0).then_some(When::Refused));
        lab.open_gate("gate");
        assert_eq!(run.await.unwrap(), 1);
        assert_eq!(lab.count("gate"), 1);
    }

    async fn rule_4_no_step_begins_before_its_turn_is_committed(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        hold_turns(&faulty, &lab, 1);
        let engine = open_faulty(&faulty, &lab).await;
        let run = engine.start(one_two_three, ()).id("run").await.unwrap();
        lab.executed("held", 1).await;
        assert_eq!(place.rows("run").await.len(), 1);
        assert_eq!(lab.count("two"), 0);
        lab.open_gate("commit");
        assert_eq!(run.await.unwrap(), 1);
    }

    async fn rule_8_the_end_of_an_engine_does_not_cancel_operations(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(races, ()).id("run").await.unwrap());
        lab.executed("gate", 1).await;
        lab.executed("other", 1).await;
        drop(engine);
        let journal = place.journal("run").await.concat();
        assert!(!journal.contains("cancel"), "{journal}");
        let engine = place.open(&lab).await;
        lab.executed("gate", 2).await;
        lab.open_gate("gate");
        let run: Run<String> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), "gate");
        assert!(place.journal("run").await.concat().contains(r#""cancel""#));
    }

    async fn rule_4_a_payload_in_doubt_arrives_once(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = open_faulty(&faulty, &lab).await;
        let run = engine.start(adds_two, "t".into()).id("run").await.unwrap();
        let mut doubts = [When::CommittedButInDoubt].into_iter();
        faulty.plan(move |group| {
            let deliver = group.iter().any(|write| matches!(write, Write::Deliver(Deliver { .. })));
            if deliver { doubts.next() } else { None }
        });
        engine.resume_hook("t", &1).await.unwrap();
        engine.resume_hook("t", &2).await.unwrap();
        assert_eq!(run.await.unwrap(), 3);
        assert_eq!(place.inbox("run").await, 0);
    }

    async fn a_field_with_a_default_can_be_added_while_a_run_is_unfinished(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(grows, ()).id("run").await.unwrap());
        lab.executed("gate", 1).await;
        drop(engine);
        let bodies: Vec<String> =
            place.journal("run").await.iter().map(|body| body.replace(r#","new":"""#, "")).collect();
        assert_ne!(bodies, place.journal("run").await);
        let older = Place::memory();
        seed(&*older.store(), &*place.store(), "run", &bodies).await;
        lab.open_gate("gate");
        let engine = older.open(&lab).await;
        let run: Run<u32> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), 4);
    }
}

async fn post(store: &dyn Store, run: &str, event: &str, arrived_at: u64) {
    let message = Message {
        dedupe: None,
        arrived_at,
        format: 1,
        checksum: crc32fast::hash(event.as_bytes()),
        body: Arc::from(event.as_bytes()),
    };
    let outcome =
        store.commit(&[Write::SendMessage(SendMessage { run: run.into(), message, unstick: false })]).await.unwrap();
    assert!(matches!(outcome[..], [Answer::SendMessage(SendMessageAnswer::Committed)]), "{outcome:?}");
}

/// Copies a run into another store, with these bodies as its journal.
pub(super) async fn seed(to: &dyn Store, from: &dyn Store, id: &str, bodies: &[String]) {
    use workflow_runtime::store::{Fence, JournalRow, NewRun, RowChange, Turn};
    let run = from.run(id).await.unwrap().unwrap();
    let owner = 7;
    let ownership = to.acquire(owner).await.unwrap().expect("no other engine has the store");
    let change = |first: bool| RowChange {
        status: Status::Running,
        wake_at: Some(0),
        started_at: first.then_some(1),
        completed_at: None,
        stuck: None,
        error: None,
        refused_by: None,
    };
    let row = |index: usize| JournalRow {
        index: index as u64,
        turn: 1_000 + index as u128,
        format: 1,
        checksum: crc32fast::hash(bodies[index].as_bytes()),
        body: Arc::from(bodies[index].as_bytes()),
    };
    let new = NewRun {
        id: run.id,
        workflow: run.workflow,
        fingerprint: run.fingerprint,
        args_digest: run.args_digest,
        created_at: run.created_at,
        token: 1,
        required_deployment: None,
        depth: 0,
        effects: None,
        chunks: Vec::new(),
        first: First::Turn { owner, row: row(0), change: change(true) },
    };
    let [Answer::Create(CreateAnswer::Created(key))] = to.commit(&[Write::Create(new)]).await.unwrap()[..] else {
        panic!()
    };
    for index in 1..bodies.len() {
        let turn = Turn {
            run: key,
            generation: 0,
            fence: Fence { owner, epoch: 1 },
            row: Some(row(index)),
            change: None,
            effects: None,
            delivered: Vec::new(),
            unread: Vec::new(),
            returned: Vec::new(),
            chunks: Vec::new(),
            settles: Vec::new(),
        };
        assert!(matches!(to.commit(&[Write::Turn(turn)]).await.unwrap()[..], [Answer::Turn(TurnAnswer::Committed)]));
    }
    drop(ownership);
}

#[workflow]
async fn adds_two(token: String) -> Result<u32> {
    let mut numbers = workflow_runtime::hook::<u32>().token(token).open();
    Ok((&mut numbers).await? + numbers.await?)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Grown {
    old: u32,
    #[serde(default = "drawn")]
    new: String,
}

/// A default that uses the run which is being replayed.
fn drawn() -> String {
    format!("{:?}", workflow_runtime::now())[..0].to_owned()
}

#[step]
async fn takes(grown: Grown) -> Result<u32> {
    Ok(grown.old)
}

#[workflow]
async fn grows() -> Result<u32> {
    let taken = takes(Grown { old: 4, new: String::new() }).await?;
    gated("gate".into()).await?;
    Ok(taken)
}

#[workflow]
async fn parks() -> Result<()> {
    sleep(Duration::from_secs(86_400)).await;
    Ok(())
}

#[workflow]
async fn gated_then_note() -> Result<usize> {
    gated("gate".into()).await?;
    note("after".into()).await
}

#[workflow]
async fn races() -> Result<String> {
    tokio::select! {
        winner = gated("gate".into()) => winner,
        other = gated("other".into()) => other,
    }
}
