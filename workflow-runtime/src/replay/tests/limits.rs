//! Limits of outstanding operations, branches and polls.

use std::task::Poll;

use futures_util::future::join_all;

use super::support::*;
use crate::error::Code;
use crate::limits::{BRANCHES_MAX, OUTSTANDING_MAX};

#[test]
fn outstanding_operations_of_a_run_are_limited() {
    let mut driven = Driven::start(|_| {
        run(async {
            step("work", 1).await?;
            let mut timers: Vec<_> = (0..=OUTSTANDING_MAX as u64).map(sleep_until).collect();
            for timer in &mut timers {
                assert!(futures_util::poll!(timer).is_pending());
            }
            Ok(json(1))
        })
    });
    let error = driven.refuse(completed(0, 1));
    assert!(driven.shared().is_over_limit());
    assert_eq!(error.code(), Code::Limit);
    assert!(format!("{error:?}").contains(&format!("at most {OUTSTANDING_MAX}")), "{error:?}");
}

#[test]
fn branches_of_a_run_are_limited() {
    let mut driven = Driven::start(|_| {
        run(async {
            step("work", 1).await?;
            for _ in 0..=BRANCHES_MAX {
                drop(spawn(std::future::pending::<()>()));
            }
            step("work", 2).await
        })
    });
    let error = driven.refuse(completed(0, 1));
    assert!(driven.shared().is_over_limit());
    assert_eq!(error.code(), Code::Limit);
    assert!(format!("{error:?}").contains(&format!("at most {BRANCHES_MAX}")), "{error:?}");
}

#[test]
fn ended_branches_do_not_count_for_the_limit() {
    let driven = Driven::start(|_| {
        run(async {
            for _ in 0..2 {
                let branches: Vec<_> = (0..=BRANCHES_MAX / 2).map(|_| spawn(async {})).collect();
                join_all(branches).await;
            }
            Ok(json("over"))
        })
    });
    assert_eq!(driven.end(), r#"Completed("over")"#);
}

#[test]
fn polls_after_one_event_are_limited() {
    let error = Driven::try_start(
        |_| {
            run(std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::Pending
            }))
        },
        Setting::default(),
    );
    assert_eq!(error.map(drop).unwrap_err().code(), Code::Limit);
}
