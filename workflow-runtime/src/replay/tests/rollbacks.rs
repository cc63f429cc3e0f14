//! Rollbacks of a run.

mod dropped;
mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join;

use super::support::*;
use crate::error::{Code, Error};
use crate::replay::{Action, Commands, Delivery, Event, Reopening, Rollback, StepRequest, owes_rollback};

const TWO: Body = |_| {
    run(async {
        let charged = undoable("charge", 1, "refund").await?;
        undoable("ship", charged, "return").await?;
        step("tell", 3).await
    })
};

/// The recorded end of the workflow that begins the rollbacks, as text.
fn unwinds(driven: &Driven) -> String {
    driven.last().unwinds.as_ref().map_or(String::new(), |end| format!("{end:?}"))
}

#[test]
fn the_last_step_is_undone_first() {
    let mut driven = Driven::start(TWO);
    assert_eq!(driven.commands(), [undoable_command(0, "charge", 1)]);
    assert_eq!(driven.deliver(completed(0, "receipt")), [undoable_command(1, "ship", "receipt")]);
    assert_eq!(driven.deliver(completed(1, "parcel")), [step_command(2, "tell", 3)]);
    assert_eq!(driven.deliver(failed(2, "nobody there")), [step_command(3, "return", "parcel")]);
    assert_eq!((unwinds(&driven).as_str(), &driven.last().undoes[..]), (r#"Failed("nobody there")"#, &[0, 1][..]));
    assert_eq!(driven.end(), "");
    assert!(driven.shared().is_unwinding() && driven.shared().is_failing());
    assert_eq!(driven.deliver(completed(3, ())), [step_command(4, "refund", "receipt")]);
    assert_eq!(unwinds(&driven), "", "it is recorded once");
    assert_eq!(driven.deliver(completed(4, ())), []);
    assert_eq!(driven.end(), r#"Failed("nobody there")"#);
}

#[test]
fn rollbacks_are_in_the_reverse_order_of_the_results() {
    let mut driven = Driven::start(|_| {
        run(async {
            let (a, b) = join(undoable("a", 1, "undo a"), undoable("b", 2, "undo b")).await;
            step("tell", [a?, b?]).await
        })
    });
    driven.deliver(completed(1, "b"));
    driven.deliver(completed(0, "a"));
    assert_eq!(driven.deliver(failed(2, "no")), [step_command(3, "undo a", "a")]);
    assert_eq!(driven.last().undoes, [1, 0]);
    assert_eq!(driven.deliver(completed(3, ())), [step_command(4, "undo b", "b")]);
}

#[test]
fn a_run_that_succeeds_undoes_nothing() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(completed(1, "parcel"));
    driven.deliver(completed(2, "told"));
    assert_eq!((driven.end().as_str(), driven.last().undoes.len()), (r#"Completed("told")"#, 0));
}

#[test]
fn a_failed_step_is_not_undone() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.deliver(failed(1, "no van")), [step_command(2, "refund", "receipt")]);
    assert_eq!(driven.last().undoes, [0]);
    let mut driven = Driven::start(TWO);
    assert_eq!(driven.deliver(failed(0, "no money")), []);
    assert_eq!((driven.end(), unwinds(&driven)), (r#"Failed("no money")"#.to_owned(), String::new()));
}

#[test]
fn a_cancelled_run_is_undone_and_a_second_cancellation_changes_nothing() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.actions();
    assert_eq!(driven.deliver(cancel("it is late")), []);
    assert_eq!(unwinds(&driven), r#"Cancelled("it is late")"#);
    // The second step is running, and may already have taken effect.
    assert_eq!(driven.actions(), [Action::GiveUp(1)]);
    assert!(driven.shared().can_be_undone(1) && driven.shared().is_last_attempt(1));
    assert_eq!(driven.deliver(cancel("once more")), []);
    assert_eq!(driven.deliver(completed(1, "parcel")), [step_command(2, "return", "parcel")]);
    assert_eq!(driven.deliver(completed(2, ())), [step_command(3, "refund", "receipt")]);
    driven.deliver(completed(3, ()));
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn a_running_step_that_fails_is_not_undone() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(cancel("it is late"));
    assert_eq!(driven.deliver(failed(1, "given up")), [step_command(2, "refund", "receipt")]);
    driven.deliver(completed(2, ()));
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn a_step_in_backoff_is_declined() {
    let mut driven = Driven::start(TWO);
    driven.actions();
    driven.deliver(attempt_failed(0, 1, 9_000));
    // The engine has not yet waited for the next attempt, which is not made.
    driven.deliver(cancel("it is late"));
    assert_eq!(driven.actions(), [Action::Decline(0)]);
    driven.deliver(failed(0, "declined"));
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn destructors_have_no_effect_when_rollbacks_begin() {
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            shared().continue_as_new(json("again"), None);
            shared().finish_with(json("early"));
        }
    }
    let mut driven = Driven::start(|_| {
        run(async {
            let _asks = Asks;
            undoable("charge", 1, "refund").await?;
            step("tell", 3).await
        })
    });
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.deliver(cancel("it is late")), [step_command(2, "refund", "receipt")]);
    assert_eq!(driven.end(), "");
    driven.deliver(completed(2, ()));
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn operations_without_rollbacks_are_stopped_before_the_rollbacks() {
    let mut driven = Driven::start(|_| {
        run(async {
            undoable("charge", 1, "refund").await?;
            drop(spawn(step("branch", 1)));
            drop(spawn(async { open("a").next().await }));
            drop(spawn(watch("run-2")));
            drop(spawn(sleep_until(90_000)));
            step("tell", 3).await
        })
    });
    driven.deliver(completed(0, "receipt"));
    driven.actions();
    driven.effects();
    assert_eq!(driven.deliver(failed(1, "no")), [step_command(6, "refund", "receipt")]);
    assert_eq!(driven.actions(), [Action::Abort(2), Action::Abort(5), Action::Dispatch(6)]);
    let effects = driven.effects();
    assert_eq!(effects.closed, [(3, Arc::from("a"))]);
    assert_eq!(effects.unwatched, [(4, Arc::from("run-2"))]);
    assert!(driven.shared().sleeps().is_empty());
    for event in [completed(2, 1), payload(3, 1), due(5)] {
        let mut replayed = driven.replayed_as(
            |_| {
                run(async {
                    undoable("charge", 1, "refund").await?;
                    drop(spawn(step("branch", 1)));
                    drop(spawn(async { open("a").next().await }));
                    drop(spawn(watch("run-2")));
                    drop(spawn(sleep_until(90_000)));
                    step("tell", 3).await
                })
            },
            Setting::default(),
            driven.turns().to_vec(),
        );
        assert_eq!(replayed.as_mut().unwrap().refuse(event).code(), Code::Nondeterminism);
    }
}

#[test]
fn a_failed_rollback_is_added_to_the_error_and_the_others_continue() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(completed(1, "parcel"));
    driven.deliver(failed(2, "no"));
    assert_eq!(driven.deliver(failed(3, "lost")), [step_command(4, "refund", "receipt")]);
    driven.deliver(failed(4, "closed"));
    assert_eq!(driven.end(), r#"Failed("no, and \"lost\", and \"closed\"")"#);

    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(cancel("it is late"));
    driven.deliver(failed(1, "given up"));
    driven.deliver(failed(2, "closed"));
    assert_eq!(driven.end(), r#"Cancelled("it is late; and a rollback failed: \"closed\"")"#);
}

#[test]
fn an_attempt_of_a_rollback_is_repeated() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(failed(1, "no van"));
    driven.actions();
    assert_eq!(driven.deliver(attempt_failed(2, 1, 9_000)), []);
    assert_eq!(driven.actions(), [Action::Arm { op: 2, at: 9_000 }]);
    driven.deliver(completed(2, ()));
    assert_eq!(driven.end(), r#"Failed("no van")"#);
}

#[test]
fn a_rollback_that_cannot_read_its_result_makes_the_run_stuck() {
    let mut driven = Driven::start(|_| {
        run(async {
            let rollback = Some(Rollback::new(|_| Err(Error::coded(Code::Payload, "it is no receipt"))));
            call(StepRequest { rollback, ..step_request("charge", 1) }).await?;
            step("tell", 3).await
        })
    });
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.refuse(failed(1, "no")).code(), Code::Payload);
}

#[test]
fn a_suspended_step_is_not_undone() {
    let mut driven = Driven::start(TWO);
    driven.deliver(suspended(0, "boss", 1));
    driven.effects();
    driven.deliver(cancel("it is late"));
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn a_rollback_cannot_continue_the_run_as_new() {
    let mut driven = Driven::start(|_| {
        run(async {
            let rollback = Rollback::new(|_| {
                let mut operation =
                    crate::replay::Operation::new(std::panic::Location::caller()).expect("it is polled");
                Ok(Box::pin(async move {
                    let body: Body = |_| unreachable!("the core begins no generation");
                    let definition = Box::leak(Box::new(workflow(WORKFLOW, body)));
                    operation.continue_as_new(definition, &mut Some(json(2)), None)
                }))
            });
            call(StepRequest { rollback: Some(rollback), ..step_request("charge", 1) }).await?;
            Err(json("no"))
        })
    });
    driven.deliver(completed(0, "receipt"));
    assert!(driven.end().starts_with("Failed(\"no, and a run that is being rolled back"), "{}", driven.end());
}

#[test]
fn the_journal_alone_determines_the_steps_to_undo() {
    let mut driven = Driven::start(|_| {
        run(async {
            let (a, b) = join(undoable("a", 1, "undo a"), undoable("b", 2, "undo b")).await;
            drop((a, b));
            undoable("c", 3, "undo c").await
        })
    });
    let mut owed = BTreeMap::new();
    let owes = |driven: &Driven, owed: &mut BTreeMap<u64, bool>| {
        owes_rollback(owed, &driven.last().clone().into());
        owed.clone()
    };
    assert_eq!(owes(&driven, &mut owed), [(0, false), (1, false)].into());
    driven.deliver(failed(1, "no"));
    assert_eq!(owes(&driven, &mut owed), [(0, false)].into());
    driven.deliver(completed(0, 1));
    assert_eq!(owes(&driven, &mut owed), [(0, true), (2, false)].into());
    driven.deliver(cancel("it is late"));
    assert_eq!((owes(&driven, &mut owed), &driven.last().undoes[..]), ([(0, true), (2, false)].into(), &[0][..]));

    let reopened = |reopening: Reopening| {
        let mut owed = owed.clone();
        let event = Event::Reopened { seed: SEED.to_owned(), reopening };
        let delivery =
            Delivery { event, commands: Commands::new(), unwinds: None, undoes: Vec::new(), ..driven.last().clone() };
        owes_rollback(&mut owed, &delivery.into());
        owed
    };
    let fork = || Reopening { source: Some("run-0".to_owned()), ..Reopening::default() };
    assert_eq!(reopened(Reopening::default()), [(0, true), (2, false)].into());
    assert_eq!(reopened(fork()), [(2, false)].into(), "what was done is the source's to undo");
    assert_eq!(reopened(Reopening { again: Some(2), ..fork() }), BTreeMap::new());
    assert_eq!(reopened(Reopening { undo_inherited: true, ..fork() }), [(0, true), (2, false)].into());
}

#[test]
fn a_replay_compares_the_end_of_a_rolled_back_workflow() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(failed(1, "no van"));
    let error = driven.replayed_by(|_| {
        run(async {
            let charged = undoable("charge", 1, "refund").await?;
            undoable("ship", charged, "return").await.map_err(|_| json("another"))
        })
    });
    let error = error.map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Nondeterminism);
    assert!(format!("{error:?}").contains("another"), "{error:?}");
}

#[test]
fn a_replay_detects_other_rollbacks() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    driven.deliver(failed(1, "no van"));
    let without: Body = |_| {
        run(async {
            let charged = step("charge", 1).await?;
            undoable("ship", charged, "return").await
        })
    };
    let with_another: Body = |_| {
        run(async {
            let charged = undoable("charge", 1, "give back").await?;
            undoable("ship", charged, "return").await
        })
    };
    for body in [without, with_another] {
        assert_eq!(driven.replayed_by(body).map(drop).unwrap_err().code(), Code::Nondeterminism);
    }
}
