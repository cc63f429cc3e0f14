//! `Write::SendMessage`, the inbox, and `Write::Release`, which must not miss an inbox message.

use workflow_runtime::store::{
    Fence, First, Release, ReleaseAnswer, RowChange, SendMessage, SendMessageAnswer, Status, Turn, TurnAnswer,
};

use crate::fixture::*;

const FENCE: Fence = Fence { owner: ADA, epoch: 1 };

pub async fn an_inbox_message_is_stored_and_counted_and_makes_its_run_due(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.run("r").await.wake_at, Some(10_000));
    for (count, text) in [(1, "one"), (2, "two")] {
        assert_eq!(fx.send("r", message(text)).await, SendMessageAnswer::Committed);
        let run = fx.run("r").await;
        assert_eq!((run.inbox_seq, run.wake_at, run.fence), (count, Some(0), FENCE));
        assert_eq!(fx.store.inbox(key).await.unwrap().0, count);
    }
    assert_eq!(fx.messages(key).await, ["one", "two"]);
}

pub async fn an_inbox_message_to_an_unknown_run_is_refused(fx: Fixture) {
    assert_eq!(fx.send("nobody", keyed("x", "k")).await, SendMessageAnswer::Unknown);
    assert_eq!(fx.store.inbox(1).await.unwrap(), (0, vec![]));
    let key = fx.create(new_run("nobody", First::Message(message("begin")))).await;
    assert_eq!(fx.send("nobody", keyed("y", "k")).await, SendMessageAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["begin", "y"]);
}

pub async fn an_inbox_message_with_a_known_key_is_dropped(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    fx.send("r", keyed("first", "k")).await;
    let delivered = vec![fx.inbox(key).await[0].sequence];
    assert_eq!(fx.send("r", keyed("again", "k")).await, SendMessageAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["first"]);
    fx.turn(Turn { delivered, change: Some(change(Status::Suspended, Some(5))), ..turn(key) }).await;
    assert_eq!(fx.send("r", keyed("after delivery", "k")).await, SendMessageAnswer::Committed);
    assert_eq!(fx.messages(key).await, [""; 0]);
    let run = fx.run("r").await;
    assert_eq!((run.inbox_seq, run.wake_at), (1, Some(5)));
    fx.send("other", keyed("another run's", "k")).await;
    assert_eq!(fx.messages(other).await, ["another run's"]);
    let begun = fx.create(new_run("begun", First::Message(keyed("begin", "k")))).await;
    fx.send("begun", keyed("again", "k")).await;
    assert_eq!(fx.messages(begun).await, ["begin"], "the key of the first inbox message of a run is known, too");
}

pub async fn an_inbox_message_does_not_make_a_finished_or_stuck_run_due(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for status in [Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck] {
        let id = status.as_str();
        let key = fx.create(new_run(id, taken_by(ADA))).await;
        fx.turn(Turn { change: Some(change(status, None)), ..turn(key) }).await;
        assert_eq!(fx.send(id, message("late")).await, SendMessageAnswer::Committed);
        let run = fx.run(id).await;
        assert_eq!((run.status, run.wake_at, run.inbox_seq), (status, None, 1));
        assert_eq!(fx.messages(key).await, ["late"]);
    }
}

pub async fn inbox_messages_are_read_oldest_first_and_their_numbers_are_not_reused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    for text in ["c", "a", "b"] {
        fx.send("r", message(text)).await;
    }
    assert_eq!(fx.messages(key).await, ["c", "a", "b"]);
    let sequences: Vec<_> = fx.inbox(key).await.iter().map(|row| row.sequence).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    fx.turn(Turn { delivered: sequences.clone(), ..turn(key) }).await;
    fx.send("r", message("d")).await;
    assert!(fx.inbox(key).await[0].sequence > sequences[2]);
}

pub async fn a_turn_delivers_inbox_messages_of_its_own_run_only(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    fx.send("other", message("theirs")).await;
    let theirs = fx.inbox(other).await[0].sequence;
    assert_eq!(fx.turn(Turn { delivered: vec![theirs, theirs + 50], ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.messages(other).await, ["theirs"]);
}

pub async fn a_returned_inbox_message_does_not_make_its_run_due(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.turn(Turn { returned: vec![message("back"), message("too")], ..turn(key) }).await;
    let run = fx.run("r").await;
    assert_eq!((run.inbox_seq, run.wake_at), (0, Some(10_000)));
    assert_eq!(fx.messages(key).await, ["back", "too"]);
}

pub async fn an_inbox_message_is_returned_once_if_the_turn_is_sent_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let stuck = Turn { change: Some(change(Status::Stuck, None)), returned: vec![keyed("back", "op 1")], ..turn(key) };
    for _ in 0..2 {
        assert_eq!(fx.turn(stuck.clone()).await, TurnAnswer::Committed);
    }
    assert_eq!(fx.messages(key).await, ["back"]);
}

pub async fn a_run_is_released_unless_an_inbox_message_arrived(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let sent = SendMessage { run: "r".into(), message: message("one"), unstick: false };
    let release = |inbox_seq| Release { run: key, fence: FENCE, inbox_seq };
    assert_eq!(fx.commit_both(sent, release(0)).await, (SendMessageAnswer::Committed, ReleaseAnswer::Unread));
    assert_eq!(fx.run("r").await.fence, FENCE, "the run keeps its owner");
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.commit(release(1)).await, ReleaseAnswer::Committed);
    let run = fx.run("r").await;
    assert_eq!((run.fence, run.inbox_seq), (Fence { owner: 0, epoch: 1 }, 1));
    assert_eq!(fx.turn(Turn { row: Some(row(2, 3)), ..turn(key) }).await, TurnAnswer::Fenced);
    assert_eq!(fx.commit(release(1)).await, ReleaseAnswer::Fenced);
}

pub async fn a_run_is_released_by_its_owner_only(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.send("r", message("one")).await;
    for (run, fence) in [(key, Fence { owner: BOB, epoch: 1 }), (key, Fence { owner: ADA, epoch: 2 }), (key + 1, FENCE)]
    {
        for inbox_seq in [0, 1] {
            assert_eq!(fx.release(run, fence, inbox_seq).await, ReleaseAnswer::Fenced);
        }
    }
    assert_eq!(fx.run("r").await.fence, FENCE);
}

pub async fn news_lists_each_owned_run_with_new_inbox_messages_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    fx.parked("parked", ORDERS, 10_000).await;
    assert_eq!(fx.store.news(ADA).await.unwrap(), [0; 0]);
    for run in ["r", "parked", "other", "r"] {
        fx.send(run, message("x")).await;
    }
    assert_eq!(fx.store.news(ADA).await.unwrap(), [key, other]);
    assert_eq!(fx.store.news(ADA).await.unwrap(), [0; 0]);
    let process = fx.another();
    let sent = SendMessage { run: "other".into(), message: message("from elsewhere"), unstick: false };
    assert_eq!(commit(&*process, sent).await, SendMessageAnswer::Committed);
    assert_eq!(fx.store.news(ADA).await.unwrap(), [other]);
}

pub async fn an_inbox_message_can_make_a_stuck_run_due(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let stuck = RowChange { stuck: Some("why".into()), ..change(Status::Stuck, None) };
    fx.turn(Turn { change: Some(stuck), ..turn(key) }).await;
    fx.send("r", message("x")).await;
    assert_eq!(fx.run("r").await.status, Status::Stuck);
    let urgent = || SendMessage { run: "r".into(), message: message("y"), unstick: true };
    assert_eq!(fx.commit(urgent()).await, SendMessageAnswer::Committed);
    let run = fx.run("r").await;
    assert_eq!((run.status, run.stuck, run.fence.owner), (Status::Running, None, 0));
    assert_eq!(fx.claim(ADA, 0).await.len(), 1);
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Fenced, "under the old claim");
    assert_eq!(fx.commit(urgent()).await, SendMessageAnswer::Committed);
    assert_eq!(fx.run("r").await.fence, Fence { owner: ADA, epoch: 2 }, "a run that is not stuck keeps its owner");
}

pub async fn an_unread_inbox_message_is_kept_and_does_not_make_its_run_due(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    for text in ["unwanted", "wanted"] {
        fx.send("r", message(text)).await;
    }
    let messages = fx.inbox(key).await;
    let taken = Turn {
        delivered: vec![messages[1].sequence],
        unread: vec![messages[0].sequence],
        change: Some(change(Status::Suspended, Some(10_000))),
        ..turn(key)
    };
    assert_eq!(fx.turn(taken).await, TurnAnswer::Committed);
    let left: Vec<_> = fx.inbox(key).await.iter().map(|message| (message.sequence, message.unread)).collect();
    assert_eq!(left, [(messages[0].sequence, true)]);
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.run("r").await.wake_at, Some(10_000), "a takeover does not make the run due either");
}
