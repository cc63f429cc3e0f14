//! `Write::Turn`.

use workflow_runtime::store::{
    Answer, CreateAnswer, Fence, First, Release, ReleaseAnswer, RowChange, RunKey, SendMessage, SendMessageAnswer,
    Status, Turn, TurnAnswer, Write,
};

use crate::fixture::*;

async fn started(fx: &Fixture, id: &str) -> RunKey {
    fx.create(new_run(id, taken_by(ADA))).await
}

pub async fn a_turn_appends_a_row_changes_the_run_and_updates_the_inbox(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    for text in ["one", "two"] {
        fx.send("r", message(text)).await;
    }
    let delivered = vec![fx.inbox(key).await[0].sequence];
    let change = RowChange {
        status: Status::Stuck,
        wake_at: None,
        started_at: Some(2),
        completed_at: Some(3),
        stuck: Some("s".into()),
        error: Some(error(Some(4))),
        refused_by: None,
    };
    let taken =
        Turn { row: Some(row(1, 2)), change: Some(change), delivered, returned: vec![message("three")], ..turn(key) };
    assert_eq!(fx.turn(taken).await, TurnAnswer::Committed);
    assert_eq!(fx.journal(key).await, [row(0, 1), row(1, 2)]);
    assert_eq!(fx.messages(key).await, ["two", "three"]);
    let run = fx.run("r").await;
    assert_eq!((run.status, run.wake_at, run.started_at), (Status::Stuck, None, Some(2)));
    assert_eq!((run.completed_at, run.stuck.as_deref()), (Some(3), Some("s")));
    assert_eq!(run.error, Some(error(Some(4))));
    assert_eq!(run.fence, Fence { owner: ADA, epoch: 1 });
}

pub async fn a_turn_with_only_a_row_changes_nothing_else(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    fx.send("r", message("one")).await;
    let before = fx.run("r").await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await, before);
    assert_eq!(fx.messages(key).await, ["one"]);
}

pub async fn times_of_start_and_end_are_set_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    let times = |time, stuck: Option<&str>| RowChange {
        started_at: time,
        completed_at: time,
        stuck: stuck.map(Into::into),
        ..change(Status::Running, Some(0))
    };
    for change in [times(None, Some("s")), times(Some(1), None), times(Some(2), None), times(None, None)] {
        assert_eq!(fx.turn(Turn { change: Some(change), ..turn(key) }).await, TurnAnswer::Committed);
    }
    let run = fx.run("r").await;
    assert_eq!((run.started_at, run.completed_at, run.stuck), (Some(1), Some(1), None));
}

pub async fn each_change_of_a_row_replaces_its_error(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    for error in [Some(error(Some(4))), None, Some(error(Some(0))), Some(error(None))] {
        let change = RowChange { error: error.clone(), ..change(Status::Running, Some(0)) };
        assert_eq!(fx.turn(Turn { change: Some(change), ..turn(key) }).await, TurnAnswer::Committed);
        assert_eq!(fx.run("r").await.error, error);
    }
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await.error, Some(error(None)), "a turn without a change keeps the error");
}

pub async fn a_turn_under_another_fence_is_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    let next = Turn { row: Some(row(1, 2)), ..turn(key) };
    let wrong = [
        Turn { fence: Fence { owner: BOB, epoch: 1 }, ..next.clone() },
        Turn { fence: Fence { owner: 0, epoch: 1 }, ..next.clone() },
        Turn { fence: Fence { owner: ADA, epoch: 0 }, ..next.clone() },
        Turn { fence: Fence { owner: ADA, epoch: 2 }, ..next.clone() },
        Turn { generation: 1, ..next.clone() },
        Turn { generation: 1, row: Some(row(0, 2)), ..next.clone() },
        Turn { run: key + 1, ..next.clone() },
        Turn { run: key + 1, row: Some(row(0, 2)), ..next.clone() },
    ];
    for turn in wrong {
        assert_eq!(fx.turn(turn.clone()).await, TurnAnswer::Fenced, "{turn:?}");
    }
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
    assert_eq!(fx.store.journal(key, 1, 0, 10).await.unwrap(), []);
    assert_eq!(fx.turn(next).await, TurnAnswer::Committed);
}

pub async fn a_turn_that_leaves_a_gap_is_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    for index in [2, 3, i64::MAX as u64] {
        assert_eq!(fx.turn(Turn { row: Some(row(index, 2)), ..turn(key) }).await, TurnAnswer::Fenced, "{index}");
    }
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
    let gap = First::Turn { owner: ADA, row: row(1, 1), change: change(Status::Running, Some(0)) };
    assert_eq!(fx.commit(new_run("gap", gap)).await, CreateAnswer::Fenced);
    assert_eq!(fx.store.run("gap").await.unwrap(), None);
}

pub async fn another_turn_at_an_existing_index_is_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    assert_eq!(fx.turn(Turn { row: Some(row(0, 2)), ..turn(key) }).await, TurnAnswer::Fenced);
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
}

pub async fn a_turn_that_is_sent_again_changes_nothing(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    fx.send("r", message("one")).await;
    let taken = Turn {
        row: Some(row(1, 2)),
        change: Some(change(Status::Running, Some(4))),
        delivered: vec![fx.inbox(key).await[0].sequence],
        returned: vec![message("back")],
        ..turn(key)
    };
    let later = Turn { row: Some(row(2, 3)), change: Some(change(Status::Suspended, Some(5))), ..turn(key) };
    for turn in [&taken, &taken, &later, &taken, &later] {
        assert_eq!(fx.turn(turn.clone()).await, TurnAnswer::Committed);
    }
    assert_eq!(fx.journal(key).await, [row(0, 1), row(1, 2), row(2, 3)]);
    assert_eq!(fx.messages(key).await, ["back"]);
    assert_eq!((fx.run("r").await.status, fx.run("r").await.wake_at), (Status::Suspended, Some(5)));
    let twice = Turn { row: Some(row(3, 4)), ..turn(key) };
    let outcomes = fx.group(&[twice.clone(), twice]).await;
    assert_eq!(outcomes, [TurnAnswer::Committed, TurnAnswer::Committed], "also within one group");
}

pub async fn a_turn_that_is_sent_again_is_recognised_after_a_change_of_owner(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    let taken = Turn { row: Some(row(1, 2)), change: Some(change(Status::Running, Some(0))), ..turn(key) };
    assert_eq!(fx.turn(taken.clone()).await, TurnAnswer::Committed);
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.turn(taken.clone()).await, TurnAnswer::Committed, "the other engine has not claimed the run yet");
    let claimed = fx.claim(BOB, 0).await;
    assert_eq!(claimed[0].fence, Fence { owner: BOB, epoch: 2 });
    assert_eq!(fx.turn(taken).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await, claimed[0]);
}

pub async fn a_refused_turn_changes_nothing(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    fx.send("r", message("one")).await;
    let before = (fx.run("r").await, fx.inbox(key).await);
    let full = Turn {
        row: Some(row(1, 2)),
        change: Some(change(Status::Failed, None)),
        delivered: vec![before.1[0].sequence],
        returned: vec![message("back")],
        ..turn(key)
    };
    let refused = [
        Turn { fence: Fence { owner: ADA, epoch: 9 }, ..full.clone() },
        Turn { fence: Fence { owner: ADA, epoch: 9 }, row: None, ..full.clone() },
        Turn { fence: Fence { owner: ADA, epoch: 9 }, row: None, change: None, ..full.clone() },
        Turn { row: Some(row(0, 9)), ..full.clone() },
        Turn { row: Some(row(5, 9)), ..full },
    ];
    for turn in refused {
        assert_eq!(fx.turn(turn.clone()).await, TurnAnswer::Fenced, "{turn:?}");
    }
    assert_eq!((fx.run("r").await, fx.inbox(key).await), before);
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
}

pub async fn a_refused_write_does_not_affect_its_group(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [started(&fx, "a").await, started(&fx, "b").await, started(&fx, "c").await];
    let group = [
        Turn { row: Some(row(1, 2)), ..turn(keys[0]) }.into(),
        Turn { row: Some(row(7, 2)), ..turn(keys[1]) }.into(),
        Turn { row: Some(row(1, 2)), fence: Fence { owner: BOB, epoch: 1 }, ..turn(keys[1]) }.into(),
        new_run("bobs", taken_by(BOB)).into(),
        SendMessage { run: "nobody".into(), message: message("x"), unstick: false }.into(),
        Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(keys[2]) }.into(),
    ];
    let expected = [
        Answer::Turn(TurnAnswer::Committed),
        Answer::Turn(TurnAnswer::Fenced),
        Answer::Turn(TurnAnswer::Fenced),
        Answer::Create(CreateAnswer::Fenced),
        Answer::SendMessage(SendMessageAnswer::Unknown),
        Answer::Turn(TurnAnswer::Committed),
    ];
    assert_eq!(fx.group::<Write>(&group).await, expected);
    let lengths = [fx.journal(keys[0]).await.len(), fx.journal(keys[1]).await.len(), fx.journal(keys[2]).await.len()];
    assert_eq!(lengths, [2, 1, 2]);
    assert_eq!(fx.run("c").await.status, Status::Completed);
}

pub async fn a_recorded_turn_does_not_affect_its_group(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (name, change) in [("row", None), ("change", Some(change(Status::Suspended, Some(7))))] {
        let mut keys = Vec::new();
        for number in 0..3 {
            keys.push(started(&fx, &format!("{name}-{number}")).await);
        }
        let next =
            |place: usize, number| Turn { row: Some(row(1, number)), change: change.clone(), ..turn(keys[place]) };
        assert_eq!(fx.commit(next(0, 2)).await, TurnAnswer::Committed);
        assert_eq!(fx.group(&[next(0, 2), next(1, 2)]).await, [TurnAnswer::Committed, TurnAnswer::Committed]);
        let expected = [TurnAnswer::Fenced, TurnAnswer::Committed, TurnAnswer::Committed];
        assert_eq!(fx.group(&[next(0, 9), next(1, 2), next(2, 2)]).await, expected);
        for key in keys {
            assert_eq!(fx.journal(key).await, [row(0, 1), row(1, 2)]);
        }
    }
}

pub async fn groups_of_different_runs_can_be_committed_at_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let mut keys = Vec::new();
    for number in 0..40 {
        keys.push(started(&fx, &format!("{number}")).await);
    }
    for index in 1..6 {
        let next = |key: &RunKey| Turn { row: Some(row(index, 1 + u128::from(index))), ..turn(*key) };
        let (first, second) = keys.split_at(20);
        let first: Vec<Turn> = first.iter().map(next).collect();
        let second: Vec<Turn> = second.iter().rev().map(next).collect();
        let new = [new_run(&format!("new-{index}"), taken_by(ADA))];
        let (first, second, new) = tokio::join!(fx.group(&first), fx.group(&second), fx.group(&new));
        assert!(first.iter().chain(&second).all(|outcome| *outcome == TurnAnswer::Committed), "{first:?} {second:?}");
        assert!(matches!(new[..], [CreateAnswer::Created(_)]), "{new:?}");
    }
    for key in keys {
        assert_eq!(fx.journal(key).await.len(), 6);
    }
}

pub async fn writes_of_one_group_take_effect_in_order(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    let fence = Fence { owner: ADA, epoch: 1 };
    let next = |index| Turn { row: Some(row(index, u128::from(index) + 1)), ..turn(key) };
    let group = [
        next(1).into(),
        next(2).into(),
        SendMessage { run: "r".into(), message: message("one"), unstick: false }.into(),
        Release { run: key, fence, inbox_seq: 0 }.into(),
        Release { run: key, fence, inbox_seq: 1 }.into(),
        next(3).into(),
        SendMessage { run: "new".into(), message: message("too early"), unstick: false }.into(),
        new_run("new", First::Message(message("begin"))).into(),
        SendMessage { run: "new".into(), message: message("in time"), unstick: false }.into(),
    ];
    let answers = fx.group::<Write>(&group).await;
    let new = fx.run("new").await.key;
    let expected = [
        Answer::Turn(TurnAnswer::Committed),
        Answer::Turn(TurnAnswer::Committed),
        Answer::SendMessage(SendMessageAnswer::Committed),
        Answer::Release(ReleaseAnswer::Unread),
        Answer::Release(ReleaseAnswer::Committed),
        Answer::Turn(TurnAnswer::Fenced),
        Answer::SendMessage(SendMessageAnswer::Unknown),
        Answer::Create(CreateAnswer::Created(new)),
        Answer::SendMessage(SendMessageAnswer::Committed),
    ];
    assert_eq!(answers, expected);
    assert_eq!(fx.journal(key).await, [row(0, 1), row(1, 2), row(2, 3)]);
    assert_eq!(fx.messages(new).await, ["begin", "in time"]);
}

pub async fn a_turn_without_a_row_is_fenced_too(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    fx.send("r", message("one")).await;
    let bare = Turn { delivered: vec![fx.inbox(key).await[0].sequence], ..turn(key) };
    let changed = Turn { change: Some(change(Status::Running, Some(3))), ..turn(key) };
    for (right, fence, generation) in [
        (false, Fence { owner: BOB, epoch: 1 }, 0),
        (false, Fence { owner: ADA, epoch: 2 }, 0),
        (false, Fence { owner: ADA, epoch: 1 }, 1),
        (true, Fence { owner: ADA, epoch: 1 }, 0),
    ] {
        let expected = if right { TurnAnswer::Committed } else { TurnAnswer::Fenced };
        for turn in [&bare, &changed] {
            assert_eq!(fx.turn(Turn { fence, generation, ..turn.clone() }).await, expected);
        }
        assert_eq!(fx.messages(key).await.is_empty(), right);
        assert_eq!(fx.run("r").await.status == Status::Running, right);
    }
    assert_eq!(fx.journal(key).await, [row(0, 1)]);
}

pub async fn a_journal_is_read_from_an_index(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = started(&fx, "r").await;
    let other = started(&fx, "other").await;
    for index in 1..5 {
        for run in [key, other] {
            fx.turn(Turn { row: Some(row(index, u128::from(index) + 1)), ..turn(run) }).await;
        }
    }
    let read = async |from, limit| {
        let rows = fx.store.journal(key, 0, from, limit).await.unwrap();
        rows.iter().map(|row| row.index).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 100).await, [0, 1, 2, 3, 4]);
    assert_eq!(read(1, 2).await, [1, 2]);
    assert_eq!(read(4, 2).await, [4]);
    assert_eq!(read(5, 2).await, [0; 0]);
    assert_eq!(read(u64::MAX, 2).await, [0; 0]);
    assert_eq!(read(0, 0).await, [0; 0]);
    assert_eq!(fx.store.last(key, 0).await.unwrap(), Some(row(4, 5)));
    assert_eq!(fx.store.last(key, 1).await.unwrap(), None);
    assert_eq!(fx.store.last(key + 100, 0).await.unwrap(), None);
}
