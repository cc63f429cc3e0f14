//! Keys of deliveries: `Write::Deliver` with a key, `Store::delivery` and `Write::Clean`.

use workflow_runtime::store::{
    Answer, Asked, Budget, Clean, CleanAnswer, Close, Dedupe, DeleteAnswer, Deliver, DeliverAnswer, DeliveryRow,
    Effects, First, Keep, Message, NewRun, NextGeneration, Open, Reopen, ReopenAnswer, RowChange, RunKey,
    SendMessageAnswer, Status, TokenLabel, TokenState, Turn, TurnAnswer, Write,
};

use crate::fixture::*;

fn opening(token: &str, op: Option<u64>, at: u64) -> Open {
    let refusal = Message { arrived_at: at, ..message("refused") };
    Open { token: token.into(), op, label: TokenLabel::default(), scope: None, refusal }
}

fn opens(opens: Vec<Open>) -> Option<Box<Effects>> {
    Some(Box::new(Effects { opens, ..Effects::default() }))
}

/// Creates a run with an open hook.
async fn with_hook(fx: &Fixture, id: &str, token: &str) -> RunKey {
    fx.create(NewRun { effects: opens(vec![opening(token, Some(7), 1_000)]), ..new_run(id, taken_by(ADA)) }).await
}

/// Ends a run whose journal has one row.
async fn end(fx: &Fixture, run: RunKey, status: Status, at: u64) {
    let change = RowChange { completed_at: Some(at), ..change(status, None) };
    let ended = fx.turn(Turn { row: Some(row(1, 2)), change: Some(change), ..turn(run) }).await;
    assert!(matches!(ended, TurnAnswer::Committed | TurnAnswer::CommittedAndNotified), "{ended:?}");
}

/// A delivery with a key at a time.
fn at(token: &str, key: &str, text: &str, now: u64) -> Deliver {
    Deliver { now, ..delivery(token, keyed(text, key)) }
}

async fn send(fx: &Fixture, delivery: &Deliver) -> DeliverAnswer {
    fx.commit(delivery.clone()).await
}

fn clean(now: u64, messages_before: u64, rows: usize) -> Clean {
    let most = Budget { rows, ..ALL };
    Clean { expired: Vec::new(), now, messages_before, runs: 10, most }
}

pub async fn a_delivery_is_accepted_once_even_if_another_run_has_the_token(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    let sent = at("t", "k", "x", 1_000);
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["x"]);
    // A sender that crashed before it got the answer sends it again from another process.
    let process = fx.another();
    assert_eq!(commit(&*process, sent.clone()).await, DeliverAnswer::Committed);
    end(&fx, key, Status::Completed, 2_000).await;
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(send(&fx, &at("t", "other", "x", 2_000)).await, DeliverAnswer::Finished);
    assert_eq!(fx.messages(key).await, ["x"]);
    assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(send(&fx, &at("t", "other", "x", 2_000)).await, DeliverAnswer::Unknown);
    let next = with_hook(&fx, "r", "t").await;
    assert_ne!(next, key);
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(next).await, [""; 0], "the payload was delivered to the earlier run");
    assert_eq!(send(&fx, &at("t", "other", "y", 2_000)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(next).await, ["y"]);
    let known = DeliveryRow { digest: [7; 32], at: 1_000 };
    assert_eq!(fx.store.delivery("t", "k", 2_000).await.unwrap(), Some(known));
    assert_eq!(fx.store.delivery("u", "k", 2_000).await.unwrap(), None);
}

pub async fn another_payload_under_a_key_is_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    let other = with_hook(&fx, "other", "u").await;
    let sent = at("t", "k", "x", 1_000);
    let changed = Deliver { digest: [8; 32], ..at("t", "k", "changed", 1_000) };
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(send(&fx, &changed).await, DeliverAnswer::KeyReused);
    assert_eq!(send(&fx, &Deliver { hold_until: Some(9_000), ..changed.clone() }).await, DeliverAnswer::KeyReused);
    assert_eq!(
        send(&fx, &Deliver { token: "u".into(), ..changed.clone() }).await,
        DeliverAnswer::Committed,
        "another token"
    );
    end(&fx, key, Status::Failed, 2_000).await;
    assert_eq!(send(&fx, &changed).await, DeliverAnswer::KeyReused);
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!((fx.messages(key).await, fx.messages(other).await), (vec!["x".to_owned()], vec!["changed".to_owned()]));
}

pub async fn the_key_of_a_delivery_is_kept_for_a_time_after_the_end_of_its_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    assert_eq!(send(&fx, &at("t", "k", "x", 1_000)).await, DeliverAnswer::Committed);
    let long = 1_000 + 10 * KEPT;
    assert_eq!(send(&fx, &at("t", "k", "again", long)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["x"], "the key is kept until the run ends, however long that takes");
    end(&fx, key, Status::Completed, long).await;
    let next = with_hook(&fx, "next", "t").await;
    assert_eq!(send(&fx, &at("t", "k", "again", long + KEPT)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(next).await, [""; 0]);
    assert_eq!(send(&fx, &at("t", "k", "anew", long + KEPT + 1)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(next).await, ["anew"]);
    assert_eq!(send(&fx, &at("t", "k", "again", long + KEPT + 2)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(next).await, ["anew"], "the key now belongs to the new delivery");
}

pub async fn a_reopened_run_keeps_the_keys_of_its_deliveries(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    assert_eq!(send(&fx, &at("t", "k", "x", 1_000)).await, DeliverAnswer::Committed);
    end(&fx, key, Status::Failed, 2_000).await;
    let messages = vec![keyed("again", "reopened")];
    let (payloads, replaced) = (Vec::new(), Vec::new());
    let run = NextGeneration {
        run: key,
        generation: 0,
        rows: vec![row(0, 9)],
        messages,
        payloads,
        replaced,
        state: None,
        attributes: Vec::new(),
    };
    let reopen = Reopen { run, below: Vec::new() };
    assert_eq!(fx.commit(reopen).await, ReopenAnswer::Committed);
    let long = 2_000 + 10 * KEPT;
    fx.commit(clean(long, 0, 100)).await;
    assert!(fx.store.delivery("t", "k", long).await.unwrap().is_some());
    let fence = fx.claim(ADA, long).await.remove(0).fence;
    let change = RowChange { completed_at: Some(long), ..change(Status::Completed, None) };
    fx.turn(Turn { generation: 1, fence, row: Some(row(1, 3)), change: Some(change), ..turn(key) }).await;
    assert!(fx.store.delivery("t", "k", long + KEPT).await.unwrap().is_some());
    assert!(fx.store.delivery("t", "k", long + KEPT + 1).await.unwrap().is_none());
}

pub async fn a_refused_delivery_is_not_recorded(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let sent = at("t", "k", "x", 1_000);
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Unknown);
    let key = with_hook(&fx, "r", "t").await;
    let closes = Effects { closes: vec![Close { token: "t".into(), op: 7 }], ..Effects::default() };
    fx.turn(Turn { effects: Some(Box::new(closes)), ..turn(key) }).await;
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Disposed);
    end(&fx, key, Status::Completed, 2_000).await;
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Finished);
    assert_eq!(fx.store.delivery("t", "k", 2_000).await.unwrap(), None);
    let next = with_hook(&fx, "next", "t").await;
    assert_eq!(send(&fx, &sent).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(next).await, ["x"]);
}

pub async fn the_key_of_a_held_payload_is_kept_while_it_is_held(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let held = |text: &str, now: u64| Deliver { hold_until: Some(3_000), ..at("t", "k", text, now) };
    for now in [1_000, 3_000] {
        assert_eq!(send(&fx, &held("x", now)).await, DeliverAnswer::Committed);
    }
    assert_eq!(send(&fx, &at("t", "k", "x", 3_000)).await, DeliverAnswer::Committed, "the payload is still held");
    assert_eq!(
        send(&fx, &at("t", "k", "x", 3_001)).await,
        DeliverAnswer::Unknown,
        "no run has opened the token in time"
    );
    let again = Deliver { hold_until: Some(9_000), ..at("t", "k", "again", 3_001) };
    assert_eq!(send(&fx, &again).await, DeliverAnswer::Committed);
    let effects = opens(vec![opening("t", Some(7), 4_000)]);
    let key = fx.create(NewRun { effects, ..new_run("r", taken_by(ADA)) }).await;
    assert_eq!(fx.messages(key).await, ["again"]);
}

pub async fn the_key_of_a_held_payload_is_kept_as_long_as_the_run_that_received_it(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let (keyed, unkeyed) = (at("t", "k", "x", 1_000), Deliver { now: 1_000, ..delivery("t", message("y")) });
    for sent in [&keyed, &unkeyed] {
        assert_eq!(send(&fx, &Deliver { hold_until: Some(3_000), ..sent.clone() }).await, DeliverAnswer::Committed);
    }
    let promise = opens(vec![opening("t", None, 2_000)]);
    let key = fx.create(NewRun { effects: promise, ..new_run("r", taken_by(ADA)) }).await;
    let long = 1_000 + 10 * KEPT;
    assert_eq!(send(&fx, &Deliver { now: long, ..keyed.clone() }).await, DeliverAnswer::Committed);
    fx.turn(Turn { effects: opens(vec![opening("t", Some(7), long)]), ..turn(key) }).await;
    assert_eq!(fx.messages(key).await, ["x", "y"]);
    end(&fx, key, Status::Completed, long).await;
    assert!(fx.store.delivery("t", "k", long + KEPT).await.unwrap().is_some());
    assert!(fx.store.delivery("t", "k", long + KEPT + 1).await.unwrap().is_none());
    assert_eq!(fx.store.delivery("t", &unkeyed.key, 10_000_000).await.unwrap(), None);
}

pub async fn the_key_of_a_payload_for_a_reserved_token_is_kept_as_long_as_the_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let promise = opens(vec![opening("t", None, 1_000)]);
    let key = fx.create(NewRun { effects: promise, ..new_run("r", First::Message(message("begin"))) }).await;
    for now in [1_000, 1_000 + 10 * KEPT] {
        assert_eq!(send(&fx, &at("t", "k", "x", now)).await, DeliverAnswer::Committed);
    }
    let fence = fx.claim(ADA, 1_000).await.remove(0).fence;
    let taken = Turn { row: Some(row(0, 2)), fence, effects: opens(vec![opening("t", Some(7), 2_000)]), ..turn(key) };
    assert_eq!(fx.turn(taken).await, TurnAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["begin", "x"]);
}

pub async fn a_key_that_is_kept_from_its_delivery_expires_while_the_run_continues(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    let sent = Deliver { keep: Keep::FromDelivery(500), ..at("t", "k", "x", 1_000) };
    for now in [1_000, 1_500] {
        assert_eq!(send(&fx, &Deliver { now, ..sent.clone() }).await, DeliverAnswer::Committed);
    }
    assert_eq!(fx.messages(key).await, ["x"]);
    fx.commit(clean(1_501, 0, 100)).await;
    assert_eq!(fx.store.delivery("t", "k", 0).await.unwrap(), None);
}

pub async fn of_concurrent_deliveries_with_one_key_one_arrives(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    let processes = [fx.another(), fx.another(), fx.another()];
    for round in 0..10 {
        let sends = processes.iter().enumerate().map(|(process, store)| {
            let delivery = Deliver { digest: [7; 32], ..at("t", &format!("k {round}"), &format!("{round}"), 1_000) };
            let held = Deliver { hold_until: Some(5_000), token: "held".into(), ..delivery.clone() };
            let group = if process % 2 == 0 { [delivery, held] } else { [held, delivery] };
            let group = group.map(Write::Deliver);
            async move { store.commit(&group).await.unwrap() }
        });
        for outcomes in futures::future::join_all(sends).await {
            assert_eq!(outcomes, [DeliverAnswer::Committed, DeliverAnswer::Committed].map(Answer::Deliver));
        }
    }
    let rounds: Vec<String> = (0..10).map(|round| round.to_string()).collect();
    assert_eq!(fx.messages(key).await, rounds);
    fx.turn(Turn { effects: opens(vec![opening("held", Some(8), 2_000)]), ..turn(key) }).await;
    assert_eq!(fx.messages(key).await.len(), 20);
}

pub async fn expired_deliveries_are_removed_in_batches(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_hook(&fx, "r", "t").await;
    let other = with_hook(&fx, "other", "u").await;
    for number in 0..10 {
        for token in ["t", "u"] {
            assert_eq!(send(&fx, &at(token, &format!("k {number}"), "x", 1_000)).await, DeliverAnswer::Committed);
        }
    }
    end(&fx, key, Status::Completed, 2_000).await;
    fx.commit(clean(2_000 + KEPT, 0, 100)).await;
    let known = async |token: &str| {
        let mut known = 0;
        for number in 0..10 {
            known += usize::from(fx.store.delivery(token, &format!("k {number}"), 0).await.unwrap().is_some());
        }
        known
    };
    assert_eq!((known("t").await, known("u").await), (10, 10), "no key is removed before its time");
    let late = 2_000 + KEPT + 1;
    let mut portions = 0;
    while fx.commit(clean(late, 0, 7)).await == (CleanAnswer { more: true }) {
        portions += 1;
        assert!(portions < 10);
    }
    assert_eq!((known("t").await, known("u").await), (0, 10), "the keys of an unfinished run stay");
    end(&fx, other, Status::Completed, late).await;
    fx.commit(clean(late + KEPT, 0, 100)).await;
    assert_eq!(known("u").await, 10);
    fx.commit(clean(late + KEPT + 1, 0, 100)).await;
    assert_eq!(known("u").await, 0);
}

pub async fn keys_of_inbox_messages_are_removed_unless_they_are_lasting(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let lasting = Message { dedupe: Some(Dedupe { key: "lasting".into(), lasts: true }), ..message("lasting") };
    let later = Message { arrived_at: 2_000, ..keyed("later", "later") };
    let sent = [keyed("early", "early"), later, lasting];
    for message in sent.iter().chain(&sent) {
        assert_eq!(fx.send("r", message.clone()).await, SendMessageAnswer::Committed);
    }
    assert_eq!(fx.messages(key).await, ["early", "later", "lasting"]);
    while fx.commit(clean(9_000, 2_000, 2)).await == (CleanAnswer { more: true }) {}
    for message in &sent {
        fx.send("r", message.clone()).await;
    }
    assert_eq!(fx.messages(key).await, ["early", "later", "lasting", "early"]);
}

fn asking(id: &str, op: u64) -> Open {
    let label = TokenLabel {
        once: true,
        asked: Some(Asked { id: id.into(), step: Some("step".into()) }),
        ..TokenLabel::default()
    };
    Open { label, scope: Some("scope".into()), ..opening("t", Some(op), 1_000) }
}

fn answer(id: &str, text: &str, digest: u8) -> Deliver {
    let asked = Some(id.into());
    Deliver { scope: Some("scope".into()), asked, digest: [digest; 32], ..at("t", id, text, 1_000) }
}

pub async fn a_resumption_is_for_one_suspension(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(NewRun { effects: opens(vec![asking("0.1.1", 1)]), ..new_run("r", taken_by(ADA)) }).await;
    let row = fx.store.token("t").await.unwrap().unwrap();
    assert_eq!(row.label.asked, Some(Asked { id: "0.1.1".into(), step: Some("step".into()) }));
    assert_eq!(send(&fx, &answer("0.1.2", "early", 1)).await, DeliverAnswer::Stale);
    assert_eq!(send(&fx, &answer("0.1.1", "first", 1)).await, DeliverAnswer::Committed);
    assert_eq!(fx.store.token("t").await.unwrap().unwrap().state, TokenState::Taken);
    fx.turn(Turn { effects: opens(vec![asking("0.1.2", 1)]), ..turn(key) }).await;
    assert_eq!(
        send(&fx, &answer("0.1.1", "first", 1)).await,
        DeliverAnswer::Committed,
        "the first resumption was sent again"
    );
    assert_eq!(send(&fx, &answer("0.1.1", "second", 2)).await, DeliverAnswer::KeyReused);
    assert_eq!(fx.messages(key).await, ["first"]);
    assert_eq!(send(&fx, &answer("0.1.2", "second", 2)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["first", "second"]);
    // Another run with the same id uses the same ids of suspensions.
    end(&fx, key, Status::Completed, 2_000).await;
    fx.commit(delete(key)).await;
    let key = fx.create(NewRun { effects: opens(vec![asking("0.1.1", 1)]), ..new_run("r", taken_by(ADA)) }).await;
    let anew = Deliver { since: 1_500, now: 3_000, ..answer("0.1.1", "anew", 1) };
    assert_eq!(send(&fx, &anew).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["anew"]);
}

pub async fn a_suspension_that_is_opened_again_accepts_another_resumption(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(NewRun { effects: opens(vec![asking("0.1.1", 1)]), ..new_run("r", taken_by(ADA)) }).await;
    assert_eq!(send(&fx, &answer("0.1.1", "useless", 1)).await, DeliverAnswer::Committed);
    fx.turn(Turn { effects: opens(vec![asking("0.1.1", 1)]), ..turn(key) }).await;
    assert_eq!(send(&fx, &answer("0.1.1", "useful", 2)).await, DeliverAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["useless", "useful"]);
}

pub async fn the_end_of_a_run_finishes_open_and_disposed_tokens(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let both = vec![opening("dropped", Some(7), 1_000), opening("open", Some(8), 1_000)];
    let key = fx.create(NewRun { effects: opens(both), ..new_run("r", taken_by(ADA)) }).await;
    let closes = Effects { closes: vec![Close { token: "dropped".into(), op: 7 }], ..Effects::default() };
    fx.turn(Turn { effects: Some(Box::new(closes)), ..turn(key) }).await;
    assert_eq!(send(&fx, &at("dropped", "k", "x", 1_000)).await, DeliverAnswer::Disposed);
    end(&fx, key, Status::Completed, 2_000).await;
    for token in ["dropped", "open"] {
        assert_eq!(send(&fx, &at(token, "k", "x", 2_000)).await, DeliverAnswer::Finished);
    }
    fx.commit(delete(key)).await;
    for token in ["dropped", "open"] {
        assert_eq!(send(&fx, &at(token, "k", "x", 2_000)).await, DeliverAnswer::Unknown);
    }
}
