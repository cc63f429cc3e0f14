//! Sleeps and timeouts.

use futures_util::future::{join, select};

use super::support::*;
use crate::error::Code;
use crate::replay::{Action, Event, Kind};

const ONE: Body = |_| {
    run(async {
        let before = shared().now();
        sleep_until(5_000).await;
        Ok(json([before, shared().now()]))
    })
};

#[test]
fn a_timer_ends_when_it_is_due() {
    let mut driven = Driven::start(ONE);
    assert_eq!(driven.commands(), [timer_command(0, 5_000)]);
    assert_eq!(driven.actions(), [Action::Arm { op: 0, at: 5_000 }]);
    assert_eq!((driven.shared().wake_at(), driven.shared().sleeps()), (Some(5_000), vec![0]));
    assert_eq!(driven.deliver_at(5_003, due(0)), []);
    assert_eq!(driven.end(), "Completed([1000,5003])");
}

#[test]
fn the_time_is_at_least_the_deadline_of_a_timer_that_is_due() {
    let mut driven = Driven::start(ONE);
    driven.deliver_at(4_999, due(0));
    assert_eq!(driven.end(), "Completed([1000,5000])");
    assert_eq!(driven.last().at, 5_000, "as it is recorded");
}

#[test]
fn the_time_does_not_go_back() {
    let mut driven = Driven::start(ONE);
    driven.deliver_at(10, Event::Woken { op: 0 });
    assert_eq!(driven.end(), "Completed([1000,1000])");
}

#[test]
fn a_woken_sleep_ends_before_its_deadline() {
    let mut driven = Driven::start(ONE);
    driven.deliver_at(2_000, Event::Woken { op: 0 });
    assert_eq!(driven.end(), "Completed([1000,2000])");
}

#[test]
fn each_timer_ends_by_its_own_event() {
    let mut driven = Driven::start(|_| {
        run(async {
            let late = async {
                sleep_until(9_000).await;
                shared().now()
            };
            let early = async {
                sleep_until(5_000).await;
                shared().now()
            };
            let (late, early) = join(late, early).await;
            Ok(json([late, early]))
        })
    });
    assert_eq!(driven.commands(), [timer_command(0, 9_000), timer_command(1, 5_000)]);
    assert_eq!(driven.shared().wake_at(), Some(5_000));
    driven.deliver_at(5_000, due(1));
    assert_eq!(driven.shared().wake_at(), Some(9_000));
    assert_eq!(driven.refuse(due(1)).code(), Code::Nondeterminism);
}

#[test]
fn a_timeout_is_not_listed_as_a_sleep() {
    let driven = Driven::start(|_| {
        run(async {
            operation(Kind::Timer { until: 5_000, bounds: true, since: Some(1_000) }).await;
            Ok(json(1))
        })
    });
    assert_eq!((driven.shared().wake_at(), driven.shared().sleeps()), (Some(5_000), vec![]));
}

#[test]
fn a_dropped_timer_is_removed() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(select(sleep_until(5_000), step("charge", 7)).await);
            step("ship", 8).await
        })
    });
    driven.actions();
    assert_eq!(driven.deliver(completed(1, 1)), [dropped(0), step_command(2, "ship", 8)]);
    assert_eq!(driven.actions(), [Action::Abort(0), Action::Dispatch(2)]);
    assert_eq!((driven.shared().sleeps(), driven.shared().wake_at()), (vec![], Some(0)));
    assert_eq!(driven.refuse(due(0)).code(), Code::Nondeterminism);
}

#[test]
fn the_recorded_deadline_applies() {
    let driven = Driven::start(ONE);
    let changed: Body = |_| {
        run(async {
            sleep_until(80_000).await;
            Ok(json(shared().now()))
        })
    };
    let mut replayed = driven.replayed_by(changed).unwrap();
    assert_eq!(replayed.shared().wake_at(), Some(5_000));
    assert_eq!(replayed.shared().resume_actions(1_000), [Action::Arm { op: 0, at: 5_000 }]);
    replayed.deliver_at(2_000, due(0));
    assert_eq!(replayed.end(), "Completed(5000)");
}
