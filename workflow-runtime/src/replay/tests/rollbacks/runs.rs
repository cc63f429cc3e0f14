//! Rollbacks of a run that has children, that calls steps of queues, or that executes a step for another run.

use std::sync::Arc;

use futures_util::future::select;

use super::super::support::*;
use crate::replay::{ChildRequest, Command, End, Named, Origin, StepRequest};

#[test]
fn a_run_that_succeeds_does_not_wait_for_children_that_it_has_dropped() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(child(child_request("tests::child", 7)), sleep_until(2_000)).await);
            drop(select(undoable("charge", 1, "refund"), sleep_until(3_000)).await);
            Ok(json("over"))
        })
    });
    driven.deliver(due(1));
    assert_eq!(driven.deliver(due(3)), [dropped(2)]);
    assert_eq!(driven.deliver(completed(2, "receipt")), [step_command(4, "refund", "receipt")]);
    driven.deliver(completed(4, ()));
    assert_eq!(driven.end(), r#"Completed("over")"#);
}

#[test]
fn children_of_a_failing_run_end_before_its_rollbacks() {
    let mut driven = Driven::start(|_| {
        run(async {
            undoable("charge", 1, "refund").await?;
            drop(spawn(child(child_request("tests::child", 7))));
            drop(spawn(child(ChildRequest { abandoned: true, ..child_request("tests::child", 7) })));
            step("tell", 3).await
        })
    });
    driven.deliver(completed(0, "receipt"));
    driven.effects();
    assert_eq!(driven.deliver(failed(1, "no")), []);
    let effects = driven.effects();
    assert_eq!(effects.stopped, [driven.shared().child_id(2).into()]);
    assert!(effects.given_up.is_empty(), "the other one is not given up");
    let end = End::Cancelled("its parent has failed".into());
    assert_eq!(driven.deliver(ended(2, end)), [step_command(4, "refund", "receipt")]);
    driven.deliver(completed(4, ()));
    assert_eq!(driven.end(), r#"Failed("no")"#);
}

#[test]
fn a_failing_run_waits_for_children_that_it_has_dropped_before() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(child(child_request("tests::child", 7)), sleep_until(2_000)).await);
            step("tell", 3).await
        })
    });
    driven.deliver(due(1));
    let id = driven.shared().child_id(0).to_string();
    assert_eq!(driven.deliver(failed(2, "no")), [Command::Watch { op: 3, run: id.into() }]);
    assert_eq!(driven.end(), "");
    driven.deliver(ended(3, End::Cancelled("dropped".into())));
    assert_eq!(driven.end(), r#"Failed("no")"#);
}

#[test]
fn a_failing_run_waits_for_a_child_with_a_chosen_id_by_its_id() {
    let mut driven = Driven::start(|_| {
        run(async {
            let named = Some(Named { id: "child-1".into(), token: 0 });
            drop(spawn(child(ChildRequest { named, ..child_request("tests::child", 7) })));
            step("tell", 3).await
        })
    });
    driven.effects();
    assert_eq!(driven.deliver(failed(0, "no")), [watch_command(2, "child-1")]);
    let effects = driven.effects();
    assert_eq!(effects.stopped.len(), 1);
    assert!(effects.stopped[0].token.is_some(), "one that this run has not started is not cancelled");
    assert_eq!(effects.unwatched, [(1, Arc::from("child-1"))]);
    driven.deliver(ended(2, End::Completed(json(1))));
    assert_eq!(driven.end(), r#"Failed("no")"#);
}

#[test]
fn a_step_of_a_queue_is_stopped_and_its_result_is_undone() {
    let mut driven = Driven::start(|_| {
        run(async {
            let rollback = Some(undone_by("erase"));
            let draw = call(StepRequest { rollback, place: queue(), ..step_request("queued", 7) });
            drop(spawn(draw));
            step("tell", 3).await
        })
    });
    driven.effects();
    assert_eq!(driven.deliver(failed(0, "no")), []);
    assert_eq!(driven.effects().stopped, [driven.shared().child_id(1).into()]);
    assert_eq!(driven.deliver(ended(1, End::Completed(json("drawn")))), [step_command(2, "erase", "drawn")]);
}

#[test]
fn a_step_executed_for_another_run_returns_its_result_to_that_run() {
    let body: Body = |_| {
        run(async {
            let origin = Origin { run: "caller".into(), key: "caller/0/0/3".into(), undoable: true, place: (0, 3) };
            call(StepRequest { origin: Some(origin), ..step_request("charge", 1) }).await
        })
    };
    let mut driven = Driven::start(body);
    driven.deliver(cancel("its caller has failed"));
    assert_eq!(driven.end(), "", "it may have done what it does");
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.end(), r#"Completed("receipt")"#);
    let mut driven = Driven::start(body);
    driven.deliver(cancel("its caller has failed"));
    driven.deliver(failed(0, "given up"));
    assert_eq!(driven.end(), r#"Cancelled("its caller has failed")"#);
}
