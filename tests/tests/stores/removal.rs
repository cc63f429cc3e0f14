//! `Write::Delete` and `Write::Clean`.

use workflow_runtime::store::{
    About, Answer, AppendChunk, AppendChunkAnswer, Binding, Budget, Child, Clean, CleanAnswer, Close, Continuation,
    CreateAnswer, Delete, DeleteAnswer, Deliver, DeliverAnswer, Effects, Ended, Execution, Expired, Fence, Filter,
    First, NewChunk, NewRun, Noticed, Open, Release, ReleaseAnswer, RowChange, RunKey, SendMessageAnswer, Settle,
    Status, TokenLabel, Turn, TurnAnswer, Watch, Write,
};

use crate::fixture::*;

pub(super) const MARK: &str = "marked";

pub(super) fn effects(effects: Effects) -> Option<Box<Effects>> {
    Some(Box::new(effects))
}

fn open(token: &str, op: Option<u64>) -> Open {
    let label = TokenLabel { type_name: MARK.into(), ..TokenLabel::default() };
    Open { token: token.into(), op, label, scope: None, refusal: message("refused") }
}

fn attempt(attempt: u32, epoch: u64) -> Execution {
    Execution { generation: 0, op: 3, step: MARK.into(), attempt, epoch }
}

fn chunk(id: u128) -> NewChunk {
    NewChunk { stream: MARK.into(), id, value: Some(format!("\"{MARK} {id}\"").into()) }
}

fn by(run: RunKey, number: u32, into: Option<&str>, id: u128) -> AppendChunk {
    let (execution, into) = (attempt(number, 1), into.map(Into::into));
    AppendChunk { run, owner: ADA, execution, into, chunk: chunk(id), most: 1_000 }
}

fn deliver(token: &str, hold_until: Option<u64>) -> Deliver {
    Deliver { hold_until, ..delivery(token, keyed(MARK, &format!("{MARK} {token}"))) }
}

/// The turn that ends a run whose journal has one row.
pub(super) fn end(run: RunKey, status: Status, at: u64) -> Turn {
    let change = RowChange { completed_at: Some(at), ..change(status, None) };
    Turn { row: Some(row(1, 2)), change: Some(change), ..turn(run) }
}

async fn ended(fx: &Fixture, id: &str, status: Status, at: u64) -> RunKey {
    let key = fx.create(new_run(id, taken_by(ADA))).await;
    assert!(matches!(fx.turn(end(key, status, at)).await, TurnAnswer::Committed | TurnAnswer::CommittedAndNotified));
    key
}

/// Creates a run that waits for its start: it is never due and has no inbox message.
async fn unstarted(fx: &Fixture, id: &str, effects: Option<Box<Effects>>) -> RunKey {
    let first = First::Turn { owner: ADA, row: row(0, 1), change: change(Status::Pending, None) };
    fx.create(NewRun { effects, ..new_run(id, first) }).await
}

pub(super) fn clean(expired: Vec<Expired>, now: u64, runs: usize, most: Budget) -> Clean {
    Clean { expired, now, messages_before: 0, runs, most }
}

/// Removes the keys of deliveries, which are kept for a time after the end of their runs.
async fn forget_deliveries(fx: &Fixture) {
    fx.commit(clean(Vec::new(), 10_000_000, 1, ALL)).await;
}

fn until(status: Status, at: u64) -> Expired {
    Expired { status, until: Ended { at, run: RunKey::MAX } }
}

async fn ids(fx: &Fixture) -> Vec<String> {
    let rows = fx.store.list(&Filter::default(), None, 1_000).await.unwrap();
    let mut ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
    ids.sort();
    ids
}

pub async fn a_finished_run_is_deleted_with_all_its_rows(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    fx.create(new_run("other", taken_by(ADA))).await;
    let before = fx.rows(MARK).await;
    fx.commit(deliver("marked promise", Some(9_000))).await;
    let attributes = vec![("color".into(), Some(MARK.into()))];
    let first = Effects {
        opens: vec![open("marked promise", None), open("marked disposed", Some(1)), open("marked open", Some(2))],
        watches: vec![Watch { run: "other".into(), op: 4, token: None, refusal: message("refused") }],
        state: Some(format!("\"{MARK}\"").into()),
        attributes,
        notify: Some((Status::Stuck, 1)),
        ..Effects::default()
    };
    let chunks = vec![chunk(1), chunk(2)];
    let key = fx.create(NewRun { effects: effects(first), chunks, ..new_run(MARK, taken_by(ADA)) }).await;
    let closes = vec![Close { token: "marked disposed".into(), op: 1 }];
    fx.turn(Turn { effects: effects(Effects { closes, ..Effects::default() }), ..turn(key) }).await;
    assert_eq!(fx.commit(deliver("marked open", None)).await, DeliverAnswer::Committed);
    for write in [by(key, 1, None, 3), by(key, 2, None, 4)] {
        assert_eq!(fx.commit(write).await, AppendChunkAnswer::Committed);
    }
    fx.send(MARK, keyed(MARK, "marked key")).await;
    // End the first generation and begin a second one.
    let start = keyed("start", "marked start");
    let next = Effects {
        continuation: Some(Continuation { start, payloads: Vec::new(), forwards: Vec::new(), binding: Binding::Kept }),
        ..Effects::default()
    };
    let going_on = Turn { row: Some(row(1, 2)), change: Some(change(Status::Running, Some(0))), ..turn(key) };
    assert_eq!(fx.turn(Turn { effects: effects(next), ..going_on }).await, TurnAnswer::Committed);
    let fence = fx.claim(ADA, 1_000).await[0].fence;
    let notify = effects(Effects { notify: Some((Status::Failed, 1)), ..Effects::default() });
    let last = Turn { generation: 1, fence, row: Some(row(0, 3)), effects: notify, ..end(key, Status::Failed, 2_000) };
    assert_eq!(fx.turn(last).await, TurnAnswer::Committed);
    assert_ne!(fx.rows(MARK).await, before);

    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
    forget_deliveries(&fx).await;
    assert_eq!(fx.rows(MARK).await, before, "the deleted run has left rows");
    assert_eq!(fx.store.run(MARK).await.unwrap(), None);
    assert_eq!(ids(&fx).await, ["other"]);
    assert!(fx.store.chunks(key, MARK, 0, 10).await.unwrap().gone);
    assert_eq!(fx.store.token("marked open").await.unwrap(), None);
    assert_eq!(fx.commit(deliver("marked open", None)).await, DeliverAnswer::Unknown);
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Unknown);
    assert_eq!(fx.send(MARK, message("late")).await, SendMessageAnswer::Unknown);
    // The run that it watched can still end.
    let other = fx.run("other").await.key;
    assert!(matches!(
        fx.turn(end(other, Status::Completed, 1)).await,
        TurnAnswer::Committed | TurnAnswer::CommittedAndNotified
    ));
}

pub async fn an_unfinished_run_is_not_deleted(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let suspended = fx.create(new_run("suspended", taken_by(ADA))).await;
    let stuck = fx.create(new_run("stuck", taken_by(ADA))).await;
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(change(Status::Stuck, None)), ..turn(stuck) }).await;
    let pending = fx.create(new_run("pending", First::Message(message("begin")))).await;
    let parked = fx.parked("parked", ORDERS, 5_000).await;
    let before = fx.rows("r").await;
    for run in [suspended, stuck, pending, parked] {
        assert_eq!(fx.commit(delete(run)).await, DeleteAnswer::Unended);
    }
    assert_eq!(fx.rows("r").await, before, "a refused delete changes nothing");
    drop(right);
    assert_eq!(ids(&fx).await.len(), 4);
}

pub async fn a_run_that_was_never_due_is_deleted_and_its_watchers_are_notified(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let before = fx.rows(MARK).await;
    fx.commit(deliver("marked", Some(9_000))).await;
    let promised = effects(Effects { opens: vec![open("marked", None)], ..Effects::default() });
    let key = unstarted(&fx, "created", promised).await;
    let watches = vec![Watch { run: "created".into(), op: 4, token: None, refusal: message("refused") }];
    let doing = effects(Effects { watches, ..Effects::default() });
    let waits = fx.create(NewRun { effects: doing, ..new_run("waits", taken_by(ADA)) }).await;
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
    let inbox = fx.inbox(waits).await;
    assert_eq!((inbox.len(), &*inbox[0].body, &inbox[0].about), (1, &b"deletion_message"[..], &Some(About::Ended(4))));
    assert_eq!(fx.run("waits").await.wake_at, Some(0), "the watcher is due");
    fx.turn(Turn { delivered: vec![inbox[0].sequence], ..end(waits, Status::Completed, 1) }).await;
    assert_eq!(fx.commit(delete(waits)).await, DeleteAnswer::Committed);
    forget_deliveries(&fx).await;
    assert_eq!(fx.rows(MARK).await, before);
}

pub async fn writes_under_the_fence_of_a_deleted_run_are_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = ended(&fx, "r", Status::Completed, 1).await;
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
    // Another run of the same engine under the same epoch.
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    assert_ne!(other, key, "a key is not reused");
    let before = fx.rows("late").await;
    let late: [Write; 7] = [
        Turn { row: Some(row(1, 7)), chunks: vec![chunk(1)], ..turn(key) }.into(),
        Turn { returned: vec![message("late")], ..turn(key) }.into(),
        end(key, Status::Failed, 9).into(),
        Turn { effects: effects(Effects { state: Some("1".into()), ..Effects::default() }), ..turn(key) }.into(),
        by(key, 1, None, 5).into(),
        by(key, 1, Some("other"), 6).into(),
        Release { run: key, fence: Fence { owner: ADA, epoch: 1 }, inbox_seq: 0 }.into(),
    ];
    let fenced = |answer: &Answer| {
        let chunk = Answer::AppendChunk(AppendChunkAnswer::Fenced);
        [Answer::Turn(TurnAnswer::Fenced), Answer::Release(ReleaseAnswer::Fenced), chunk].contains(answer)
    };
    for write in &late {
        assert!(fx.group(std::slice::from_ref(write)).await.iter().all(fenced), "{write:?}");
    }
    assert!(fx.group(&late).await.iter().all(fenced));
    assert_eq!(
        fx.commit(by(other, 1, Some("r"), 6)).await,
        AppendChunkAnswer::Fenced,
        "the deleted run has no streams"
    );
    assert_eq!(fx.rows("late").await, before);
    let again = Turn { row: Some(row(1, 2)), ..turn(other) };
    let group = [end(other, Status::Completed, 9).into(), delete(other).into(), again.into()];
    let expected = [
        Answer::Turn(TurnAnswer::Committed),
        Answer::Delete(DeleteAnswer::Committed),
        Answer::Turn(TurnAnswer::Fenced),
    ];
    assert_eq!(fx.group::<Write>(&group).await, expected);
}

pub async fn the_id_of_a_deleted_run_is_free(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = ended(&fx, "r", Status::Failed, 1).await;
    let begun = new_run("r", First::Message(message("begin")));
    let again = NewRun { token: 77, args_digest: [8; 32], ..begun };
    let answers = fx.commit_both(delete(key), again).await;
    let run = fx.run("r").await;
    assert_eq!(answers, (DeleteAnswer::Committed, CreateAnswer::Created(run.key)));
    assert_eq!((run.status, run.args_digest, run.key == key), (Status::Pending, [8; 32], false));
    assert_eq!(fx.messages(run.key).await, ["begin"]);
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Unknown, "the delete does not affect the new run");
    assert_eq!(fx.run("r").await, run);
    assert_eq!(fx.claim(ADA, 1_000).await.len(), 1);
}

pub async fn children_stay_when_their_parent_is_deleted(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let new = |id: &str| new_run(id, First::Message(message("begin")));
    let child =
        |id: &str, op| Child { new: new(id), op, attach: None, confirmation: None, refusal: message("refused") };
    let children = vec![child("waited for", Some(1)), child("let go", None)];
    let doing = effects(Effects { children, ..Effects::default() });
    let parent = fx.create(NewRun { effects: doing, ..new_run("parent", taken_by(ADA)) }).await;
    fx.turn(end(parent, Status::Failed, 1)).await;
    assert_eq!(fx.commit(delete(parent)).await, DeleteAnswer::Committed);
    for id in ["waited for", "let go"] {
        assert_eq!(fx.run(id).await.parent.as_deref(), Some("parent"));
    }
    let of_parent = Filter { parent: Some("parent".into()), ..Filter::default() };
    assert_eq!(fx.store.list(&of_parent, None, 10).await.unwrap().len(), 2);
    let claimed = fx.claim(ADA, 1_000).await;
    let run = claimed.iter().find(|run| &*run.id == "waited for").unwrap();
    let last = Turn { row: Some(row(0, 1)), fence: run.fence, ..end(run.key, Status::Completed, 5) };
    // The parent that waited for this child is deleted.
    assert!(matches!(fx.turn(last).await, TurnAnswer::Committed | TurnAnswer::CommittedAndNotified));
    assert_eq!(fx.commit(delete(run.key)).await, DeleteAnswer::Committed);
    assert_eq!(fx.store.children("parent").await.unwrap(), ["let go".into()]);
}

pub async fn chunks_of_a_deleted_run_stay_in_the_streams_of_other_runs(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let caller = fx.create(new_run("caller", taken_by(ADA))).await;
    let before = fx.rows(MARK).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    for (number, id) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(fx.commit(by(key, number, Some("caller"), id)).await, AppendChunkAnswer::Committed);
        assert_eq!(fx.commit(by(key, number, None, id)).await, AppendChunkAnswer::Committed);
    }
    let settle = |attempt, succeeded| Settle { op: 3, attempt, succeeded };
    fx.turn(Turn { settles: vec![settle(1, false), settle(2, true)], ..turn(key) }).await;
    assert_eq!(fx.commit(by(key, 2, Some("caller"), 9)).await, AppendChunkAnswer::Fenced, "the attempt is settled");
    fx.turn(end(key, Status::Completed, 1)).await;
    let seen = fx.store.chunks(caller, MARK, 0, 10).await.unwrap();
    assert_eq!(seen.rows.iter().map(|row| row.discarded).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
    assert_eq!(fx.store.chunks(caller, MARK, 0, 10).await.unwrap(), seen);
    fx.turn(end(caller, Status::Completed, 2)).await;
    assert_eq!(fx.commit(delete(caller)).await, DeleteAnswer::Committed);
    let left = fx.rows(MARK).await;
    assert!(left.iter().all(|(table, count)| before.get(table).is_some_and(|before| before >= count)), "{left:?}");
    assert_eq!(ids(&fx).await.len(), 0);
}

pub async fn a_long_run_is_gone_at_once_and_its_rows_are_removed_in_batches(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let before = fx.rows(MARK).await;
    let chunks = (0..50).map(chunk).collect();
    let key = fx.create(NewRun { chunks, ..new_run("r", taken_by(ADA)) }).await;
    for number in 0..20 {
        fx.send("r", keyed(MARK, &format!("{MARK} {number}"))).await;
    }
    fx.turn(end(key, Status::Completed, 1)).await;
    let most = Budget { rows: 10, bytes: 1 << 20 };
    assert_eq!(
        fx.commit(Delete { run: key, most, deletion_message: message("deletion_message") }).await,
        DeleteAnswer::Committed
    );
    assert_eq!(fx.store.run("r").await.unwrap(), None);
    assert!(fx.store.chunks(key, MARK, 0, 10).await.unwrap().gone);
    // A new run with the same id keeps its own rows.
    let again = fx.create(NewRun { token: 77, chunks: vec![chunk(1)], ..new_run("r", taken_by(ADA)) }).await;
    let mut parts = 0;
    while fx.commit(clean(Vec::new(), 0, 5, most)).await == (CleanAnswer { more: true }) {
        parts += 1;
        assert!(parts < 50, "the cleaning does not end");
    }
    // The store in memory removes all rows at once.
    assert!(fx.directory.is_none() && fx.url.is_none() || (8..=12).contains(&parts), "{parts} parts");
    assert_eq!(fx.store.chunks(again, MARK, 0, 10).await.unwrap().length, 1);
    fx.turn(end(again, Status::Completed, 1)).await;
    // A budget of few bytes still removes a row at a time.
    let small = Budget { rows: 1_000, bytes: 1 };
    assert_eq!(
        fx.commit(Delete { run: again, most: small, deletion_message: message("deletion_message") }).await,
        DeleteAnswer::Committed
    );
    while fx.commit(clean(Vec::new(), 0, 5, small)).await == (CleanAnswer { more: true }) {}
    assert_eq!(fx.rows(MARK).await, before);
}

pub async fn expired_runs_are_removed_in_the_order_of_their_ends(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let (completed, failed) = (Status::Completed, Status::Failed);
    for (id, status, at) in [
        ("c 40", completed, 40),
        ("c 10", completed, 10),
        ("f 10", failed, 10),
        ("c 30", completed, 30),
        ("c 20", completed, 20),
    ] {
        ended(&fx, id, status, at).await;
    }
    fx.create(new_run("going", taken_by(ADA))).await;
    let ended_before = |most| fx.store.ended_before(completed, most);
    assert_eq!(ended_before(0).await.unwrap().map(|ended| ended.at), Some(40));
    assert_eq!(ended_before(3).await.unwrap().map(|ended| ended.at), Some(10));
    assert_eq!(ended_before(4).await.unwrap(), None);
    assert_eq!(fx.store.ended_before(Status::Cancelled, 0).await.unwrap(), None);
    let expired = vec![until(completed, 30), until(failed, 9)];
    assert_eq!(fx.commit(clean(expired.clone(), 0, 2, ALL)).await, CleanAnswer { more: true });
    assert_eq!(ids(&fx).await, ["c 30", "c 40", "f 10", "going"]);
    assert_eq!(fx.commit(clean(expired, 0, 2, ALL)).await, CleanAnswer { more: false });
    assert_eq!(ids(&fx).await, ["c 40", "f 10", "going"]);
    let last = ended_before(0).await.unwrap().unwrap();
    let just_before = Ended { run: last.run - 1, ..last };
    let expired = |until| vec![Expired { status: completed, until }];
    fx.commit(clean(expired(just_before), 0, 10, ALL)).await;
    assert_eq!(ids(&fx).await.len(), 3, "runs of one millisecond are ordered by key");
    fx.commit(clean(expired(last), 0, 10, ALL)).await;
    assert_eq!(ids(&fx).await, ["f 10", "going"]);
}

pub async fn a_run_with_an_unacknowledged_notice_does_not_expire(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let completed = Status::Completed;
    let key = fx.create(new_run("untold", taken_by(ADA))).await;
    let notify = effects(Effects { notify: Some((completed, 1)), ..Effects::default() });
    fx.turn(Turn { effects: notify, ..end(key, completed, 10) }).await;
    ended(&fx, "told", completed, 20).await;
    let expired = || clean(vec![until(completed, 30)], 0, 1, ALL);
    fx.commit(expired()).await;
    assert_eq!(ids(&fx).await, ["untold"]);
    assert_eq!(fx.commit(expired()).await, CleanAnswer { more: false });
    let notice = fx.store.notices(&[completed], 0, 10).await.unwrap().remove(0);
    fx.commit(Noticed { sequence: notice.sequence }).await;
    fx.commit(expired()).await;
    assert_eq!(ids(&fx).await.len(), 0);
}

pub async fn held_payloads_are_removed_when_their_time_is_over(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let before = fx.rows(MARK).await;
    fx.commit(deliver("marked early", Some(2_000))).await;
    fx.commit(deliver("marked late", Some(4_000))).await;
    fx.commit(deliver("marked both", Some(2_000))).await;
    let second = Deliver { hold_until: Some(4_000), ..delivery("marked both", message("2")) };
    fx.commit(second).await;
    let promised = effects(Effects { opens: vec![open("marked promise", None)], ..Effects::default() });
    let key = fx.create(NewRun { effects: promised, ..new_run("r", taken_by(ADA)) }).await;
    fx.commit(deliver("marked promise", None)).await;
    fx.commit(clean(Vec::new(), 2_000, 5, ALL)).await;
    assert!(fx.store.token("marked early").await.unwrap().is_some(), "its time is not over");
    assert_eq!(fx.commit(clean(Vec::new(), 2_001, 5, ALL)).await, CleanAnswer { more: false });
    assert_eq!(fx.store.token("marked early").await.unwrap(), None);
    for token in ["marked late", "marked both", "marked promise"] {
        assert!(fx.store.token(token).await.unwrap().is_some());
    }
    let opens = vec![open("marked both", Some(7)), open("marked promise", Some(8)), open("marked early", Some(9))];
    fx.turn(Turn { effects: effects(Effects { opens, ..Effects::default() }), ..turn(key) }).await;
    assert_eq!(fx.messages(key).await, ["2", MARK]);
    fx.commit(clean(Vec::new(), 5_000, 5, ALL)).await;
    assert_eq!(fx.store.token("marked late").await.unwrap(), None);
    assert!(fx.store.token("marked early").await.unwrap().is_some(), "the token belongs to a run");
    fx.turn(end(key, Status::Completed, 1)).await;
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
    forget_deliveries(&fx).await;
    assert_eq!(fx.rows(MARK).await, before);
}

pub async fn concurrent_deletes_and_cleanings_do_not_conflict(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let mut runs = Vec::new();
    for number in 0..60 {
        runs.push(ended(&fx, &number.to_string(), Status::Completed, number).await);
    }
    let before = fx.rows("none").await;
    let others = [fx.another(), fx.another(), fx.another()];
    let cleaning = |store: std::sync::Arc<dyn workflow_runtime::store::Store>| async move {
        for _ in 0..40 {
            let write = clean(vec![until(Status::Completed, 100)], 0, 3, ALL);
            commit(&*store, write).await;
        }
    };
    let deleting = async {
        for run in runs.iter().rev() {
            let outcome = commit(&*others[2], delete(*run)).await;
            assert!(matches!(outcome, DeleteAnswer::Committed | DeleteAnswer::Unknown), "{outcome:?}");
        }
    };
    tokio::join!(biased; cleaning(others[0].clone()), deleting, cleaning(others[1].clone()));
    assert!(!before.contains_key("runs") || before["runs"] == 60);
    assert!(ids(&fx).await.is_empty());
    let left = fx.rows("none").await;
    assert!(["runs", "journal", "remains"].iter().all(|table| !left.contains_key(*table)), "{left:?}");
}
