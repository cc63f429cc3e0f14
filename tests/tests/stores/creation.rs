//! `Write::Create` and `Write::Replace`.

use workflow_runtime::store::{
    CreateAnswer, Effects, Fence, First, JournalRow, NEVER, NewRun, Replace, RowChange, RowError, RunKey, RunRow,
    SendMessage, SendMessageAnswer, Status, Turn, TurnAnswer,
};

use crate::fixture::*;

pub async fn a_run_created_with_a_first_turn_is_owned_by_its_engine(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let change = RowChange { started_at: Some(501), ..change(Status::Suspended, Some(NEVER)) };
    let first = First::Turn { owner: ADA, row: row(0, 1), change };
    let new = NewRun { depth: 3, required_deployment: Some(GREEN.into()), ..new_run("r", first) };
    let key = fx.create(new).await;
    let expected = RunRow {
        parent: None,
        depth: 3,
        key,
        id: "r".into(),
        workflow: ORDERS.into(),
        fingerprint: "f1".into(),
        args_digest: [9; 32],
        generation: 0,
        status: Status::Suspended,
        fence: Fence { owner: ADA, epoch: 1 },
        wake_at: Some(NEVER),
        inbox_seq: 0,
        recoveries: 0,
        created_at: 500,
        started_at: Some(501),
        completed_at: None,
        stuck: None,
        error: None,
        refused_by: None,
        required_deployment: Some(GREEN.into()),
        first_generation: 0,
        first_event: 0,
        continuations: 0,
    };
    assert_eq!(fx.run("r").await, expected);
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
    assert_eq!(fx.store.last(key, 0).await.unwrap(), Some(row(0, 1)));
    assert_eq!(fx.store.inbox(key).await.unwrap(), (0, vec![]));
}

pub async fn a_run_created_for_other_engines_is_unowned_and_due(fx: Fixture) {
    let key = fx.create(new_run("r", First::Message(message("begin")))).await;
    let run = fx.run("r").await;
    assert_eq!((run.status, run.fence), (Status::Pending, Fence { owner: 0, epoch: 0 }));
    assert_eq!((run.wake_at, run.inbox_seq, run.started_at), (Some(0), 1, None));
    assert_eq!(fx.journal(key).await, []);
    assert_eq!(fx.store.last(key, 0).await.unwrap(), None);
    let (inbox_seq, messages) = fx.store.inbox(key).await.unwrap();
    assert_eq!((inbox_seq, messages.len(), &*messages[0].body), (1, 1, &b"begin"[..]));
    assert_eq!((messages[0].arrived_at, messages[0].format, messages[0].checksum), (1_000, 1, 7));
}

pub async fn an_id_is_taken_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let there = fx.run("r").await;
    for first in [taken_by(ADA), First::Message(message("begin")), taken_by(BOB)] {
        let other = NewRun { token: 77, workflow: REFUNDS.into(), ..new_run("r", first) };
        assert_eq!(fx.commit(other).await, CreateAnswer::Exists(Box::new(there.clone())));
    }
    assert_eq!(fx.run("r").await, there);
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
    assert_eq!(fx.messages(key).await, [""; 0]);
}

pub async fn a_start_that_is_sent_again_returns_the_same_run(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let new = new_run("r", taken_by(ADA));
    let key = fx.create(new.clone()).await;
    fx.turn(turnover(key)).await;
    let there = fx.run("r").await;
    assert_eq!(fx.create(new.clone()).await, key);
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.create(new).await, key, "also after another engine has taken over");
    assert_eq!(fx.run("r").await.status, there.status);
    assert_eq!(fx.journal(key).await, [row(0, 1), row(1, 2)]);
}

fn turnover(key: i64) -> workflow_runtime::store::Turn {
    let change = Some(change(Status::Running, Some(0)));
    workflow_runtime::store::Turn { row: Some(row(1, 2)), change, ..turn(key) }
}

pub async fn a_start_for_other_engines_that_is_sent_again_leaves_one_inbox_message(fx: Fixture) {
    let new = new_run("r", First::Message(message("begin")));
    let key = fx.create(new.clone()).await;
    assert_eq!(fx.create(new).await, key);
    assert_eq!(fx.messages(key).await, ["begin"]);
    assert_eq!(fx.run("r").await.inbox_seq, 1);
}

pub async fn two_starts_with_one_id_in_a_group_create_one_run(fx: Fixture) {
    let first = new_run("r", First::Message(message("first")));
    let second = NewRun { token: 77, ..new_run("r", First::Message(message("second"))) };
    let outcomes = fx.group(&[first, second]).await;
    let there = fx.run("r").await;
    assert_eq!(outcomes, [CreateAnswer::Created(there.key), CreateAnswer::Exists(Box::new(there.clone()))]);
    assert_eq!(fx.messages(there.key).await, ["first"]);
}

pub async fn only_the_executing_engine_creates_runs_that_it_owns(fx: Fixture) {
    assert_eq!(fx.commit(new_run("early", taken_by(ADA))).await, CreateAnswer::Fenced);
    let right = fx.execute(ADA).await;
    fx.create(new_run("ours", taken_by(ADA))).await;
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.commit(new_run("late", taken_by(ADA))).await, CreateAnswer::Fenced);
    for id in ["early", "late"] {
        assert_eq!(fx.store.run(id).await.unwrap(), None);
    }
}

pub async fn stored_values_are_read_unchanged(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let long = "é".repeat(256);
    for (number, id) in ["", "\0", "a\0b", "'; DROP TABLE runs; --", "\u{10ffff}", &long].into_iter().enumerate() {
        let row = JournalRow {
            index: 0,
            turn: u128::MAX - number as u128,
            format: u32::MAX,
            checksum: u32::MAX,
            body: (0..=255_u8).cycle().take(number * 20_000).collect(),
        };
        let change = RowChange {
            status: Status::Stuck,
            wake_at: None,
            started_at: Some(0),
            completed_at: Some(NEVER),
            stuck: Some(id.into()),
            error: Some(RowError { failing_since: None, class: id.into(), text: id.into() }),
            refused_by: None,
        };
        let new = NewRun {
            workflow: id.into(),
            fingerprint: id.into(),
            args_digest: [u8::try_from(number).unwrap(); 32],
            created_at: NEVER,
            token: u128::MAX,
            ..new_run(id, First::Turn { owner: ADA, row: row.clone(), change })
        };
        let key = fx.create(new.clone()).await;
        let run = fx.run(id).await;
        assert_eq!((&run.id, &run.workflow, &run.fingerprint), (&new.id, &new.workflow, &new.fingerprint));
        assert_eq!((run.args_digest, run.created_at), (new.args_digest, NEVER));
        assert_eq!((run.started_at, run.completed_at, run.stuck.as_deref()), (Some(0), Some(NEVER), Some(id)));
        assert_eq!(fx.journal(key).await, [row]);
    }
}

fn later(id: &str) -> NewRun {
    NewRun { args_digest: [0; 32], ..new_run(id, First::Later) }
}

fn begin(id: &str, token: u128) -> NewRun {
    let effects = Effects { attributes: vec![("k".into(), Some("v".into()))], ..Effects::default() };
    let effects = Some(Box::new(effects));
    let new =
        NewRun { token, created_at: 900, fingerprint: "f2".into(), ..new_run(id, First::Begin(message("begin"))) };
    NewRun { effects, ..new }
}

pub async fn a_run_created_for_later_is_due_after_its_start(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(later("r")).await;
    assert_eq!(fx.create(later("r")).await, key, "sent again");
    let there = fx.run("r").await;
    assert_eq!((there.status, there.wake_at, there.inbox_seq), (Status::Pending, None, 0));
    assert!(there.has_not_begun());
    let other = NewRun { token: 77, ..later("r") };
    assert_eq!(fx.commit(other).await, CreateAnswer::Exists(Box::new(there.clone())));
    let sent = SendMessage { run: "r".into(), message: message("wake up"), unstick: false };
    assert_eq!(fx.commit(sent).await, SendMessageAnswer::Committed);
    assert_eq!(fx.claim(ADA, 9_000).await, [], "only its start makes the run due");
    assert_eq!(fx.commit(begin("r", 5)).await, CreateAnswer::Created(key));
    let begun = fx.run("r").await;
    assert_eq!((begun.status, begun.wake_at, begun.inbox_seq), (Status::Pending, Some(0), 2));
    assert_eq!((&*begun.fingerprint, begun.args_digest, begun.created_at), ("f2", [9; 32], 500));
    assert_eq!(fx.store.attributes("r").await.unwrap(), [("k".into(), "v".into())]);
    assert_eq!(fx.messages(key).await, ["wake up", "begin"]);
    assert_eq!(fx.commit(begin("r", 5)).await, CreateAnswer::Created(key), "sent again");
    assert_eq!(
        fx.commit(begin("r", 6)).await,
        CreateAnswer::Exists(Box::new(fx.run("r").await)),
        "another start is refused"
    );
    assert_eq!(fx.messages(key).await, ["wake up", "begin"]);
    assert_eq!(fx.claim(ADA, 9_000).await.len(), 1);
}

pub async fn a_missing_or_started_run_cannot_be_started(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    assert_eq!(fx.commit(begin("nothing", 5)).await, CreateAnswer::Unknown);
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let there = fx.run("r").await;
    assert_eq!(fx.commit(begin("r", 5)).await, CreateAnswer::Exists(Box::new(there.clone())));
    let s = fx.create(new_run("s", First::Message(message("start")))).await;
    assert_eq!(fx.commit(begin("s", 5)).await, CreateAnswer::Exists(Box::new(fx.run("s").await)));
    assert_eq!((fx.messages(key).await.len(), fx.messages(s).await), (0, vec!["start".to_owned()]));
    assert_eq!(fx.run("r").await, there);
}

pub async fn two_starts_of_a_created_run_in_a_group_start_it_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(later("r")).await;
    let outcomes = fx.group(&[begin("r", 5), begin("r", 6)]).await;
    assert_eq!(outcomes[0], CreateAnswer::Created(key));
    assert!(matches!(&outcomes[1], CreateAnswer::Exists(row) if row.key == key));
    assert_eq!(fx.messages(key).await, ["begin"]);
}

/// Creates a run that its second turn ends.
async fn ended(fx: &Fixture, id: &str, status: Status) -> RunKey {
    let key = fx.create(new_run(id, taken_by(ADA))).await;
    let end = RowChange { completed_at: Some(700), ..change(status, None) };
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), change: Some(end), ..turn(key) }).await, TurnAnswer::Committed);
    key
}

fn replace(run: RunKey, id: &str, first: First) -> Replace {
    let attributes = vec![("kind".into(), Some("new".into()))];
    let effects = Some(Box::new(Effects { attributes, ..Effects::default() }));
    Replace { run, most: ALL, new: NewRun { token: 77, created_at: 900, effects, ..new_run(id, first) } }
}

pub async fn a_new_run_replaces_a_failed_or_cancelled_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, status, first) in [
        ("a", Status::Failed, taken_by(ADA)),
        ("b", Status::Cancelled, First::Message(message("begin"))),
        ("c", Status::Failed, First::Later),
        ("d", Status::Failed, First::Journal { rows: vec![row(0, 7)], messages: vec![keyed("forked", "k")] }),
    ] {
        let there = ended(&fx, id, status).await;
        let replace = replace(there, id, first);
        let beside = new_run(&format!("beside {id}"), taken_by(ADA));
        let (replaced, beside) = fx.commit_both(replace.clone(), beside).await;
        let (CreateAnswer::Created(key), CreateAnswer::Created(_)) = (replaced, beside) else {
            panic!("{id} is not replaced")
        };
        let run = fx.run(id).await;
        assert_eq!((run.key, run.generation, run.created_at), (key, 0, 900), "{id}");
        assert_ne!(key, there, "{id}");
        assert_eq!(fx.journal(there).await, [], "{id}: the journal of the replaced run is gone");
        assert_eq!(fx.store.attributes(id).await.unwrap(), [("kind".into(), "new".into())], "{id}");
        assert_eq!(fx.commit(replace).await, CreateAnswer::Created(key), "{id}: sent again");
        assert_eq!(fx.run(id).await, run, "{id}");
    }
    // The new runs that are due can be claimed.
    let claimed: Vec<_> = fx.claim(ADA, 9_000).await.into_iter().map(|run| run.id).collect();
    assert_eq!(claimed, ["b".into(), "d".into()]);
}

pub async fn a_run_that_has_not_failed_is_not_replaced(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let other = ended(&fx, "other", Status::Failed).await;
    let before = (fx.run("r").await, fx.run("other").await);
    let exists = |answer: CreateAnswer| matches!(answer, CreateAnswer::Exists(row) if row.key == key);
    assert!(exists(fx.commit(replace(key, "r", taken_by(ADA))).await), "the run is not finished");
    assert!(exists(fx.commit(replace(other, "r", taken_by(ADA))).await), "the failed run has another id");
    assert!(exists(fx.commit(replace(77, "r", taken_by(ADA))).await), "the run to replace does not exist");
    assert_eq!((fx.run("r").await, fx.run("other").await), before);
    let end = RowChange { completed_at: Some(700), ..change(Status::Completed, None) };
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(end), ..turn(key) }).await;
    assert!(exists(fx.commit(replace(key, "r", First::Message(message("begin")))).await), "the run has completed");
    fx.commit(delete(key)).await;
    assert!(
        matches!(fx.commit(replace(key, "r", taken_by(ADA))).await, CreateAnswer::Created(_)),
        "the run was deleted"
    );
}

pub async fn a_run_that_cannot_be_created_replaces_nothing(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = ended(&fx, "r", Status::Failed).await;
    let before = fx.run("r").await;
    let gap = First::Turn { owner: ADA, row: row(1, 1), change: change(Status::Suspended, None) };
    for first in [taken_by(BOB), gap, First::Begin(message("begin"))] {
        let answer = fx.commit(replace(key, "r", first.clone())).await;
        assert!(!matches!(answer, CreateAnswer::Created(_)), "{first:?}: {answer:?}");
        assert_eq!(fx.run("r").await, before, "{first:?}");
        assert_eq!(fx.journal(key).await.len(), 2, "{first:?}");
    }
}
