//! `subscription`, killed in its third month.

mod common;

use std::process::Command;

use common::{kill_at, lines};

#[test]
fn a_killed_subscription_bills_each_month_once_and_ends_when_it_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let mut subscription = Command::new(env!("CARGO_BIN_EXE_subscription"));
    subscription.current_dir(&directory);

    let first = kill_at(&mut subscription, "month 3:");
    let second = lines(&mut subscription);
    let bills = |of: &str| second.iter().filter(|line| line.starts_with(of)).count();
    // Earlier bills are recorded. The bill of month 3 may have been sent and not recorded.
    assert_eq!(bills("month 1:") + bills("month 2:"), 0, "{first:?} {second:?}");
    assert!(bills("month 3:") <= 1, "{first:?} {second:?}");
    assert_eq!(bills("month 4: 1900 cents declined"), 1, "{second:?}");
    for month in 6..=10 {
        assert_eq!(bills(&format!("month {month}: 1900 cents paid")), 1, "{second:?}");
    }
    let end = &second[second.len() - 2];
    assert!(end.contains("cents: 1900, card: \"valid\"") && end.contains("stage: Cancelled"), "{end}");
    let listed = &second[second.len() - 1];
    assert!(
        listed.starts_with("1 cancelled; ") && !listed.ends_with("generation 0"),
        "it never continued as new: {listed}"
    );
    // The run has ended, so a restart does nothing.
    assert_eq!(lines(&mut subscription).len(), 2);
}
