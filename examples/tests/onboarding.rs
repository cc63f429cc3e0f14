//! `onboarding`, to its end and killed between two mails.

mod common;

use std::process::Command;

use common::{kill_at, lines};

fn of<'a>(user: &str, lines: &'a [String]) -> Vec<&'a str> {
    lines.iter().map(String::as_str).filter(|line| line.contains(user)).collect()
}

#[test]
fn a_confirmed_user_gets_a_tip_and_an_unconfirmed_one_is_deleted_after_two_reminders() {
    let directory = tempfile::tempdir().unwrap();
    let mut onboarding = Command::new(env!("CARGO_BIN_EXE_onboarding"));
    let printed = lines(onboarding.current_dir(&directory));

    let expected = [
        "mail to bob: welcome",
        "mail to bob: please confirm your address",
        "mail to bob: please confirm your address",
        "account of bob deleted",
        "bob: Deleted",
    ];
    assert_eq!(of("bob", &printed), expected);
    let ada = of("ada", &printed);
    assert_eq!(ada[..3], ["mail to ada: welcome", "mail to ada: please confirm your address", "ada confirms"]);
    assert_eq!(ada[ada.len() - 2], "mail to ada: a tip for your first week");
    assert!(ada[ada.len() - 1].starts_with("ada: Confirmed"), "{ada:?}");
}

#[test]
fn a_restarted_program_sends_the_mails_that_are_still_due() {
    let directory = tempfile::tempdir().unwrap();
    let mut onboarding = Command::new(env!("CARGO_BIN_EXE_onboarding"));
    onboarding.current_dir(&directory);

    let first = kill_at(&mut onboarding, "mail to bob: please confirm");
    let second = lines(&mut onboarding);
    // The welcome is recorded before the wait for the confirmation begins.
    assert!(!second.iter().any(|line| line.contains("welcome")), "{first:?} {second:?}");
    let reminders = [of("bob: please", &first), of("bob: please", &second)].concat().len();
    // The mail that was being sent at the kill may be sent again, with the same id.
    assert!((2..=3).contains(&reminders), "{first:?} {second:?}");
    assert_eq!(of("bob", &second)[of("bob", &second).len() - 2..], ["account of bob deleted", "bob: Deleted"]);
    assert!(second.iter().any(|line| line.starts_with("ada: Confirmed")), "{second:?}");
}
