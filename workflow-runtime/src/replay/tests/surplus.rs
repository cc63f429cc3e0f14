//! Payloads that a dropped hook leaves to the next hook with its token.

use std::collections::BTreeMap;

use super::support::*;
use crate::error::{Code, Error};
use crate::replay::{Carried, End, Heir, HookRequest};

/// Takes one payload by a first hook, and one by a second hook with the same token.
const ONE_EACH: Body = |_| {
    run(async {
        let mut first = open("a");
        let one = first.next().await;
        step("work", 1).await?;
        drop(first);
        let mut second = open("a");
        let two = second.next().await;
        Ok(json([one, two]))
    })
};

#[test]
fn payloads_that_a_dropped_hook_has_not_returned_pass_to_the_next() {
    let mut driven = Driven::start(ONE_EACH);
    driven.deliver(payload(0, 1));
    driven.deliver(payload(0, 2));
    assert_eq!(driven.deliver(completed(1, 1)), [dropped(0), hook_command(2, "a"), dropped(2)]);
    assert_eq!(driven.end(), r#"Completed(["1","2"])"#);
}

#[test]
fn payloads_that_arrive_for_a_dropped_hook_pass_to_the_next() {
    let mut driven = Driven::start(ONE_EACH);
    driven.deliver(payload(0, 1));
    driven.deliver(completed(1, 1));
    assert!(matches!(driven.shared().heir(0), Some(Heir::Hook(_))));
    driven.deliver(payload(0, 2));
    assert_eq!(driven.end(), r#"Completed(["1","2"])"#);
}

#[test]
fn payloads_that_arrive_between_two_hooks_wait_for_the_next() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            let one = first.next().await;
            drop(first);
            step("work", 1).await?;
            let mut second = open("a");
            let two = second.next().await;
            Ok(json([one, two]))
        })
    });
    assert_eq!(driven.deliver(payload(0, 1)), [dropped(0), step_command(1, "work", 1)]);
    assert!(matches!(driven.shared().heir(0), Some(Heir::Next)));
    driven.deliver(payload(0, 2));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), r#"Completed(["1","2"])"#);
}

/// Takes a payload by a hook, one by a hook with another token, and one by a hook with the first token again.
const WITH_ANOTHER_BETWEEN: Body = |_| {
    run(async {
        let mut first = open("a");
        let one = first.next().await;
        drop(first);
        let mut other = open("b");
        let two = other.next().await;
        let mut second = open("a");
        Ok(json([one, two, second.next().await]))
    })
};

#[test]
fn payloads_wait_for_the_next_hook_while_others_receive_theirs() {
    let mut driven = Driven::start(WITH_ANOTHER_BETWEEN);
    driven.deliver(payload(0, 1));
    assert!(driven.shared().has_to_wait(0));
    driven.shared().put_aside(0);
    assert!(!driven.shared().has_to_wait(1) && !driven.shared().take_back());
    driven.deliver(payload(1, 2));
    assert!(matches!(driven.shared().heir(0), Some(Heir::Hook(_))));
    assert!(driven.shared().take_back() && !driven.shared().has_to_wait(0));
    driven.deliver(payload(0, 3));
    assert_eq!(driven.end(), r#"Completed(["1","2","3"])"#);
    let replayed = driven.replayed_by(WITH_ANOTHER_BETWEEN).expect("the replay takes the same payloads");
    assert_eq!(replayed.end(), driven.end());
    // When these are dropped they would repeat the events as new ones, without the engine that puts a message aside.
    std::mem::forget((driven, replayed));
}

#[test]
fn a_dropped_hook_is_forgotten_once_no_message_for_it_can_arrive() {
    let mut driven = Driven::start(|_| {
        run(async {
            for token in ["a", "b"] {
                let mut hook = open(token);
                hook.next().await;
                drop(hook);
            }
            let mut last = open("c");
            Ok(json(last.next().await))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(payload(1, 2));
    assert!(driven.shared().heir(0).is_none() && driven.shared().heir(1).is_some());
    driven.deliver(payload(2, 3));
    assert_eq!(driven.end(), r#"Completed("3")"#);
}

#[test]
fn a_hook_that_has_returned_no_payload_leaves_none() {
    let mut driven = Driven::start(|_| {
        run(async {
            let first = open("a");
            step("work", 1).await?;
            drop(first);
            let mut second = open("a");
            Ok(json(second.next().await))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(completed(1, 1));
    assert!(driven.shared().heir(0).is_none());
    driven.deliver(payload(2, 2));
    assert_eq!(driven.end(), r#"Completed("2")"#);
    let mut driven = Driven::start(ONE_EACH);
    driven.deliver(payload(0, 1));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.refuse(payload(1, 2)).code(), Code::Nondeterminism, "that is a step");
}

#[test]
fn a_hook_with_another_token_receives_no_surplus() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            first.next().await;
            step("work", 1).await?;
            drop(first);
            let mut other = open("b");
            Ok(json(other.next().await))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(payload(0, 2));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), "");
    assert!(matches!(driven.shared().heir(0), Some(Heir::Next)));
    driven.deliver(payload(2, "b"));
    assert_eq!(driven.end(), r#"Completed("\"b\"")"#);
}

#[test]
fn a_message_for_a_later_hook_ends_the_surplus_of_earlier_ones() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            first.next().await;
            drop(first);
            let mut second = open("a");
            second.next().await;
            Ok(json(second.next().await))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(payload(1, 2));
    // Messages arrive in order: none remains for the first hook.
    assert!(driven.shared().heir(0).is_none());
    assert_eq!(driven.refuse(payload(0, 3)).code(), Code::Nondeterminism);
}

#[test]
fn a_surplus_payload_of_another_type_is_not_given_to_the_next_hook() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            first.next().await;
            step("work", 1).await?;
            drop(first);
            let check = |payload: &crate::codec::Payload| match payload.as_str() {
                "2" => Err(Error::new("it is not 2")),
                _ => Ok(()),
            };
            let mut second = open_as(HookRequest { check, ..hook_request("a") });
            Ok(json(second.next().await))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(payload(0, 2));
    driven.deliver(payload(0, 3));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), r#"Completed("3")"#);
}

#[test]
fn a_suspension_receives_no_surplus() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            first.next().await;
            step("work", 1).await?;
            drop(first);
            let mut second = open_as(HookRequest { once: true, ..hook_request("a") });
            Ok(json(second.next().await))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(payload(0, 2));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), "");
    driven.deliver(payload(2, 3));
    assert_eq!(driven.end(), r#"Completed("3")"#);
}

#[test]
fn the_next_generation_receives_untaken_payloads_and_late_messages() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            first.next().await;
            step("work", 1).await?;
            drop(first);
            shared().continue_as_new(json("again"), None);
            step("never", 1).await
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(payload(0, 2));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), r#"Continued("again")"#);
    let continued = driven.effects().continued.expect("it continues as new");
    assert!(matches!(&driven.last().end, Some(End::Continued(args)) if *args == continued.args));
    assert_eq!(continued.carried.surplus, BTreeMap::from([("a".into(), vec![json(2)])]));
    let [forward] = &continued.forwards[..] else { panic!("one hook was dropped") };
    assert_eq!((forward.op, &*forward.address), (0, "a"));
    assert_eq!(continued.carried.forwards, BTreeMap::from([(forward.to, "a".into())]));

    let setting = Setting { generation: 1, carried: continued.carried, ..Setting::default() };
    let to = forward.to;
    let mut next = Driven::start_as(
        |_| {
            run(async {
                let mut hook = open("a");
                Ok(json([hook.next().await, hook.next().await]))
            })
        },
        setting,
    );
    assert_eq!(next.end(), "");
    next.deliver(payload(to, 3));
    assert_eq!(next.end(), r#"Completed(["2","3"])"#);
}

#[test]
fn a_surplus_passes_through_several_generations() {
    let carried = Carried { surplus: BTreeMap::from([("a".into(), vec![json(2)])]), ..Carried::default() };
    let setting = Setting { generation: 1, carried, ..Setting::default() };
    let driven = Driven::start_as(
        |_| {
            run(async {
                shared().continue_as_new(json("again"), None);
                step("never", 1).await
            })
        },
        setting,
    );
    let continued = driven.effects().continued.expect("it continues as new");
    assert_eq!(continued.carried.surplus, BTreeMap::from([("a".into(), vec![json(2)])]));
}

#[test]
fn a_hook_with_a_conflict_receives_no_surplus() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            let one = first.next().await;
            drop(first);
            let mut second = open("a");
            step("work", 1).await?;
            let two = second.next().await;
            drop(second);
            let mut third = open("a");
            Ok(json([one, two, third.next().await]))
        })
    });
    driven.deliver(payload(0, 1));
    driven.deliver(conflict(1, "run-2"));
    assert!(matches!(driven.shared().heir(0), Some(Heir::Next)));
    driven.deliver(payload(0, 2));
    driven.deliver(completed(2, 1));
    assert_eq!(driven.end(), r#"Completed(["1","conflict with run-2","2"])"#);
}

#[test]
fn hooks_of_a_run_in_rollback_receive_no_surplus() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut first = open("a");
            first.next().await;
            drop(first);
            undoable("charge", 1, "refund").await
        })
    });
    driven.deliver(payload(0, 1));
    assert!(matches!(driven.shared().heir(0), Some(Heir::Next)));
    driven.deliver(cancel("it is late"));
    assert!(driven.shared().heir(0).is_none());
}
