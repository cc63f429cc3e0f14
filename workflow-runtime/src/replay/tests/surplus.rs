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
fn what_a_hook_has_not_given_is_the_next_ones() {
    let mut driven = Driven::start(ONE_EACH);
    driven.deliver(payload(0, 1));
    driven.deliver(payload(0, 2));
    assert_eq!(driven.deliver(completed(1, 1)), [dropped(0), hook_command(2, "a"), dropped(2)]);
    assert_eq!(driven.end(), r#"Completed(["1","2"])"#);
}

#[test]
fn what_comes_for_a_dropped_hook_is_the_next_ones() {
    let mut driven = Driven::start(ONE_EACH);
    driven.deliver(payload(0, 1));
    driven.deliver(completed(1, 1));
    assert!(matches!(driven.shared().heir(0), Some(Heir::Hook(_))));
    driven.deliver(payload(0, 2));
    assert_eq!(driven.end(), r#"Completed(["1","2"])"#);
}

#[test]
fn what_comes_while_there_is_no_hook_waits_for_the_next_one() {
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

#[test]
fn a_hook_that_has_given_nothing_leaves_nothing() {
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
fn another_token_takes_nothing_over() {
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
fn a_letter_for_a_later_hook_closes_what_was_left_before() {
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
    // Letters come in their order: there are none left for the first.
    assert!(driven.shared().heir(0).is_none());
    assert_eq!(driven.refuse(payload(0, 3)).code(), Code::Nondeterminism);
}

#[test]
fn what_does_not_fit_the_next_hook_is_not_given_to_it() {
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
fn a_suspension_takes_nothing_over() {
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
fn a_next_generation_gets_what_no_hook_has_taken_and_the_letters_that_are_under_way() {
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
    let continued = driven.effects().continued.expect("it goes on");
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
fn a_generation_after_the_next_gets_what_that_has_not_taken() {
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
    let continued = driven.effects().continued.expect("it goes on");
    assert_eq!(continued.carried.surplus, BTreeMap::from([("a".into(), vec![json(2)])]));
}

#[test]
fn a_hook_whose_token_is_anothers_takes_nothing_over() {
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
fn nothing_is_left_to_hooks_of_a_run_that_is_being_undone() {
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
