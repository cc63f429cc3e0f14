//! Child runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::select;
use uuid::Uuid;

use super::support::*;
use crate::error::Code;
use crate::replay::{Action, Carried, ChildRequest, Command, End, Inherited, Named, Operation, Target};

const ONE: Body = |_| run(async { Ok(json(child(child_request("tests::child", 7)).await)) });

fn with_id() -> ChildRequest {
    ChildRequest { named: Some(Named { id: "child-1".into(), token: 0 }), ..child_request("tests::child", 7) }
}

fn command(op: u64, run: &str) -> Command {
    Command::Child {
        op,
        workflow: "tests::child".into(),
        run: run.to_owned().into(),
        input: json(7),
        detached: false,
        abandoned: false,
        own: None,
        attributes: BTreeMap::new(),
    }
}

#[test]
fn a_run_starts_a_child_and_waits_for_its_end() {
    let ends = [
        (End::Completed(json(1)), r#"Completed("Completed(1)")"#),
        (End::Failed(json("no")), r#"Completed("Failed(\"no\")")"#),
        (End::Cancelled("late".into()), r#"Completed("Cancelled(\"late\")")"#),
    ];
    for (end, seen) in ends {
        let mut driven = Driven::start(ONE);
        let id = driven.shared().child_id(0);
        assert_eq!(driven.commands(), [command(0, &id)]);
        assert_eq!(driven.actions(), []);
        let effects = driven.effects();
        let [started] = &effects.children[..] else { panic!("one run is started") };
        assert_eq!((started.op, &started.run, started.request.input.as_str()), (0, &id, "7"));
        assert_eq!(started.inherited.as_ref().map(|inherited| inherited.depth), Some(1));
        assert_eq!(driven.shared().wake_at(), None);
        driven.deliver(ended(0, end));
        assert_eq!(driven.end(), seen);
    }
}

#[test]
fn the_id_of_a_child_is_derived_from_the_seed_and_the_operation() {
    let body: Body = |_| {
        run(async {
            child(child_request("tests::child", 7)).await;
            Ok(json(child(child_request("tests::child", 7)).await))
        })
    };
    let mut driven = Driven::start(body);
    let first = driven.shared().child_id(0);
    assert_ne!(first, driven.shared().child_id(1));
    driven.deliver(ended(0, End::Completed(json(1))));
    let other = Driven::start_as(body, Setting { seed: "another", ..Setting::default() });
    assert_ne!(first, other.shared().child_id(0));
    let next = Driven::start_as(body, Setting { generation: 1, ..Setting::default() });
    assert_ne!(first, next.shared().child_id(0));
}

#[test]
fn a_dropped_child_is_cancelled() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(child(child_request("tests::child", 7)), sleep_until(2_000)).await);
            step("end", 1).await
        })
    });
    let id = driven.shared().child_id(0);
    driven.effects();
    driven.actions();
    assert_eq!(driven.deliver(due(1)), [dropped(0), step_command(2, "end", 1)]);
    assert_eq!(driven.effects().given_up, [(0, Target::from(id))]);
    assert_eq!(driven.actions(), [Action::Dispatch(2)]);
}

#[test]
fn a_child_dropped_in_the_turn_of_its_call_is_not_started() {
    let driven = Driven::start(|_| {
        run(async {
            let mut child = child(child_request("tests::child", 7));
            assert!(futures_util::poll!(&mut child).is_pending());
            drop(child);
            step("end", 1).await
        })
    });
    let id = driven.shared().child_id(0);
    assert_eq!(driven.commands(), [command(0, &id), dropped(0), step_command(1, "end", 1)]);
    let effects = driven.effects();
    assert!(effects.children.is_empty() && effects.given_up.is_empty());
}

#[test]
fn the_end_of_the_run_cancels_children_that_are_not_abandoned() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(child(child_request("tests::child", 7))));
            drop(spawn(child(ChildRequest { abandoned: true, ..child_request("tests::child", 7) })));
            step("end", 1).await
        })
    });
    let own = driven.shared().child_id(1);
    driven.effects();
    assert_eq!(driven.deliver(completed(0, 1)), []);
    assert_eq!(driven.end(), "Completed(1)");
    assert_eq!(driven.effects().given_up, [(1, Target::from(own))]);
}

#[test]
fn a_detached_child_is_not_awaited() {
    let mut driven = Driven::start(|_| {
        run(async {
            let operation = Operation::new(std::panic::Location::caller()).expect("a run is polled");
            let request = ChildRequest { detached: true, ..child_request("tests::child", 7) };
            let id = operation.detach(request).expect("it is polled in its turn").expect("it is started");
            step("end", &*id).await
        })
    });
    let id = driven.shared().child_id(0);
    let Command::Child { detached: true, own: None, .. } = &driven.commands()[0] else { panic!("it is detached") };
    assert_eq!(driven.commands()[1..], [step_command(1, "end", &*id)]);
    let effects = driven.effects();
    assert_eq!(effects.children.len(), 1);
    assert!(effects.children[0].inherited.is_none(), "it begins anew");
    assert_eq!(driven.deliver(completed(1, 1)), []);
    assert!(driven.effects().given_up.is_empty(), "it is not given up");
}

#[test]
fn a_detached_child_has_no_result() {
    let mut driven = Driven::start(|_| {
        run(async {
            let operation = Operation::new(std::panic::Location::caller()).expect("a run is polled");
            let request = ChildRequest { detached: true, ..child_request("tests::child", 7) };
            drop(operation.detach(request));
            step("end", 1).await
        })
    });
    assert_eq!(driven.refuse(ended(0, End::Completed(json(1)))).code(), Code::Nondeterminism);
}

#[test]
fn a_child_with_a_chosen_id_has_its_own_token() {
    let mut driven = Driven::start(|_| run(async { Ok(json(child(with_id()).await)) }));
    let Command::Child { run, own: Some(token), .. } = driven.commands()[0].clone() else { panic!("it has an id") };
    assert_eq!((&*run, token.is_nil()), ("child-1", false));
    let [started] = &driven.effects().children[..] else { panic!("one run is started") };
    assert_eq!(started.request.named.as_ref().map(|named| named.token), Some(token.as_u128()));
    assert!(!started.is_itself);
    driven.deliver(ended(0, End::Completed(json(1))));
    assert_eq!(driven.end(), r#"Completed("Completed(1)")"#);
}

#[test]
fn a_dropped_child_with_a_chosen_id_is_cancelled_only_if_this_run_started_it() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(child(with_id()), sleep_until(2_000)).await);
            step("end", 1).await
        })
    });
    let Command::Child { own: Some(token), .. } = driven.commands()[0].clone() else { panic!("it has an id") };
    driven.effects();
    driven.deliver(due(1));
    let target = Target { run: "child-1".into(), token: Some(token.as_u128()) };
    assert_eq!(driven.effects().given_up, [(0, target)]);
}

#[test]
fn a_replay_keeps_the_recorded_token_of_a_child() {
    let body: Body = |_| run(async { Ok(json(child(with_id()).await)) });
    let driven = Driven::start(body);
    let mut turns = driven.turns().to_vec();
    let Command::Child { own, .. } = &mut turns[0].commands[0] else { panic!("it is a child") };
    *own = Some(Uuid::from_u128(42));
    let replayed = driven.replayed_as(body, Setting::default(), turns).unwrap();
    let token = replayed.shared().with_open(0, replayed_token);
    assert_eq!(token, Some(Some(42)));
}

fn replayed_token(kind: &crate::replay::Kind) -> Option<u128> {
    match kind {
        crate::replay::Kind::Child(child) => child.named.as_ref().map(|named| named.token),
        _ => None,
    }
}

#[test]
fn a_run_waits_until_a_detached_child_with_a_chosen_id_is_started() {
    let body: Body = |_| run(async { Ok(json(child(ChildRequest { detached: true, ..with_id() }).await)) });
    let mut driven = Driven::start(body);
    driven.deliver(completed(0, ()));
    assert_eq!(driven.end(), r#"Completed("Completed(null)")"#);
    let mut driven = Driven::start(body);
    driven.deliver(failed(0, "it is another's"));
    assert_eq!(driven.end(), r#"Completed("Failed(\"it is another's\")")"#);
}

#[test]
fn a_child_call_with_the_id_of_its_own_run_is_detected() {
    let driven = Driven::start(|_| {
        run(async {
            let named = Some(Named { id: RUN.into(), token: 0 });
            Ok(json(child(ChildRequest { named, ..child_request("tests::child", 7) }).await))
        })
    });
    assert!(driven.effects().children[0].is_itself);
}

#[test]
fn attributes_of_a_child_are_recorded() {
    let driven = Driven::start(|_| {
        run(async {
            let attributes = BTreeMap::from([("colour".into(), "red".into())]);
            Ok(json(child(ChildRequest { attributes, ..child_request("tests::child", 7) }).await))
        })
    });
    let Command::Child { attributes, .. } = &driven.commands()[0] else { panic!("it is a child") };
    assert_eq!(*attributes, BTreeMap::from([("colour".into(), "red".into())]));
}

#[test]
fn a_child_inherits_the_context_and_has_the_next_depth() {
    let context = BTreeMap::from([("tenant".into(), json("acme"))]);
    let inherited = Some(Inherited { context: context.clone(), trace: None, depth: 2 });
    let setting = Setting { carried: Carried { inherited, ..Carried::default() }, ..Setting::default() };
    let driven = Driven::start_as(ONE, setting);
    assert_eq!(driven.shared().depth(), 2);
    let started = driven.effects().children.remove(0);
    let expected = Inherited { context, trace: None, depth: 3 };
    assert_eq!(started.inherited, Some(Arc::new(expected)));
}
