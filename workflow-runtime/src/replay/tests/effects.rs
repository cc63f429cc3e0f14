//! The combined requests of several events of one turn to the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::select;

use super::support::*;
use crate::replay::{End, Target};

/// The effects of all events, added up as the engine does.
fn together(driven: &mut Driven, events: impl IntoIterator<Item = crate::replay::Event>) -> crate::replay::Effects {
    let mut effects = driven.effects();
    for event in events {
        driven.deliver(event);
        effects.then(driven.effects());
    }
    effects
}

#[test]
fn requests_that_are_dropped_in_the_same_turn_cancel_out() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut hook = open("a");
            {
                let waits =
                    async { futures_util::join!(hook.next(), watch("run-2"), child(child_request("tests::child", 7))) };
                drop(select(Box::pin(waits), sleep_until(2_000)).await);
            }
            drop(hook);
            step("end", 1).await
        })
    });
    let effects = together(&mut driven, [due(3)]);
    assert!(effects.opened.is_empty() && effects.closed.is_empty());
    assert!(effects.watches.is_empty() && effects.unwatched.is_empty());
    assert!(effects.children.is_empty() && effects.given_up.is_empty());
}

#[test]
fn a_hook_of_an_earlier_turn_is_closed_when_it_is_dropped() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut hook = open("a");
            drop(select(hook.next(), sleep_until(2_000)).await);
            drop(hook);
            let _next = open("a");
            step("end", 1).await
        })
    });
    driven.effects();
    let effects = together(&mut driven, [due(1)]);
    assert_eq!(effects.closed, [(0, Arc::from("a"))]);
    assert_eq!(effects.opened.iter().map(|opening| opening.op).collect::<Vec<_>>(), [2]);
}

#[test]
fn the_last_state_and_attribute_value_of_a_turn_apply() {
    let mut driven = Driven::start(|_| {
        run(async {
            let site = std::panic::Location::caller();
            shared().set_value(json("one"), site);
            shared().set_attribute("colour", Some("red"), site);
            shared().set_attribute("size", Some("xl"), site);
            step("work", 1).await?;
            shared().set_attribute("colour", None, site);
            step("work", 2).await?;
            shared().set_value(json("two"), site);
            step("work", 3).await
        })
    });
    let mut effects = together(&mut driven, [completed(0, 1)]);
    assert_eq!(effects.state, Some(json("one")), "a turn that sets none keeps it");
    effects.then(together(&mut driven, [completed(1, 1)]));
    assert_eq!(effects.state, Some(json("two")));
    assert_eq!(effects.attributes, BTreeMap::from([("colour".into(), None), ("size".into(), Some("xl".into()))]));
}

#[test]
fn a_child_stopped_in_the_turn_of_its_call_is_started_if_its_end_is_awaited() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(child(child_request("tests::child", 7))));
            step("end", 1).await
        })
    });
    let id = driven.shared().child_id(1);
    let effects = together(&mut driven, [failed(0, "no")]);
    assert_eq!((effects.children.len(), effects.stopped), (1, vec![Target::from(id)]));
    driven.deliver(ended(1, End::Cancelled("stopped".into())));
    assert_eq!(driven.end(), r#"Failed("no")"#);
}
