//! Rollbacks of steps that the workflow has dropped.

use futures_util::future::{pending, select};

use super::super::support::*;
use super::unwinds;
use crate::replay::Action;

#[test]
fn a_step_called_and_dropped_in_the_last_turn_is_not_undone() {
    let mut driven = Driven::start(|_| {
        run(async {
            step("first", 1).await?;
            let mut charge = undoable("charge", 1, "refund");
            assert!(futures_util::poll!(&mut charge).is_pending());
            Err(json("no"))
        })
    });
    driven.actions();
    assert_eq!(driven.deliver(completed(0, 1)), [undoable_command(1, "charge", 1), dropped(1)]);
    assert_eq!(driven.actions(), [Action::Dispatch(1), Action::Abort(1)]);
    assert_eq!(driven.end(), r#"Failed("no")"#);
}

#[test]
fn a_rollback_does_not_wait_for_a_step_called_in_the_last_turn() {
    let mut driven = Driven::start(|_| {
        run(async {
            undoable("first", 1, "undo first").await?;
            // The call still exists when the workflow has returned.
            let charge = Box::leak(Box::new(undoable("charge", 2, "refund")));
            assert!(futures_util::poll!(charge).is_pending());
            Err(json("no"))
        })
    });
    driven.actions();
    let commands = driven.deliver(completed(0, "first"));
    assert_eq!(commands, [undoable_command(1, "charge", 2), step_command(2, "undo first", "first")]);
    assert_eq!(driven.actions(), [Action::Abort(1), Action::Dispatch(2)]);
    driven.deliver(completed(2, ()));
    assert_eq!(driven.end(), r#"Failed("no")"#);
}

#[test]
fn a_dropped_step_that_succeeds_is_undone_when_the_run_succeeds() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(undoable("charge", 1, "refund"), sleep_until(2_000)).await);
            step("tell", 3).await
        })
    });
    driven.actions();
    // The step is not stopped, because it may already have taken effect.
    assert_eq!(driven.deliver(due(1)), [dropped(0), step_command(2, "tell", 3)]);
    assert_eq!(driven.actions(), [Action::Dispatch(2)]);
    assert!(driven.shared().can_be_undone(0));
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.deliver(completed(2, "told")), [step_command(3, "refund", "receipt")]);
    assert_eq!(unwinds(&driven), r#"Completed("told")"#);
    assert!(driven.shared().is_unwinding() && !driven.shared().is_failing());
    driven.deliver(completed(3, ()));
    assert_eq!(driven.end(), r#"Completed("told")"#);
}

#[test]
fn a_run_waits_for_a_dropped_step_before_it_succeeds() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(undoable("charge", 1, "refund"), sleep_until(2_000)).await);
            Ok(json("over"))
        })
    });
    driven.actions();
    assert_eq!(driven.deliver(due(1)), [dropped(0)]);
    assert_eq!((driven.end(), unwinds(&driven)), (String::new(), r#"Completed("over")"#.to_owned()));
    assert_eq!(driven.actions(), [], "its attempt is not stopped");
    driven.deliver(failed(0, "no money"));
    assert_eq!(driven.end(), r#"Completed("over")"#);
}

#[test]
fn a_dropped_step_is_not_attempted_again_after_the_run_has_succeeded() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(undoable("charge", 1, "refund"), sleep_until(2_000)).await);
            Ok(json("over"))
        })
    });
    driven.deliver(attempt_failed(0, 1, 9_000));
    driven.actions();
    assert_eq!(driven.deliver(due(1)), [dropped(0)]);
    assert_eq!(driven.actions(), [Action::GiveUp(0)]);
}

#[test]
fn a_step_dropped_with_its_result_is_undone() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut charge = undoable("charge", 1, "refund");
            assert!(futures_util::poll!(&mut charge).is_pending());
            sleep_until(2_000).await;
            drop(charge);
            Ok(json("over"))
        })
    });
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.deliver(due(1)), [step_command(2, "refund", "receipt")]);
}

#[test]
fn a_continuing_run_undoes_dropped_steps_and_keeps_its_hooks() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(async {
                let mut hook = open("a");
                hook.next().await;
                pending::<()>().await;
            }));
            drop(select(undoable("charge", 1, "refund"), sleep_until(2_000)).await);
            shared().continue_as_new(json(2), None);
            pending().await
        })
    });
    driven.deliver(payload(2, "first"));
    driven.deliver(payload(2, "second"));
    driven.effects();
    assert_eq!(driven.deliver(due(1)), [dropped(0)]);
    assert_eq!((driven.end(), unwinds(&driven)), (String::new(), "Continued(2)".to_owned()));
    assert!(driven.shared().is_continuing());
    assert_eq!(driven.deliver(completed(0, "receipt")), [step_command(3, "refund", "receipt")]);
    driven.deliver(completed(3, ()));
    assert_eq!(driven.end(), "Continued(2)");
    let effects = driven.effects();
    assert!(effects.closed.is_empty());
    assert_eq!(effects.continued.expect("it continues as new").payloads, [("a".into(), json("second"))]);
}
