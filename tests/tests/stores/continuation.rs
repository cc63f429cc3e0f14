//! `Effects::continuation`: a run continues as a new generation.

use workflow_runtime::store::{
    About, Binding, Claim, ClaimAnswer, Close, Continuation, Deliver, DeliverAnswer, Effects, Fence, Forward, NewRun,
    Open, RunKey, Status, TokenLabel, Turn, TurnAnswer, Watch,
};

use crate::fixture::*;

const NOW: u64 = 1_000;

fn open(token: &str, op: u64) -> Effects {
    let refusal = message("refused");
    let open = Open { token: token.into(), op: Some(op), label: TokenLabel::default(), scope: None, refusal };
    Effects { opens: vec![open], ..Effects::default() }
}

fn going_on(payloads: &[(&str, &str)]) -> Effects {
    forwarding(payloads, &[])
}

fn forwarding(payloads: &[(&str, &str)], forwards: &[(u64, &str, u64)]) -> Effects {
    let payloads = payloads.iter().map(|(token, text)| ((*token).into(), message(text))).collect();
    let forward = |(op, token, to): &(u64, &str, u64)| Forward { op: *op, token: (*token).into(), to: *to };
    let forwards = forwards.iter().map(forward).collect();
    let continuation = Continuation { start: message("start"), payloads, forwards, binding: Binding::Kept };
    Effects { continuation: Some(continuation), ..Effects::default() }
}

/// The turn that ends the first generation, after one row.
fn last(run: RunKey, effects: Effects) -> Turn {
    let change = change(Status::Running, Some(0));
    Turn { row: Some(row(1, 2)), change: Some(change), effects: Some(Box::new(effects)), ..turn(run) }
}

fn deliver(token: &str, message: workflow_runtime::store::Message) -> Deliver {
    Deliver { now: NOW, ..delivery(token, message) }
}

/// The inbox messages that are not `unread`, each with what it is about.
async fn messages(fx: &Fixture, run: RunKey) -> Vec<(String, Option<About>)> {
    let rows = fx.inbox(run).await.into_iter().filter(|row| !row.unread);
    rows.map(|row| (String::from_utf8(row.body.to_vec()).unwrap(), row.about)).collect()
}

/// The first turn of the next generation.
fn first(run: RunKey, fence: Fence, effects: Effects) -> Turn {
    Turn { generation: 1, fence, row: Some(row(0, 7)), effects: Some(Box::new(effects)), ..turn(run) }
}

pub async fn the_next_generation_is_unowned_and_due(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.turn(last(key, going_on(&[]))).await, TurnAnswer::Committed);
    let run = fx.run("r").await;
    assert_eq!((run.generation, run.status, run.wake_at, run.fence.owner), (1, Status::Running, Some(0), 0));
    assert_eq!(messages(&fx, key).await, [("start".to_owned(), None)]);
    assert_eq!(fx.inbox(key).await[0].generation, 1);
    let claimed = fx.claim(ADA, NOW).await;
    assert_eq!((claimed.len(), claimed[0].generation, claimed[0].recoveries), (1, 1, 0));
    assert_eq!(fx.turn(first(key, claimed[0].fence, Effects::default())).await, TurnAnswer::Committed);
    assert_eq!(fx.store.journal(key, 1, 0, 10).await.unwrap(), [row(0, 7)]);
    assert_eq!(fx.journal(key).await, [row(0, 1), row(1, 2)], "the rows of the first generation stay");
}

pub async fn a_turn_that_is_sent_again_continues_once(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    for _ in 0..3 {
        assert_eq!(fx.turn(last(key, going_on(&[]))).await, TurnAnswer::Committed);
    }
    assert_eq!(fx.run("r").await.generation, 1);
    assert_eq!(messages(&fx, key).await.len(), 1);
}

pub async fn turns_of_the_previous_generation_are_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.turn(last(key, going_on(&[]))).await;
    assert_eq!(fx.turn(Turn { row: Some(row(2, 3)), ..turn(key) }).await, TurnAnswer::Fenced);
    let fence = fx.claim(ADA, NOW).await[0].fence;
    assert_eq!(fx.turn(Turn { row: Some(row(2, 3)), fence, ..turn(key) }).await, TurnAnswer::Fenced);
    assert_eq!(fx.turn(first(key, turn(key).fence, Effects::default())).await, TurnAnswer::Fenced);
}

pub async fn a_continuation_changes_the_deployment_that_the_run_requires(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let bindings = [
        ("kept", Binding::Kept, Some(GREEN)),
        ("released", Binding::Released, None),
        ("moved", Binding::To(BLUE.into()), Some(BLUE)),
    ];
    for (id, binding, expected) in bindings {
        let new = NewRun { required_deployment: Some(GREEN.into()), ..new_run(id, taken_by(ADA)) };
        let key = fx.create(new).await;
        let continuation =
            Continuation { start: message("start"), payloads: Vec::new(), forwards: Vec::new(), binding };
        let effects = Effects { continuation: Some(continuation), ..Effects::default() };
        assert_eq!(fx.turn(last(key, effects)).await, TurnAnswer::Committed);
        assert_eq!(fx.run(id).await.required_deployment.as_deref(), expected, "{id}");
    }
    for (deployment, expected) in [("red", vec!["released"]), (BLUE, vec!["moved"]), (GREEN, vec!["kept"])] {
        let claim = Claim { deployment: deployment.into(), ..claim(ADA, NOW) };
        let ClaimAnswer::Claimed(runs) = fx.commit(claim).await else { panic!("not claimed") };
        assert_eq!(runs.iter().map(|run| &*run.id).collect::<Vec<_>>(), expected, "{deployment}");
    }
}

pub async fn open_tokens_keep_undelivered_payloads_for_the_next_generation(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.turn(Turn { effects: Some(Box::new(open("t", 7))), ..turn(key) }).await;
    for text in ["taken", "received", "waiting"] {
        assert_eq!(fx.commit(deliver("t", keyed(text, text))).await, DeliverAnswer::Committed);
    }
    let delivered: Vec<u64> = fx.inbox(key).await.iter().take(2).map(|message| message.sequence).collect();
    let ends = Turn { delivered, ..last(key, going_on(&[("t", "received")])) };
    assert_eq!(fx.turn(ends).await, TurnAnswer::Committed);
    assert_eq!(messages(&fx, key).await, [("start".to_owned(), None)]);
    let token = fx.store.token("t").await.unwrap().unwrap();
    assert_eq!((token.run.as_deref(), token.op), (Some("r"), None));
    // Payloads that arrive before the next generation opens a hook wait for the hook. Earlier keys are still known.
    for text in ["taken", "waiting", "late", "late"] {
        assert_eq!(fx.commit(deliver("t", keyed(text, text))).await, DeliverAnswer::Committed);
    }
    let fence = fx.claim(ADA, NOW).await[0].fence;
    assert_eq!(fx.turn(first(key, fence, open("t", 3))).await, TurnAnswer::Committed);
    let here = |text: &str| (text.to_owned(), Some(About::Operation(3)));
    assert_eq!(messages(&fx, key).await, [("start".into(), None), here("received"), here("waiting"), here("late")]);
    assert_eq!(fx.commit(deliver("t", keyed("again", "waiting"))).await, DeliverAnswer::Committed);
    assert_eq!(messages(&fx, key).await.len(), 4);
}

pub async fn payloads_for_closed_operations_move_to_the_next_generation_with_their_token(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let both = Effects { opens: [open("open", 1).opens, open("closed", 2).opens].concat(), ..Effects::default() };
    fx.turn(Turn { row: Some(row(1, 2)), effects: Some(Box::new(both)), ..turn(key) }).await;
    for (token, text) in [("open", "a"), ("closed", "b"), ("closed", "c")] {
        assert_eq!(fx.commit(deliver(token, message(text))).await, DeliverAnswer::Committed);
    }
    let closes = vec![Close { token: "open".into(), op: 1 }, Close { token: "closed".into(), op: 2 }];
    let again = Effects { closes, ..open("open", 3) };
    fx.turn(Turn { row: Some(row(2, 3)), effects: Some(Box::new(again)), ..turn(key) }).await;
    assert_eq!(fx.commit(deliver("open", message("d"))).await, DeliverAnswer::Committed);
    let ends = forwarding(&[("open", "given")], &[(1, "open", u64::MAX - 1), (2, "closed", u64::MAX - 2)]);
    fx.turn(Turn { row: Some(row(3, 4)), ..last(key, ends) }).await;
    let about = |text: &str, op: u64| (text.to_owned(), Some(About::Operation(op)));
    let inherited = [about("b", u64::MAX - 2), about("c", u64::MAX - 2)];
    assert_eq!(messages(&fx, key).await, [&inherited[..], &[("start".to_owned(), None)]].concat());
    assert!(fx.inbox(key).await.iter().all(|message| message.generation == 1));
    let fence = fx.claim(ADA, NOW).await[0].fence;
    assert_eq!(fx.turn(first(key, fence, open("open", 7))).await, TurnAnswer::Committed);
    let held = [about("given", 7), about("a", 7), about("d", 7)];
    assert_eq!(messages(&fx, key).await, [&inherited[..], &[("start".to_owned(), None)], &held].concat());
}

pub async fn watches_do_not_carry_over_to_the_next_generation(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let watched = fx.create(new_run("w", taken_by(ADA))).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let watch = Watch { run: "w".into(), op: 5, token: None, refusal: message("there is none") };
    fx.turn(Turn { effects: Some(Box::new(Effects { watches: vec![watch], ..Effects::default() })), ..turn(key) })
        .await;
    fx.turn(last(key, going_on(&[]))).await;
    let end = Turn { row: Some(row(1, 9)), change: Some(change(Status::Completed, None)), ..turn(watched) };
    fx.turn(end).await;
    assert_eq!(messages(&fx, key).await, [("start".to_owned(), None)]);
}
