//! Waiting for the ends of other runs.

use std::sync::Arc;

use futures_util::future::select;

use super::support::*;
use crate::replay::{End, Target};

#[test]
fn a_run_waits_for_the_end_of_another_run() {
    let ends = [
        (End::Completed(json(1)), r#"Completed("Completed(1)")"#),
        (End::Failed(json("no")), r#"Completed("Failed(\"no\")")"#),
        (End::Cancelled("late".into()), r#"Completed("Cancelled(\"late\")")"#),
    ];
    for (end, seen) in ends {
        let mut driven = Driven::start(|_| run(async { Ok(json(watch("run-2").await)) }));
        assert_eq!(driven.commands(), [watch_command(0, "run-2")]);
        assert_eq!(driven.effects().watches, [(0, Target::from(Arc::from("run-2")))]);
        assert_eq!((driven.shared().wake_at(), driven.actions()), (None, vec![]));
        driven.deliver(ended(0, end));
        assert_eq!(driven.end(), seen);
    }
}

#[test]
fn dropping_the_wait_for_a_run_removes_its_watch() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(watch("run-2"), sleep_until(2_000)).await);
            step("end", 1).await
        })
    });
    driven.effects();
    assert_eq!(driven.deliver(due(1)), [dropped(0), step_command(2, "end", 1)]);
    let effects = driven.effects();
    assert_eq!(effects.unwatched, [(0, Arc::from("run-2"))]);
    assert!(effects.given_up.is_empty(), "it is not given up");
}

#[test]
fn a_watch_dropped_in_the_turn_of_its_call_is_not_stored() {
    let driven = Driven::start(|_| {
        run(async {
            let mut watched = watch("run-2");
            assert!(futures_util::poll!(&mut watched).is_pending());
            drop(watched);
            step("end", 1).await
        })
    });
    let effects = driven.effects();
    assert!(effects.watches.is_empty() && effects.unwatched.is_empty());
}
