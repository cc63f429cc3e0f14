//! Hooks: payloads from outside.

use std::sync::Arc;

use futures_util::future::{Either, join, select};

use super::support::*;
use crate::error::Code;
use crate::replay::{Command, HookRequest};

const TWO: Body = |_| {
    run(async {
        let mut hook = open("a");
        let payloads = [hook.next().await, hook.next().await];
        step("end", payloads).await
    })
};

#[test]
fn a_hook_is_opened_at_once_and_keeps_payloads_until_it_is_awaited() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut hook = open("a");
            step("ask", 1).await?;
            Ok(json([hook.next().await, hook.next().await]))
        })
    });
    assert_eq!(driven.commands(), [hook_command(0, "a"), step_command(1, "ask", 1)]);
    let [opening] = &driven.effects().opened[..] else { panic!("one token is opened") };
    assert_eq!((opening.op, &*opening.token, opening.once, &*opening.type_name), (0, "a", false, "tests::Any"));
    assert!(opening.asked.is_none());
    assert_eq!(driven.deliver(payload(0, 1)), []);
    assert_eq!(driven.deliver(payload(0, 2)), []);
    assert_eq!(driven.deliver(payload(0, 3)), []);
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), r#"Completed(["1","2"])"#, "in their order");
}

#[test]
fn each_payload_wakes_the_waiting_workflow() {
    let mut driven = Driven::start(TWO);
    assert_eq!(driven.shared().wake_at(), None, "nothing is to be done here");
    assert_eq!(driven.deliver(payload(0, "x")), []);
    assert_eq!(driven.deliver(payload(0, "y")), [step_command(1, "end", ["\"x\"", "\"y\""])]);
}

#[test]
fn two_hooks_receive_their_own_payloads() {
    let mut driven = Driven::start(|_| {
        run(async {
            let (mut a, mut b) = (open("a"), open("b"));
            let (a, b) = join(a.next(), b.next()).await;
            Ok(json([a, b]))
        })
    });
    driven.deliver(payload(1, "for b"));
    driven.deliver(payload(0, "for a"));
    assert_eq!(driven.end(), r#"Completed(["\"for a\"","\"for b\""])"#);
}

#[test]
fn a_hook_with_a_conflict_returns_it_each_time() {
    let mut driven = Driven::start(TWO);
    let word = "conflict with run-2";
    assert_eq!(driven.deliver(conflict(0, "run-2")), [step_command(1, "end", [word, word])]);
}

#[test]
fn a_payload_that_arrived_before_a_conflict_is_returned_first() {
    let mut driven = Driven::start(TWO);
    driven.deliver(payload(0, 1));
    assert_eq!(driven.deliver(conflict(0, "run-2")), [step_command(1, "end", ["1", "conflict with run-2"])]);
}

#[test]
fn a_dropped_hook_closes_its_token() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut hook = open("a");
            drop(select(hook.next(), sleep_until(2_000)).await);
            drop(hook);
            step("end", 1).await
        })
    });
    driven.effects();
    assert_eq!(driven.deliver(due(1)), [dropped(0), step_command(2, "end", 1)]);
    assert_eq!(driven.effects().closed, [(0, Arc::from("a"))]);
    assert_eq!(driven.refuse(payload(0, 1)).code(), Code::Nondeterminism);
}

#[test]
fn a_hook_dropped_in_the_turn_of_its_call_is_not_opened() {
    let driven = Driven::start(|_| {
        run(async {
            drop(open("a"));
            step("end", 1).await
        })
    });
    assert_eq!(driven.commands(), [hook_command(0, "a"), dropped(0), step_command(1, "end", 1)]);
    let effects = driven.effects();
    assert!(effects.opened.is_empty() && effects.closed.is_empty());
}

#[test]
fn a_returning_workflow_drops_its_own_hooks_but_not_those_of_branches() {
    let mut driven = Driven::start(|_| {
        run(async {
            let _hook = open("a");
            drop(spawn(async { open("b").next().await }));
            step("end", 1).await
        })
    });
    assert_eq!(driven.commands(), [hook_command(0, "a"), step_command(1, "end", 1), hook_command(2, "b")]);
    assert_eq!(driven.deliver(completed(1, 1)), [dropped(0)]);
    assert_eq!(driven.end(), "Completed(1)");
}

#[test]
fn a_result_of_a_hook_is_refused() {
    for event in [completed(0, 1), failed(0, 1), due(0)] {
        let mut driven = Driven::start(TWO);
        assert_eq!(driven.refuse(event.clone()).code(), Code::Nondeterminism, "{event:?}");
    }
}

#[test]
fn a_payload_for_an_operation_that_is_not_a_hook_is_refused() {
    let mut driven = Driven::start(TWO);
    let error = driven.refuse(payload(5, 1));
    assert_eq!(error.code(), Code::Nondeterminism);
    assert!(format!("{error:?}").contains("operation 5"), "{error:?}");
}

#[test]
fn a_replay_uses_the_recorded_generated_token() {
    let body: Body = |_| {
        run(async {
            let token = shared().drawn_token();
            let mut hook = open_as(HookRequest { drawn: true, ..hook_request(&token) });
            hook.next().await;
            Ok(json(token.to_string()))
        })
    };
    let driven = Driven::start(body);
    let Command::Hook { token, drawn: true, .. } = &driven.commands()[0] else { panic!("it is a hook") };
    assert_eq!(&**token, "00000000000000000000000000000007");
    let setting = Setting { draw: 8, ..Setting::default() };
    let mut replayed = driven.replayed_as(body, setting, driven.turns().to_vec()).unwrap();
    replayed.deliver(payload(0, 1));
    assert_eq!(replayed.end(), r#"Completed("00000000000000000000000000000007")"#);
}

#[test]
fn metadata_is_recorded_and_null_counts_as_none() {
    let of = |metadata: fn() -> &'static str| {
        let body: Body = match metadata() {
            "null" => |_| {
                run(async {
                    let mut hook = open_as(HookRequest { metadata: Some(json(())), ..hook_request("a") });
                    Ok(json(hook.next().await))
                })
            },
            _ => |_| {
                run(async {
                    let mut hook = open_as(HookRequest { metadata: Some(json("who")), ..hook_request("a") });
                    Ok(json(hook.next().await))
                })
            },
        };
        Driven::start(body).commands().to_vec()
    };
    let recorded = |metadata| Command::Hook { op: 0, token: "a".into(), drawn: false, metadata };
    assert_eq!(of(|| "null"), [recorded(None)]);
    assert_eq!(of(|| "who"), [recorded(Some(json("who")))]);
}

#[test]
fn a_suspension_of_the_workflow_is_a_hook_that_takes_one_payload() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut hook = open_as(HookRequest { once: true, ..hook_request("suspended/run-1/ok") });
            let answer = match select(hook.next(), sleep_until(9_000)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => "late".to_owned(),
            };
            sleep_until(9_500).await;
            Ok(json(answer))
        })
    });
    let opening = driven.shared().opening_once(0).expect("it waits for its payload");
    assert!(opening.once);
    assert_eq!(&*opening.asked.expect("it is asked for").id, "0.0.1");
    assert_eq!(driven.deliver(payload(0, true)), [dropped(1), timer_command(2, 9_500)]);
    assert!(driven.shared().opening_once(0).is_none(), "it has its payload");
    driven.deliver_at(9_500, due(2));
    assert_eq!(driven.end(), r#"Completed("true")"#);
}
