//! Effects of turns: children, watches, messages, states, attributes and notices.

use workflow_runtime::store::{
    About, Attach, Child, Effects, Fence, First, NewRun, Noticed, Outgoing, RunKey, Status, Turn, TurnAnswer, Watch,
};

use crate::fixture::*;

fn effects(effects: Effects) -> Option<Box<Effects>> {
    Some(Box::new(effects))
}

fn child(id: &str, op: Option<u64>) -> Child {
    let new = NewRun { workflow: REFUNDS.into(), ..new_run(id, First::Message(message("begin"))) };
    Child { new, op, attach: None, confirmation: None, refusal: message("there is one") }
}

fn watch(run: &str, op: u64) -> Watch {
    Watch { run: run.into(), op, token: None, refusal: message("there is none") }
}

fn outgoing(run: &str, unstick: bool) -> Outgoing {
    Outgoing { run: run.into(), token: None, message: message("hello"), unstick }
}

/// Creates a run of [`ADA`] whose second turn has these effects.
async fn doing(fx: &Fixture, id: &str, done: Effects) -> RunKey {
    let key = fx.create(new_run(id, taken_by(ADA))).await;
    let turn = Turn { row: Some(row(1, 2)), effects: effects(done), ..turn(key) };
    assert_eq!(fx.turn(turn).await, TurnAnswer::Committed);
    key
}

/// The bodies of a run's inbox messages, each with what it is about.
async fn messages(fx: &Fixture, run: RunKey) -> Vec<(String, Option<About>)> {
    let rows = fx.inbox(run).await.into_iter();
    rows.map(|row| (String::from_utf8(row.body.to_vec()).unwrap(), row.about)).collect()
}

fn ended(op: u64) -> (String, Option<About>) {
    ("turn 9".to_owned(), Some(About::Ended(op)))
}

/// The last turn of a run, with the body of [`row`] 9.
fn last(run: RunKey, fence: Fence, index: u64) -> Turn {
    Turn { row: Some(row(index, 9)), fence, change: Some(change(Status::Completed, None)), ..turn(run) }
}

pub async fn a_child_is_due_at_once_and_its_end_is_sent_to_its_parent(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let parent = doing(&fx, "p", Effects { children: vec![child("c", Some(7))], ..Effects::default() }).await;
    let row = fx.run("c").await;
    assert_eq!((row.status, row.wake_at, row.parent.as_deref()), (Status::Pending, Some(0), Some("p")));
    assert_eq!(fx.store.children("p").await.unwrap(), ["c".into()]);
    assert_eq!(fx.messages(row.key).await, ["begin"]);
    let claimed = fx.claim(ADA, 1_000).await;
    assert_eq!(claimed.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["c"]);
    let before = fx.run("p").await.inbox_seq;
    assert_eq!(fx.turn(last(row.key, claimed[0].fence, 0)).await, TurnAnswer::CommittedAndNotified);
    assert_eq!(messages(&fx, parent).await, [ended(7)]);
    let row = fx.run("p").await;
    assert_eq!((row.inbox_seq, row.wake_at), (before + 1, Some(0)));
    assert!(fx.store.news(ADA).await.unwrap().contains(&parent));
}

pub async fn the_end_of_a_detached_child_is_not_sent_to_its_parent(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let parent = doing(&fx, "p", Effects { children: vec![child("c", None)], ..Effects::default() }).await;
    let claimed = fx.claim(ADA, 1_000).await;
    assert_eq!(fx.turn(last(claimed[0].key, claimed[0].fence, 0)).await, TurnAnswer::Committed);
    assert!(messages(&fx, parent).await.is_empty());
    assert_eq!(fx.run("c").await.parent.as_deref(), Some("p"));
}

pub async fn a_turn_that_is_sent_again_starts_its_children_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("p", taken_by(ADA))).await;
    let done = Effects { children: vec![child("c", Some(7))], ..Effects::default() };
    let turn = Turn { row: Some(row(1, 2)), effects: effects(done), ..turn(key) };
    assert_eq!(fx.turn(turn.clone()).await, TurnAnswer::Committed);
    assert_eq!(fx.turn(turn).await, TurnAnswer::Committed);
    assert_eq!(fx.store.children("p").await.unwrap().len(), 1);
    assert!(messages(&fx, key).await.is_empty(), "the child is not refused");
}

pub async fn a_parent_waits_for_a_child_that_exists_already(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let again = |op: Option<u64>| {
        let mut child = child("c", op);
        child.new.token += 1;
        Effects { children: vec![child], ..Effects::default() }
    };
    let parent = doing(&fx, "p", Effects { children: vec![child("c", None)], ..Effects::default() }).await;
    let there = fx.run("c").await;
    let next = |index: u64, op: Option<u64>| Turn {
        row: Some(row(index, 2 + u128::from(index))),
        effects: effects(again(op)),
        ..turn(parent)
    };
    assert_eq!(fx.turn(next(2, Some(7))).await, TurnAnswer::Committed);
    assert_eq!(fx.run("c").await, there);
    assert!(messages(&fx, parent).await.is_empty(), "the parent waits, and the child is not refused");
    let claimed = fx.claim(ADA, 1_000).await;
    assert_eq!(fx.turn(last(claimed[0].key, claimed[0].fence, 0)).await, TurnAnswer::CommittedAndNotified);
    assert_eq!(messages(&fx, parent).await, [ended(7)]);
    assert_eq!(fx.turn(next(3, Some(8))).await, TurnAnswer::Committed);
    assert_eq!(fx.turn(next(4, None)).await, TurnAnswer::Committed);
    assert_eq!(messages(&fx, parent).await, [ended(7), ended(8)], "the end of a finished child is sent at once");
    assert_eq!(fx.store.children("p").await.unwrap(), ["c".into()]);
    // A child of one parent is not a child of another one.
    let other = doing(&fx, "other", again(Some(9))).await;
    assert_eq!(messages(&fx, other).await, [("there is one".to_owned(), None)]);
}

pub async fn a_child_whose_id_is_taken_is_refused_with_an_inbox_message(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    fx.create(NewRun { token: 77, ..new_run("c", taken_by(ADA)) }).await;
    let parent = doing(&fx, "p", Effects { children: vec![child("c", Some(7))], ..Effects::default() }).await;
    assert_eq!(messages(&fx, parent).await, [("there is one".to_owned(), None)]);
    assert_eq!(fx.run("c").await.parent, None);
}

/// A child that attaches to a run of [`ORDERS`] with this id instead, if its arguments have this digest.
fn attaching(id: &str, op: Option<u64>, digest: u8) -> Child {
    let attach = Attach { workflows: vec!["x::was".into(), ORDERS.into()], digests: vec![[1; 32], [digest; 32]] };
    Child { attach: Some(attach), confirmation: op.is_none().then(|| message("it is there")), ..child(id, op) }
}

pub async fn a_child_can_attach_to_an_existing_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let there = fx.create(NewRun { token: 77, ..new_run("c", taken_by(ADA)) }).await;
    let children = vec![attaching("c", Some(7), 9), attaching("c", None, 9)];
    let parent = doing(&fx, "p", Effects { children, ..Effects::default() }).await;
    assert_eq!(messages(&fx, parent).await, [("it is there".to_owned(), None)]);
    assert_eq!(fx.run("c").await.parent, None);
    assert!(fx.store.children("p").await.unwrap().is_empty());
    assert_eq!(fx.turn(last(there, turn(there).fence, 1)).await, TurnAnswer::CommittedAndNotified);
    assert_eq!(messages(&fx, parent).await[1..], [ended(7)]);
    let late = doing(&fx, "late", Effects { children: vec![attaching("c", Some(8), 9)], ..Effects::default() }).await;
    assert_eq!(messages(&fx, late).await, [ended(8)]);
}

pub async fn a_child_attaches_only_to_a_started_run_of_its_workflow_and_arguments(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    fx.create(NewRun { token: 77, ..new_run("c", taken_by(ADA)) }).await;
    fx.create(NewRun { token: 78, workflow: REFUNDS.into(), ..new_run("d", taken_by(ADA)) }).await;
    fx.create(NewRun { token: 79, ..new_run("e", First::Later) }).await;
    let children = vec![attaching("c", Some(6), 8), attaching("d", Some(7), 9), attaching("e", None, 9)];
    let parent = doing(&fx, "p", Effects { children, ..Effects::default() }).await;
    assert_eq!(messages(&fx, parent).await, vec![("there is one".to_owned(), None); 3]);
}

pub async fn a_child_that_the_same_operation_has_started_is_attached_whatever_its_workflow(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let first = attaching("c", Some(7), 9);
    let parent = doing(&fx, "p", Effects { children: vec![first.clone()], ..Effects::default() }).await;
    let again = Effects { children: vec![Child { op: Some(8), ..first }], ..Effects::default() };
    let next = Turn { row: Some(row(2, 3)), effects: effects(again), ..turn(parent) };
    assert_eq!(fx.turn(next).await, TurnAnswer::Committed);
    assert_eq!(fx.store.children("p").await.unwrap(), ["c".into()]);
    let claimed = fx.claim(ADA, 1_000).await;
    let child = claimed.iter().find(|run| &*run.id == "c").unwrap();
    assert_eq!(fx.turn(last(child.key, child.fence, 0)).await, TurnAnswer::CommittedAndNotified);
    assert_eq!(messages(&fx, parent).await, [ended(7), ended(8)]);
}

pub async fn a_child_has_a_depth_and_attributes(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let set = Effects { attributes: vec![("color".into(), Some("red".into()))], ..Effects::default() };
    let mut started = child("c", Some(7));
    (started.new.depth, started.new.effects) = (3, effects(set));
    doing(&fx, "p", Effects { children: vec![started], ..Effects::default() }).await;
    assert_eq!((fx.run("c").await.depth, fx.run("p").await.depth), (3, 0));
    assert_eq!(fx.store.attributes("c").await.unwrap(), [("color".into(), "red".into())]);
    assert!(fx.store.attributes("p").await.unwrap().is_empty());
}

pub async fn watches_and_messages_for_another_token_do_not_reach_a_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let there = fx.create(NewRun { token: 77, ..new_run("c", taken_by(ADA)) }).await;
    let watches = [77, 78].map(|token| Watch { token: Some(token), ..watch("c", 1) }).to_vec();
    let outgoing = [78, 77].map(|token| Outgoing { token: Some(token), ..outgoing("c", false) }).to_vec();
    let parent = doing(&fx, "p", Effects { watches, messages: outgoing, ..Effects::default() }).await;
    assert_eq!(messages(&fx, parent).await, [("there is none".to_owned(), None)]);
    assert_eq!(fx.messages(there).await, ["hello"]);
}

pub async fn a_watcher_gets_the_end_of_a_run_if_it_watches_before_or_after_it(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let watched = fx.create(new_run("w", taken_by(ADA))).await;
    let early =
        doing(&fx, "early", Effects { watches: vec![watch("w", 3), watch("w", 4)], ..Effects::default() }).await;
    assert!(messages(&fx, early).await.is_empty());
    assert_eq!(fx.turn(last(watched, turn(watched).fence, 1)).await, TurnAnswer::CommittedAndNotified);
    assert_eq!(messages(&fx, early).await, [ended(3), ended(4)]);
    let late = doing(&fx, "late", Effects { watches: vec![watch("w", 5)], ..Effects::default() }).await;
    assert_eq!(messages(&fx, late).await, [ended(5)]);
    let vain = doing(&fx, "vain", Effects { watches: vec![watch("nobody", 6)], ..Effects::default() }).await;
    assert_eq!(messages(&fx, vain).await, [("there is none".to_owned(), None)]);
}

pub async fn messages_reach_runs_that_have_not_ended(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let stuck = fx.create(new_run("stuck", taken_by(ADA))).await;
    fx.turn(Turn { change: Some(change(Status::Stuck, None)), ..turn(stuck) }).await;
    let over = fx.create(new_run("over", taken_by(ADA))).await;
    fx.turn(last(over, turn(over).fence, 1)).await;
    let messages = vec![outgoing("stuck", true), outgoing("over", true), outgoing("nobody", true)];
    doing(&fx, "sender", Effects { messages, ..Effects::default() }).await;
    assert_eq!(fx.messages(stuck).await, ["hello"]);
    assert_eq!((fx.run("stuck").await.status, fx.run("stuck").await.wake_at), (Status::Running, Some(0)));
    assert!(fx.messages(over).await.is_empty());
}

pub async fn state_and_attributes_are_those_of_the_last_turn(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let set = |state: &str, key: &str, value: Option<&str>| Effects {
        state: Some(state.into()),
        attributes: vec![(key.into(), value.map(Into::into))],
        ..Effects::default()
    };
    let key = doing(&fx, "r", set("1", "color", Some("red"))).await;
    assert_eq!(fx.store.state("r").await.unwrap().as_deref(), Some("1"));
    assert_eq!(fx.store.attributes("r").await.unwrap(), [("color".into(), "red".into())]);
    let stale = Turn { fence: Fence { owner: ADA, epoch: 0 }, ..turn(key) };
    let refused = Turn { row: Some(row(2, 3)), effects: effects(set("9", "color", Some("blue"))), ..stale };
    assert_eq!(fx.turn(refused).await, TurnAnswer::Fenced);
    assert_eq!(fx.store.state("r").await.unwrap().as_deref(), Some("1"), "a stale owner does not change the state");
    let next = Turn { row: Some(row(2, 3)), effects: effects(set("2", "color", None)), ..turn(key) };
    assert_eq!(fx.turn(next).await, TurnAnswer::Committed);
    assert_eq!(fx.store.state("r").await.unwrap().as_deref(), Some("2"));
    assert!(fx.store.attributes("r").await.unwrap().is_empty());
    assert_eq!(fx.store.state("nobody").await.unwrap(), None);
}

pub async fn a_status_with_callbacks_has_a_notice_until_it_is_acknowledged(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = doing(&fx, "r", Effects { notify: Some((Status::Stuck, 1)), ..Effects::default() }).await;
    doing(&fx, "other", Effects { notify: Some((Status::Failed, 1)), ..Effects::default() }).await;
    let ends = Effects { notify: Some((Status::Completed, 1)), ..Effects::default() };
    fx.turn(Turn { effects: effects(ends), ..last(key, turn(key).fence, 2) }).await;
    let all = [Status::Stuck, Status::Completed, Status::Failed];
    let notices = fx.store.notices(&all, 0, 10).await.unwrap();
    let seen: Vec<_> = notices.iter().map(|notice| (&*notice.run.id, notice.status, notice.run.status)).collect();
    let (stuck, failed) = (Status::Stuck, Status::Failed);
    let done = Status::Completed;
    assert_eq!(
        seen,
        [("r", stuck, done), ("other", failed, Status::Suspended), ("r", done, done)],
        "the rows are the current ones"
    );
    assert!(notices.is_sorted_by_key(|notice| notice.sequence));
    assert_eq!(fx.store.notices(&[stuck, done], 0, 10).await.unwrap().len(), 2);
    assert_eq!(fx.store.notices(&all, notices[0].sequence, 1).await.unwrap(), notices[1..2]);
    assert_eq!(fx.commit(Noticed { sequence: notices[0].sequence }).await, ());
    assert_eq!(fx.store.notices(&all, 0, 10).await.unwrap(), notices[1..]);
}

pub async fn a_run_that_no_longer_watches_gets_no_end(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let watched = fx.create(new_run("w", taken_by(ADA))).await;
    let one = doing(&fx, "one", Effects { watches: vec![watch("w", 3), watch("w", 4)], ..Effects::default() }).await;
    let other = doing(&fx, "other", Effects { watches: vec![watch("w", 3)], ..Effects::default() }).await;
    let over = doing(&fx, "over", Effects { watches: vec![watch("w", 3)], ..Effects::default() }).await;
    let unwatches = vec![("w".into(), 3)];
    fx.turn(Turn { row: Some(row(2, 3)), effects: effects(Effects { unwatches, ..Effects::default() }), ..turn(one) })
        .await;
    fx.turn(last(over, turn(over).fence, 2)).await;
    assert_eq!(fx.turn(last(watched, turn(watched).fence, 1)).await, TurnAnswer::CommittedAndNotified);
    assert_eq!(messages(&fx, one).await, [ended(4)]);
    assert_eq!(messages(&fx, other).await, [ended(3)]);
    assert!(messages(&fx, over).await.is_empty());
}
