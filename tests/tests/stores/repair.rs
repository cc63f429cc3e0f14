//! Reopened and forked runs, and `Write::UnstickRun`.

use std::sync::Arc;

use workflow_runtime::store::{
    About, CreateAnswer, Effects, Fence, First, JournalRow, NewChunk, NewRun, NextGeneration, Reopen, ReopenAnswer,
    RowChange, RunKey, Status, Turn, TurnAnswer, UnstickRun, UnstickRunAnswer,
};

use crate::fixture::*;

fn next(run: RunKey, generation: u64, rows: Vec<JournalRow>, key: &str) -> NextGeneration {
    NextGeneration {
        run,
        generation,
        rows,
        messages: vec![keyed("reopened", key), keyed("again", &format!("{key} again"))],
        payloads: Vec::new(),
        replaced: Vec::new(),
        state: None,
        attributes: Vec::new(),
    }
}

fn reopen(run: RunKey, generation: u64, rows: Vec<JournalRow>, key: &str) -> Reopen {
    Reopen { run: next(run, generation, rows, key), below: Vec::new() }
}

async fn failed(fx: &Fixture, id: &str, status: Status) -> RunKey {
    let key = fx.create(new_run(id, taken_by(ADA))).await;
    let end = RowChange { completed_at: Some(700), error: Some(error(None)), ..change(status, None) };
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), change: Some(end), ..turn(key) }).await, TurnAnswer::Committed);
    key
}

pub async fn a_failed_run_is_reopened_as_a_new_generation(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, status) in [("failed", Status::Failed), ("cancelled", Status::Cancelled)] {
        let key = failed(&fx, id, status).await;
        assert_eq!(fx.commit(reopen(key, 0, vec![row(0, 7), row(1, 8)], id)).await, ReopenAnswer::Committed);
        let run = fx.run(id).await;
        assert_eq!((run.generation, run.status, run.wake_at), (1, Status::Running, Some(0)));
        assert_eq!((run.fence.owner, run.completed_at, run.recoveries, run.error), (0, None, 0, None));
        assert_eq!(fx.store.journal(key, 1, 0, 9).await.unwrap(), [row(0, 7), row(1, 8)]);
        assert_eq!(
            fx.store.journal(key, 0, 0, 9).await.unwrap(),
            [row(0, 1), row(1, 2)],
            "the rows of the failed generation stay"
        );
        assert_eq!(fx.messages(key).await, ["reopened", "again"]);
        assert_eq!(
            fx.commit(reopen(key, 0, vec![row(0, 7), row(1, 8)], id)).await,
            ReopenAnswer::Committed,
            "sent again"
        );
        assert_eq!(
            fx.commit(reopen(key, 0, vec![row(0, 9)], "other")).await,
            ReopenAnswer::Fenced,
            "a reopened run is not reopened again"
        );
        assert_eq!(fx.messages(key).await, ["reopened", "again"]);
        let claimed = fx.claim(ADA, 9_000).await;
        let fence = claimed[0].fence;
        let stale = Turn { row: Some(row(2, 3)), generation: 1, ..turn(key) };
        assert_eq!(fx.turn(stale).await, TurnAnswer::Fenced);
        let next = Turn { row: Some(row(2, 9)), generation: 1, fence, ..turn(key) };
        assert_eq!(fx.turn(next).await, TurnAnswer::Committed);
    }
}

pub async fn a_reopened_run_has_the_state_and_the_attributes_of_its_new_generation(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let attribute = |key: &str, value: Option<&str>| (Arc::from(key), value.map(Arc::from));
    for (id, state) in [("without", None), ("with", Some(Arc::from("1")))] {
        let key = fx.create(new_run(id, taken_by(ADA))).await;
        let attributes = ["a", "b", "c"].map(|key| attribute(key, Some("old"))).to_vec();
        let effects = Effects { state: Some("2".into()), attributes, ..Effects::default() };
        let end = change(Status::Failed, None);
        let end = RowChange { completed_at: Some(700), error: Some(error(None)), ..end };
        let last = Turn { row: Some(row(1, 2)), change: Some(end), effects: Some(Box::new(effects)), ..turn(key) };
        assert_eq!(fx.turn(last).await, TurnAnswer::Committed);
        let attributes = vec![attribute("a", None), attribute("b", Some("new"))];
        let run = NextGeneration { state: state.clone(), attributes, ..next(key, 0, vec![row(0, 7)], id) };
        assert_eq!(fx.commit(Reopen { run, below: Vec::new() }).await, ReopenAnswer::Committed);
        assert_eq!(fx.store.state(id).await.unwrap(), state);
        let kept = [("b".into(), "new".into()), ("c".into(), "old".into())];
        assert_eq!(fx.store.attributes(id).await.unwrap(), kept);
    }
}

pub async fn inbox_messages_after_the_end_are_not_delivered_to_the_next_generation(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.send("r", message("unread")).await;
    let unread = vec![fx.inbox(key).await[0].sequence];
    let end = RowChange { completed_at: Some(700), ..change(Status::Failed, None) };
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(end), unread, ..turn(key) }).await;
    fx.send("r", message("cancel")).await;
    assert_eq!(fx.commit(reopen(key, 0, vec![row(0, 7)], "k")).await, ReopenAnswer::Committed);
    let messages: Vec<_> = fx.inbox(key).await.iter().map(|row| (row.unread, row.generation)).collect();
    assert_eq!(messages, [(true, 1), (true, 0), (false, 1), (false, 1)]);
}

pub async fn a_reopened_run_receives_payloads_in_place_of_messages(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    for id in ["r", "r", "other"] {
        fx.send(id, message("payload")).await;
    }
    let end = RowChange { completed_at: Some(700), ..change(Status::Failed, None) };
    let first = fx.inbox(key).await[0].sequence;
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(end), unread: vec![first], ..turn(key) }).await;
    // A sequence of another run is not replaced.
    let replaced = vec![first, fx.inbox(other).await[0].sequence];
    let payloads = vec![(7, message("first")), (u64::MAX - 1, message("second"))];
    let run = NextGeneration { payloads, replaced, ..next(key, 0, vec![row(0, 7)], "k") };
    let reopen = Reopen { run, below: Vec::new() };
    let seen = async || -> Vec<_> {
        let rows = fx.inbox(key).await.into_iter();
        rows.map(|row| (String::from_utf8(row.body.to_vec()).unwrap(), row.about, row.unread, row.generation)).collect()
    };
    let row = |text: &str, op: Option<u64>, unread: bool| {
        (text.to_owned(), op.map(About::Operation), unread, u64::from(!unread))
    };
    let expected = [
        row("payload", None, true),
        row("reopened", None, false),
        row("again", None, false),
        row("first", Some(7), false),
        row("second", Some(u64::MAX - 1), false),
    ];
    for _sent_again in [false, true] {
        assert_eq!(fx.commit(reopen.clone()).await, ReopenAnswer::Committed);
        assert_eq!(seen().await, expected);
    }
    assert_eq!(fx.messages(other).await, ["payload"]);
}

pub async fn a_run_that_has_not_failed_is_not_reopened(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    assert_eq!(fx.commit(reopen(77, 0, vec![], "k")).await, ReopenAnswer::Unknown);
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.commit(reopen(key, 0, vec![row(0, 7)], "k")).await, ReopenAnswer::Fenced);
    let end = RowChange { completed_at: Some(700), ..change(Status::Completed, None) };
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(end), ..turn(key) }).await;
    let there = fx.run("r").await;
    assert_eq!(fx.commit(reopen(key, 0, vec![row(0, 7)], "k")).await, ReopenAnswer::Fenced);
    assert_eq!((fx.run("r").await, fx.messages(key).await.len()), (there, 0));
    assert_eq!(fx.store.journal(key, 1, 0, 9).await.unwrap(), []);
}

pub async fn descendants_are_reopened_with_their_run_or_nothing_is(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let top = failed(&fx, "top", Status::Failed).await;
    let middle = failed(&fx, "middle", Status::Failed).await;
    let bottom = failed(&fx, "bottom", Status::Cancelled).await;
    let completed = failed(&fx, "completed", Status::Completed).await;
    let below = |run: RunKey, generation: u64| next(run, generation, vec![row(0, 7)], &format!("below {run}"));
    let tree = |below: Vec<NextGeneration>| Reopen { run: next(top, 0, vec![row(0, 8)], "top"), below };
    let before = [fx.run("top").await, fx.run("middle").await, fx.run("bottom").await, fx.run("completed").await];
    for other in [below(completed, 0), below(bottom, 1), below(77, 0)] {
        let refused = tree(vec![below(middle, 0), other]);
        assert_eq!(fx.commit(refused).await, ReopenAnswer::Changed);
        let now = [fx.run("top").await, fx.run("middle").await, fx.run("bottom").await, fx.run("completed").await];
        assert_eq!(now, before, "nothing has changed");
    }
    let fenced = Reopen { run: next(top, 1, vec![], "later"), below: vec![below(middle, 0)] };
    assert_eq!(fx.commit(fenced).await, ReopenAnswer::Fenced);
    assert_eq!(fx.run("middle").await, before[1]);
    let all = tree(vec![below(bottom, 0), below(middle, 0)]);
    let (reopened, created) = fx.commit_both(all.clone(), new_run("beside", taken_by(ADA))).await;
    assert!(matches!((reopened, created), (ReopenAnswer::Committed, CreateAnswer::Created(_))));
    assert_eq!(fx.commit(all).await, ReopenAnswer::Committed, "sent again");
    for (id, key, first) in [("top", top, 8), ("middle", middle, 7), ("bottom", bottom, 7)] {
        let run = fx.run(id).await;
        assert_eq!((run.generation, run.status, run.wake_at), (1, Status::Running, Some(0)), "{id}");
        assert_eq!(fx.store.journal(key, 1, 0, 9).await.unwrap(), [row(0, first)], "{id}");
        assert_eq!(fx.messages(key).await, ["reopened", "again"], "{id}");
    }
    // Turns under the fences from before the reopening are refused.
    let stale = |run: RunKey, generation: u64| Turn { row: Some(row(1, 3)), generation, ..turn(run) };
    for run in [top, middle, bottom] {
        assert_eq!(fx.turn(stale(run, 0)).await, TurnAnswer::Fenced);
        assert_eq!(fx.turn(stale(run, 1)).await, TurnAnswer::Fenced);
    }
    let claimed = fx.claim(ADA, 9_000).await;
    assert_eq!(claimed.len(), 3);
    for run in claimed {
        assert_eq!(fx.turn(stale(run.key, 1)).await, TurnAnswer::Fenced, "{}", run.id);
        let next = Turn { fence: run.fence, ..stale(run.key, 1) };
        assert_eq!(fx.turn(next).await, TurnAnswer::Committed, "{}", run.id);
    }
}

pub async fn a_fork_begins_with_the_journal_of_another_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let first = First::Journal { rows: vec![row(0, 7), row(1, 8)], messages: vec![keyed("forked", "k")] };
    let effects = Effects { attributes: vec![("a".into(), Some("b".into()))], ..Effects::default() };
    let chunks = vec![NewChunk { stream: "s".into(), id: 3, value: Some("1".into()) }];
    let new = NewRun { effects: Some(Box::new(effects)), chunks, ..new_run("fork", first) };
    let key = fx.create(new.clone()).await;
    assert_eq!(fx.create(new.clone()).await, key, "sent again");
    let run = fx.run("fork").await;
    assert_eq!((run.status, run.wake_at, run.inbox_seq), (Status::Running, Some(0), 1));
    assert_eq!((run.fence, run.started_at), (Fence { owner: 0, epoch: 0 }, Some(500)));
    assert_eq!(fx.journal(key).await, [row(0, 7), row(1, 8)]);
    assert_eq!(fx.messages(key).await, ["forked"]);
    assert_eq!(fx.store.attributes("fork").await.unwrap(), [("a".into(), "b".into())]);
    assert_eq!(fx.store.chunks(key, "s", 0, 9).await.unwrap().length, 1);
    let other = NewRun { token: 77, ..new };
    assert!(matches!(fx.commit(other).await, CreateAnswer::Exists(row) if row.key == key));
    let claimed = fx.claim(ADA, 9_000).await;
    let next = Turn { row: Some(row(2, 9)), fence: claimed[0].fence, ..turn(key) };
    assert_eq!(fx.turn(next).await, TurnAnswer::Committed);
}

pub async fn one_stuck_run_is_made_due(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for id in ["r", "other"] {
        let key = fx.create(new_run(id, taken_by(ADA))).await;
        let stuck = RowChange { stuck: Some("build 1".into()), ..change(Status::Stuck, None) };
        fx.turn(Turn { change: Some(stuck), ..turn(key) }).await;
    }
    let unstick = |run: &str| UnstickRun { run: run.into() };
    assert_eq!(fx.commit(unstick("nothing")).await, UnstickRunAnswer::Unknown);
    for _ in 0..2 {
        assert_eq!(fx.commit(unstick("r")).await, UnstickRunAnswer::Committed);
        assert_eq!((fx.run("r").await.status, fx.run("r").await.wake_at), (Status::Running, Some(0)));
    }
    assert_eq!(fx.run("other").await.status, Status::Stuck);
}
