//! Cancelling a run.

use super::support::*;
use crate::error::Code;

#[test]
fn a_cancelled_run_ends_at_once_without_a_poll_of_its_workflow() {
    let mut driven = Driven::start(|_| {
        run(async {
            // The workflow would continue if it were polled.
            let _ = step("work", 1).await;
            step("further", 2).await
        })
    });
    assert_eq!(driven.deliver(cancel("it is late")), []);
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
    assert!(driven.core().has_ended());
}

#[test]
fn a_cancel_issues_no_commands_for_outstanding_operations() {
    let mut driven = Driven::start(|_| {
        run(async {
            let _hook = open("a");
            drop(spawn(child(child_request("tests::child", 7))));
            sleep_until(5_000).await;
            Ok(json(1))
        })
    });
    driven.effects();
    // The child may have steps that it undoes, so the run waits for its end.
    assert_eq!(driven.deliver(cancel("it is late")), []);
    assert_eq!(driven.end(), "");
    assert_eq!(driven.effects().stopped, [driven.shared().child_id(2).into()]);
    driven.deliver(ended(2, crate::replay::End::Cancelled("it is late".into())));
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn destructors_of_a_cancelled_run_have_no_effect() {
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            shared().set_value(json("dropped"), std::panic::Location::caller());
            drop(spawn(async {}));
            let mut step = step("from a destructor", 1);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(std::pin::Pin::new(&mut step).as_mut().poll(&mut context).is_pending());
        }
    }
    let mut driven = Driven::start(|_| {
        run(async {
            let _asks = Asks;
            step("work", 1).await
        })
    });
    assert_eq!(driven.deliver(cancel("it is late")), []);
    assert!(driven.shared().value().is_none());
    assert_eq!(driven.end(), r#"Cancelled("it is late")"#);
}

#[test]
fn a_replay_compares_the_end_of_a_cancelled_run() {
    let mut driven = Driven::start(|_| run(step("work", 1)));
    driven.deliver(cancel("it is late"));
    let mut turns = driven.turns().to_vec();
    turns[1].end = None;
    let error = driven.replayed_as(|_| run(step("work", 1)), Setting::default(), turns).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Nondeterminism);
    assert!(format!("{error:?}").contains("the run is cancelled: it is late"), "{error:?}");
}
