//! Steps that suspend themselves.

use std::sync::Arc;

use futures_util::future::{join, select};

use super::support::*;
use crate::error::Code;
use crate::replay::{Action, Kind};

const ONE: Body = |_| run(step("approve", 7));

#[test]
fn a_suspended_step_waits_for_a_payload_and_is_attempted_again() {
    let mut driven = Driven::start(ONE);
    driven.actions();
    assert_eq!(driven.deliver(suspended(0, "boss", "please")), []);
    assert_eq!(driven.actions(), []);
    let [opening] = &driven.effects().opened[..] else { panic!("one token is opened") };
    assert_eq!((opening.op, &*opening.token, opening.once), (0, "suspended/run-1/boss", true));
    assert_eq!(opening.metadata, Some(json("please")));
    let asked = opening.asked.as_ref().expect("it is a suspension");
    assert_eq!((&*asked.id, asked.step), ("0.0.1", Some("approve")));
    assert_eq!((driven.shared().wake_at(), driven.shared().has_steps()), (None, false));

    assert_eq!(driven.deliver(payload(0, "yes")), []);
    assert_eq!(driven.actions(), [Action::Dispatch(0)]);
    let resumed = driven.shared().with_open(0, |kind| match kind {
        Kind::Step(step) => {
            let suspensions = step.suspensions.as_ref().expect("it was suspended");
            let resumed: Vec<_> =
                suspensions.resumed.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
            (step.attempt, step.counted(), resumed, suspensions.last_payload.clone())
        }
        _ => unreachable!("it is a step"),
    });
    assert_eq!(resumed, Some((2, 1, vec![r#"boss="yes""#.to_owned()], Some(json("please")))));
    driven.deliver(completed(0, "approved"));
    assert_eq!(driven.end(), r#"Completed("approved")"#);
}

#[test]
fn a_step_is_suspended_several_times() {
    let mut driven = Driven::start(ONE);
    driven.deliver(suspended(0, "boss", 1));
    driven.deliver(payload(0, "yes"));
    driven.deliver(attempt_failed(0, 2, 4_000));
    assert_eq!(driven.shared().wake_at(), Some(4_000));
    driven.deliver(suspended(0, "board", 2));
    let opening = driven.shared().opening_once(0).expect("it waits");
    assert_eq!((&*opening.token, &*opening.asked.expect("it is a suspension").id), ("suspended/run-1/board", "0.0.2"));
    assert_eq!(driven.shared().wake_at(), None, "the time of its next attempt is forgotten");
    driven.deliver(payload(0, "no"));
    let counted = driven.shared().with_open(0, |kind| match kind {
        Kind::Step(step) => (step.attempt, step.counted()),
        _ => unreachable!("it is a step"),
    });
    assert_eq!(counted, Some((4, 2)));
}

#[test]
fn a_replayed_run_attempts_a_step_again_only_if_it_was_resumed() {
    let mut driven = Driven::start(ONE);
    driven.deliver(suspended(0, "boss", 1));
    assert_eq!(driven.replayed_by(ONE).unwrap().shared().resume_actions(2_000), []);
    driven.deliver(payload(0, "yes"));
    assert_eq!(driven.replayed_by(ONE).unwrap().shared().resume_actions(2_000), [Action::Repeat(0)]);
}

#[test]
fn a_payload_for_a_step_that_is_not_suspended_is_refused() {
    let mut driven = Driven::start(ONE);
    assert_eq!(driven.refuse(payload(0, 1)).code(), Code::Nondeterminism);
    let mut driven = Driven::start(ONE);
    driven.deliver(suspended(0, "boss", 1));
    driven.deliver(payload(0, "yes"));
    assert_eq!(driven.refuse(payload(0, "again")).code(), Code::Nondeterminism);
}

#[test]
fn a_dropped_suspended_step_closes_its_token() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(step("approve", 7), sleep_until(2_000)).await);
            step("end", 1).await
        })
    });
    driven.deliver(suspended(0, "boss", 1));
    driven.effects();
    driven.actions();
    assert_eq!(driven.deliver(due(1)), [dropped(0), step_command(2, "end", 1)]);
    assert_eq!(driven.effects().closed, [(0, Arc::from("suspended/run-1/boss"))]);
    assert_eq!(driven.actions(), [Action::Dispatch(2)], "no attempt is under way");
}

#[test]
fn a_suspended_step_can_fail() {
    let mut driven = Driven::start(ONE);
    driven.deliver(suspended(0, "boss", 1));
    driven.deliver(failed(0, "the label is another's"));
    assert_eq!(driven.end(), r#"Failed("the label is another's")"#);
}

#[test]
fn two_steps_can_be_suspended_at_the_same_time() {
    let mut driven = Driven::start(|_| {
        run(async {
            let (a, b) = join(step("approve", 1), step("approve", 2)).await;
            Ok(json([a?, b?]))
        })
    });
    driven.deliver(suspended(0, "a", 1));
    driven.deliver(suspended(1, "b", 2));
    driven.actions();
    driven.deliver(payload(1, "yes"));
    assert_eq!(driven.actions(), [Action::Dispatch(1)]);
    driven.deliver(completed(1, "b"));
    driven.deliver(payload(0, "yes"));
    driven.deliver(completed(0, "a"));
    assert_eq!(driven.end(), r#"Completed(["a","b"])"#);
}
