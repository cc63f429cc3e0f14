//! The state and the attributes of a run.

use std::collections::BTreeMap;
use std::panic::Location;

use super::support::*;
use crate::error::Code;
use crate::limits::ATTRIBUTES_MAX;
use crate::replay::{Carried, Command};

fn set_state(value: impl serde::Serialize) {
    shared().set_value(json(value), Location::caller());
}

fn set_attribute(key: &str, value: Option<&str>) -> bool {
    shared().set_attribute(key, value, Location::caller())
}

fn attribute_command(key: &'static str, value: Option<&'static str>) -> Command {
    Command::Attribute { key: key.into(), value: value.map(Into::into) }
}

#[test]
fn a_state_is_recorded_and_the_last_one_applies() {
    let mut driven = Driven::start(|_| {
        run(async {
            assert!(shared().value().is_none());
            set_state("one");
            set_state("two");
            assert_eq!(shared().value(), Some(json("two")));
            step("work", 1).await?;
            set_state("three");
            Ok(json(1))
        })
    });
    let state = |value| Command::State { value: json(value) };
    assert_eq!(driven.commands(), [state("one"), state("two"), step_command(0, "work", 1)]);
    assert_eq!(driven.effects().state, Some(json("two")));
    assert_eq!(driven.effects().state, None, "it is given out once");
    assert_eq!(driven.deliver(completed(0, 1)), [state("three")]);
    assert_eq!(driven.effects().state, Some(json("three")));
}

#[test]
fn a_replay_has_the_state_and_does_not_store_it_again() {
    let body: Body = |_| {
        run(async {
            set_state("one");
            set_attribute("colour", Some("red"));
            step("work", 1).await
        })
    };
    let replayed = Driven::start(body).replayed_by(body).unwrap();
    assert_eq!(replayed.shared().value(), Some(json("one")));
    let effects = replayed.effects();
    assert!(effects.state.is_none() && effects.attributes.is_empty());
}

#[test]
fn a_state_can_have_other_fields_in_another_build() {
    let driven = Driven::start(|_| {
        run(async {
            set_state(BTreeMap::from([("done", 1), ("left", 2)]));
            step("work", 1).await
        })
    });
    let replayed = driven.replayed_by(|_| {
        run(async {
            set_state(BTreeMap::from([("done", 1), ("speed", 3)]));
            step("work", 1).await
        })
    });
    assert_eq!(replayed.unwrap().shared().value(), Some(json(BTreeMap::from([("done", 1), ("speed", 3)]))));
    let other = driven.replayed_by(|_| {
        run(async {
            set_state(BTreeMap::from([("done", 9), ("left", 2)]));
            step("work", 1).await
        })
    });
    assert_eq!(other.map(drop).unwrap_err().code(), Code::Nondeterminism);
}

#[test]
fn a_run_begins_with_its_initial_state() {
    let carried = Carried { state: Some(json("given")), ..Carried::default() };
    let setting = Setting { carried, ..Setting::default() };
    let driven = Driven::start_as(|_| run(async { Ok(shared().value().expect("it has a state")) }), setting);
    assert_eq!(driven.end(), r#"Completed("given")"#);
}

#[test]
fn attributes_are_set_and_removed() {
    let driven = Driven::start(|_| {
        run(async {
            set_attribute("colour", Some("red"));
            set_attribute("size", Some("xl"));
            set_attribute("colour", None);
            step("work", 1).await
        })
    });
    let attributes = [
        attribute_command("colour", Some("red")),
        attribute_command("size", Some("xl")),
        attribute_command("colour", None),
    ];
    assert_eq!(driven.commands()[..3], attributes);
    let shown = driven.effects().attributes;
    assert_eq!(shown, BTreeMap::from([("colour".into(), None), ("size".into(), Some("xl".into()))]));
}

#[test]
fn attributes_of_a_run_are_limited() {
    let driven = Driven::start(|_| {
        run(async {
            let set: Vec<bool> =
                (0..=ATTRIBUTES_MAX).map(|number| set_attribute(&number.to_string(), Some("x"))).collect();
            assert_eq!(set.iter().filter(|set| **set).count(), ATTRIBUTES_MAX);
            assert!(set_attribute("0", Some("y")), "it has this one");
            assert!(set_attribute("0", None));
            Ok(json(set_attribute("another", Some("x"))))
        })
    });
    assert_eq!(driven.end(), "Completed(true)");
    assert_eq!(driven.commands().len(), ATTRIBUTES_MAX + 3, "what is refused is no command");
}

#[test]
fn setting_the_state_does_not_count_as_waiting() {
    let waits = Driven::try_start(
        |_| {
            run(async {
                set_state("one");
                std::future::pending().await
            })
        },
        Setting::default(),
    );
    assert_eq!(waits.map(drop).unwrap_err().code(), Code::ForeignFuture);
}
