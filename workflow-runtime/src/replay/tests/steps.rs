//! Calls of steps.

use std::cell::RefCell;
use std::future::pending;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

use futures_util::future::{join, select};

use super::support::*;
use crate::codec;
use crate::error::{Code, Error};
use crate::replay::{Action, Command, End, Kind, NONDETERMINISTIC, Operation, Place, StepRequest};

const ONE: Body = |_| run(step("charge", 7));

const RACE: Body = |_| {
    run(async {
        drop(select(step("charge", 7), sleep_until(2_000)).await);
        sleep_until(3_000).await;
        Ok(json("over"))
    })
};

#[test]
fn a_call_issues_its_step_and_returns_its_result() {
    let mut driven = Driven::start(|_| run(async { Ok(json([step("charge", 7).await?])) }));
    assert_eq!(driven.commands(), [step_command(0, "charge", 7)]);
    assert_eq!(driven.actions(), [Action::Dispatch(0)]);
    assert_eq!((driven.shared().wake_at(), driven.shared().has_steps()), (Some(0), true));
    assert_eq!(driven.deliver(completed(0, "receipt")), []);
    assert_eq!(driven.end(), r#"Completed(["receipt"])"#);
    assert!(driven.core().has_ended());
}

#[test]
fn a_failed_step_returns_its_error() {
    let mut driven = Driven::start(ONE);
    driven.deliver(failed(0, "no money"));
    assert_eq!(driven.end(), r#"Failed("no money")"#);

    let mut driven = Driven::start(|_| {
        run(async {
            let error = step("charge", 7).await.unwrap_err();
            step("tell", error).await
        })
    });
    assert_eq!(driven.deliver(failed(0, "no money")), [step_command(1, "tell", "no money")]);
    driven.deliver(completed(1, "told"));
    assert_eq!(driven.end(), r#"Completed("told")"#);
}

#[test]
fn operations_are_numbered_in_the_order_in_which_they_are_issued() {
    let mut driven = Driven::start(|_| {
        run(async {
            // This call is made first and polled last.
            let third = step("third", 3);
            let (first, second) = join(step("first", 1), step("second", 2)).await;
            Ok(json([first?, second?, third.await?]))
        })
    });
    assert_eq!(driven.commands(), [step_command(0, "first", 1), step_command(1, "second", 2)]);
    assert_eq!(driven.actions(), [Action::Dispatch(0), Action::Dispatch(1)]);
    assert_eq!(driven.deliver(completed(1, "b")), []);
    assert_eq!(driven.deliver(completed(0, "a")), [step_command(2, "third", 3)]);
    driven.deliver(completed(2, "c"));
    assert_eq!(driven.end(), r#"Completed(["a","b","c"])"#);
}

#[test]
fn a_failed_attempt_sets_the_time_of_the_next_one() {
    let mut driven = Driven::start(ONE);
    driven.actions();
    assert_eq!(driven.deliver(attempt_failed(0, 1, 5_000)), []);
    assert_eq!(driven.actions(), [Action::Arm { op: 0, at: 5_000 }]);
    assert_eq!(driven.shared().wake_at(), Some(5_000));
    assert_eq!(driven.deliver(attempt_failed(0, 2, 9_000)), []);
    let attempt = driven.shared().with_open(0, |kind| match kind {
        Kind::Step(step) => (step.attempt, step.counted()),
        _ => unreachable!("it is a step"),
    });
    assert_eq!(attempt, Some((3, 3)));
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.end(), r#"Completed("receipt")"#);
}

#[test]
fn a_replayed_run_repeats_its_outstanding_steps() {
    let mut driven = Driven::start(ONE);
    let replayed = driven.replayed_by(ONE).unwrap();
    assert_eq!(replayed.shared().resume_actions(2_000), [Action::Repeat(0)]);
    driven.deliver(attempt_failed(0, 1, 5_000));
    let replayed = driven.replayed_by(ONE).unwrap();
    assert_eq!(replayed.shared().resume_actions(2_000), [Action::Arm { op: 0, at: 5_000 }]);
    assert_eq!(replayed.shared().resume_actions(8_000), [Action::Arm { op: 0, at: 5_000 }]);
}

#[test]
fn a_dropped_step_is_stopped_and_its_result_is_refused() {
    let mut driven = Driven::start(RACE);
    driven.actions();
    assert_eq!(driven.deliver(due(1)), [dropped(0), timer_command(2, 3_000)]);
    assert_eq!(driven.actions(), [Action::Abort(0), Action::Arm { op: 2, at: 3_000 }]);
    let error = driven.refuse(completed(0, "late"));
    assert_eq!(error.code(), Code::Nondeterminism);
}

#[test]
fn a_step_with_a_result_is_not_stopped() {
    let mut driven = Driven::start(RACE);
    driven.actions();
    // The code drops the timer, not the step.
    assert_eq!(driven.deliver(completed(0, "receipt")), [dropped(1), timer_command(2, 3_000)]);
    assert_eq!(driven.actions(), [Action::Abort(1), Action::Arm { op: 2, at: 3_000 }]);
}

#[test]
fn an_untaken_result_is_dropped_without_a_command() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut charge = step("charge", 7);
            // The first poll issues the step. The code does not poll it again.
            assert!(futures_util::poll!(&mut charge).is_pending());
            sleep_until(2_000).await;
            drop(charge);
            sleep_until(3_000).await;
            Ok(json("over"))
        })
    });
    assert_eq!(driven.deliver(completed(0, "receipt")), []);
    assert_eq!(driven.deliver(due(1)), [timer_command(2, 3_000)]);
}

#[test]
fn a_second_result_of_a_step_is_refused() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut charge = step("charge", 7);
            assert!(futures_util::poll!(&mut charge).is_pending());
            sleep_until(2_000).await;
            charge.await
        })
    });
    driven.deliver(completed(0, "receipt"));
    assert_eq!(driven.refuse(completed(0, "again")).code(), Code::Nondeterminism);
}

#[test]
fn a_step_that_is_not_polled_is_not_issued() {
    let driven = Driven::start(|_| {
        run(async {
            drop(step("charge", 7));
            step("ship", 8).await
        })
    });
    assert_eq!(driven.commands(), [step_command(0, "ship", 8)]);
}

#[test]
fn step_events_of_other_operations_are_refused() {
    for event in [completed(1, 1), failed(1, 1), attempt_failed(1, 1, 5), due(7), suspended(1, "label", 1)] {
        let mut driven = Driven::start(ONE);
        assert_eq!(driven.refuse(event.clone()).code(), Code::Nondeterminism, "{event:?}");
    }
    let timer: Body = |_| {
        run(async {
            sleep_until(2_000).await;
            Ok(json(1))
        })
    };
    for event in [attempt_failed(0, 1, 5), suspended(0, "label", 1), payload(0, 1), conflict(0, "run-2")] {
        let mut driven = Driven::start(timer);
        assert_eq!(driven.refuse(event.clone()).code(), Code::Nondeterminism, "{event:?}");
    }
}

#[test]
fn a_name_is_recorded() {
    let body: Body = |_| run(call(StepRequest { name: Some("Anna".into()), ..step_request("greet", 1) }));
    let mut driven = Driven::start(body);
    let Command::Step { name, .. } = &driven.commands()[0] else { panic!("it is a step") };
    assert_eq!(name.as_deref(), Some("Anna"));
    driven.deliver(completed(0, 1));
    // A name is for display: another build may use another one.
    driven.replayed_by(|_| run(step("greet", 1))).unwrap();
}

#[test]
fn a_step_of_a_queue_is_executed_as_its_own_run() {
    let body: Body = |_| run(call(StepRequest { place: queue(), ..step_request("queued", 7) }));
    let mut driven = Driven::start(body);
    let id = driven.shared().child_id(0);
    let Command::Step { run: Some(run), .. } = &driven.commands()[0] else { panic!("it is executed elsewhere") };
    assert_eq!(**run, *id);
    assert_eq!(driven.actions(), [], "nothing is executed here");
    let [started] = &driven.effects().children[..] else { panic!("one run is started") };
    assert_eq!((&*started.run, started.request.input.as_str()), (&*id, r#"[7,"run-1/0/0/0"]"#));
    assert_eq!((driven.shared().wake_at(), driven.shared().has_steps()), (None, false));
    driven.deliver(ended(0, End::Completed(json("drawn"))));
    assert_eq!(driven.end(), r#"Completed("drawn")"#);

    let mut driven = Driven::start(body);
    driven.deliver(ended(0, End::Failed(json("no paper"))));
    assert_eq!(driven.end(), r#"Failed("no paper")"#);

    let mut driven = Driven::start(body);
    driven.deliver(ended(0, End::Cancelled("it is late".into())));
    let Some(End::Failed(error)) = &driven.last().end else { panic!("it fails: {}", driven.end()) };
    let error: Error = codec::decode("the error", error).unwrap();
    assert_eq!((error.code(), error.is_fatal()), (Code::Cancelled, true));
}

#[test]
fn a_dropped_step_of_a_queue_cancels_its_run() {
    let mut driven = Driven::start(|_| {
        run(async {
            let queued = call(StepRequest { place: queue(), ..step_request("queued", 7) });
            drop(select(queued, sleep_until(2_000)).await);
            sleep_until(3_000).await;
            Ok(json("over"))
        })
    });
    let id = driven.shared().child_id(0);
    driven.effects();
    assert_eq!(driven.deliver(due(1)), [dropped(0), timer_command(2, 3_000)]);
    let given_up = driven.effects().given_up;
    assert_eq!(given_up, [(0, id.into())]);
}

#[test]
fn a_step_is_executed_where_the_journal_records() {
    let here: Body = |_| run(step("queued", 7));
    let queued: Body = |_| run(call(StepRequest { place: queue(), ..step_request("queued", 7) }));
    let place = |driven: &Driven| {
        driven.shared().with_open(0, |kind| match kind {
            Kind::Step(step) => step.place,
            _ => unreachable!("it is a step"),
        })
    };
    let replayed = Driven::start(here).replayed_by(queued).unwrap();
    assert!(matches!(place(&replayed), Some(Place::Here)));
    assert_eq!(replayed.shared().resume_actions(2_000), [Action::Repeat(0)]);
    let replayed = Driven::start(queued).replayed_by(here).unwrap();
    assert!(matches!(place(&replayed), Some(Place::Elsewhere)));
    assert_eq!(replayed.shared().resume_actions(2_000), []);
}

#[test]
fn nondeterministic_futures_are_recorded_as_steps_and_executed_once() {
    let mut driven = Driven::start(|_| {
        run(async {
            let local = operation(Kind::Local(Some(Box::pin(async { Ok(json("executed")) }))));
            Ok(json(format!("{:?}", local.await)))
        })
    });
    assert_eq!(driven.commands(), [step_command(0, NONDETERMINISTIC, ())]);
    assert_eq!(driven.actions(), [Action::Dispatch(0)]);
    assert!(driven.shared().take_local(0).is_some());
    assert!(driven.shared().take_local(0).is_none());
    driven.deliver(completed(0, 3));
    assert_eq!(driven.end(), r#"Completed("Completed(3)")"#);
}

#[test]
fn a_panic_of_the_workflow_is_an_error_and_not_an_end() {
    let in_future: Body = |_| run(async { panic!("on purpose") });
    let in_body: Body = |_| panic!("on purpose");
    for body in [in_future, in_body] {
        let error = Driven::try_start(body, Setting::default()).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::Panic);
        assert!(error.to_string().contains("on purpose"), "{error:?}");
    }
}

#[test]
fn awaiting_a_foreign_future_is_an_error() {
    let error = Driven::try_start(|_| run(pending()), Setting::default()).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::ForeignFuture);
    let mut driven = Driven::start(|_| {
        run(async {
            step("charge", 7).await?;
            pending().await
        })
    });
    let error = driven.refuse(completed(0, "receipt"));
    assert_eq!(error.code(), Code::ForeignFuture);
    assert!(format!("{error:?}").contains("steps.rs"), "it names the last operation: {error:?}");
}

thread_local! {
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static ELSEWHERE: RefCell<Option<Operation>> = const { RefCell::new(None) };
}

#[test]
fn a_wake_from_outside_is_an_error_and_raises_the_alarm() {
    let driven = Driven::start(|_| {
        run(async {
            std::future::poll_fn(|context| {
                WAKER.set(Some(context.waker().clone()));
                Poll::Ready(())
            })
            .await;
            step("charge", 7).await
        })
    });
    let raised = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let raises = raised.clone();
    driven.shared().on_alarm(move || raises.store(true, std::sync::atomic::Ordering::Relaxed));
    WAKER.take().unwrap().wake();
    assert!(raised.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(driven.shared().take_fault().unwrap().code(), Code::ForeignFuture);
}

#[test]
fn an_operation_cannot_be_polled_outside_its_run() {
    let _driven = Driven::start(|_| {
        ELSEWHERE.set(Operation::new(Location::caller()));
        run(step("charge", 7))
    });
    let mut stolen = ELSEWHERE.take().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let kind = || Some(Kind::Timer { until: 1, bounds: false, since: None });
    let Poll::Ready(Err(error)) = stolen.poll(&mut context, kind) else { panic!("it is refused") };
    assert_eq!(error.code(), Code::OutsideRun);
    assert!(Operation::new(Location::caller()).is_none(), "no run is polled");
}

#[test]
fn the_end_of_the_run_cancels_its_steps_of_queues() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(call(StepRequest { place: queue(), ..step_request("queued", 7) })));
            step("end", 1).await
        })
    });
    driven.effects();
    assert_eq!(driven.deliver(completed(0, "over")), []);
    assert_eq!(driven.effects().given_up, [(1, driven.shared().child_id(1).into())]);
    assert_eq!(driven.end(), r#"Completed("over")"#);
}
