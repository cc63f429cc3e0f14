//! `patched` and `deprecated_patch`: their answers, their markers and their errors.

use std::panic::Location;

use futures_util::future::join;

use super::support::*;
use crate::error::Code;
use crate::replay::{Command, HookRequest};

fn patched(name: &'static str) -> bool {
    shared().patched(name, Location::caller())
}

fn deprecated_patch(name: &'static str) {
    shared().deprecated_patch(name, Location::caller());
}

fn marker(name: &'static str) -> Command {
    Command::Patch { name: name.into(), deprecated: false }
}

fn deprecated(name: &'static str) -> Command {
    Command::Patch { name: name.into(), deprecated: true }
}

/// The workflow before the change, and its four versions after it.
const BEFORE: Body = |_| {
    run(async {
        step("first", 1).await?;
        step("last", 2).await
    })
};
const PATCHED: Body = |_| {
    run(async {
        step("first", 1).await?;
        if patched("audit") {
            step("audit", 3).await?;
        }
        step("last", 2).await
    })
};
const DEPRECATED: Body = |_| {
    run(async {
        step("first", 1).await?;
        deprecated_patch("audit");
        step("audit", 3).await?;
        step("last", 2).await
    })
};
const AFTER: Body = |_| {
    run(async {
        step("first", 1).await?;
        step("audit", 3).await?;
        step("last", 2).await
    })
};

fn past(body: Body) -> Driven {
    let mut driven = Driven::start(body);
    driven.deliver(completed(0, ()));
    driven
}

#[test]
fn a_run_before_the_call_takes_the_new_branch_and_records_it() {
    let mut driven = Driven::start(BEFORE).replayed_by(PATCHED).unwrap();
    assert_eq!(driven.deliver(completed(0, ())), [marker("audit"), step_command(1, "audit", 3)]);
    assert_eq!(driven.deliver(completed(1, ())), [step_command(2, "last", 2)]);
}

#[test]
fn a_run_behind_the_call_keeps_the_old_branch_and_its_operation_numbers() {
    let mut driven = past(BEFORE).replayed_by(PATCHED).unwrap();
    assert_eq!(driven.deliver(completed(1, "end")), []);
    assert_eq!(driven.end(), "Completed(\"end\")");
}

#[test]
fn the_first_answer_applies_to_all_calls_of_the_generation() {
    let before: Body = |_| {
        run(async {
            for round in 0..3 {
                step("round", round).await?;
            }
            step("last", 2).await
        })
    };
    let after: Body = |_| {
        run(async {
            for round in 0..3 {
                step(if patched("other") { "other" } else { "round" }, round).await?;
            }
            step("last", u8::from(patched("other"))).await
        })
    };
    let mut old = Driven::start(before).replayed_by(after).unwrap();
    assert_eq!(old.deliver(completed(0, ())), [step_command(1, "round", 1)]);
    old.deliver(completed(1, ()));
    assert_eq!(old.deliver(completed(2, ())), [step_command(3, "last", 0)]);
    let mut new = Driven::start(after);
    assert_eq!(new.commands(), [marker("other"), step_command(0, "other", 0)]);
    assert_eq!(new.deliver(completed(0, ())), [step_command(1, "other", 1)]);
    new.deliver(completed(1, ()));
    assert_eq!(new.deliver(completed(2, ())), [step_command(3, "last", 1)]);
}

#[test]
fn a_retry_and_a_fork_keep_the_answer() {
    let mut driven = past(BEFORE).replayed_by(PATCHED).unwrap();
    driven.deliver(reopened());
    driven.deliver(completed(1, "end"));
    assert_eq!(driven.end(), "Completed(\"end\")");
    let mut driven = past(PATCHED);
    driven.deliver(reopened());
    assert_eq!(driven.deliver(completed(1, ())), [step_command(2, "last", 2)]);
}

fn reopened() -> crate::replay::Event {
    crate::replay::Event::Reopened { seed: SEED.to_owned(), reopening: crate::replay::Reopening::default() }
}

#[test]
fn a_deprecated_patch_accepts_a_marker_or_records_one_that_later_code_may_ignore() {
    past(PATCHED).replayed_by(DEPRECATED).unwrap();
    let driven = past(DEPRECATED);
    assert_eq!(driven.commands(), [deprecated("audit"), step_command(1, "audit", 3)]);
    driven.replayed_by(PATCHED).unwrap();
    driven.replayed_by(AFTER).unwrap();
    past(AFTER).replayed_by(AFTER).unwrap();
}

#[test]
fn a_deprecated_patch_refuses_a_run_that_predates_the_patch() {
    let driven = past(BEFORE);
    let error = driven.replayed_by(DEPRECATED).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Nondeterminism);
    assert!(error.message().contains("predates patch `audit`"), "{error:?}");
    assert!(format!("{error:?}").contains("if patched(\"audit\")"), "{error:?}");
    let both: Body = |_| {
        run(async {
            step("first", 1).await?;
            if patched("audit") {
                step("audit", 3).await?;
            }
            deprecated_patch("audit");
            step("last", 2).await
        })
    };
    assert!(driven.replayed_by(both).is_err());
    drop(past(both));
}

#[test]
fn code_without_the_call_refuses_a_run_with_a_marker_and_names_it() {
    let driven = past(PATCHED);
    for body in [AFTER, BEFORE] {
        let error = driven.replayed_by(body).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::Nondeterminism);
        assert!(error.to_string().contains("`patched(\"audit\")` was removed"), "{error:?}");
    }
    let ends: Body = |_| run(async { step("first", 1).await });
    let error = driven.replayed_by(ends).map(drop).unwrap_err();
    assert!(error.to_string().contains("`patched(\"audit\")` was removed"), "{error:?}");
}

#[test]
fn a_marker_of_another_patch_does_not_match() {
    let other: Body = |_| {
        run(async {
            step("first", 1).await?;
            if patched("other") {
                step("other", 3).await?;
            }
            if patched("audit") {
                step("audit", 3).await?;
            }
            step("last", 2).await
        })
    };
    let driven = past(PATCHED).replayed_by(other).unwrap();
    driven.replayed_by(other).unwrap();
    // The same for a deprecated patch: its marker is skipped when the next one is taken.
    let two: Body = |_| {
        run(async {
            step("first", 1).await?;
            deprecated_patch("gone");
            assert!(patched("audit"));
            step("last", 2).await
        })
    };
    let swapped: Body = |_| {
        run(async {
            step("first", 1).await?;
            assert!(!patched("new"));
            assert!(patched("audit"));
            assert!(patched("gone"));
            deprecated_patch("gone");
            step("last", 2).await
        })
    };
    past(two).replayed_by(swapped).unwrap();
}

#[test]
fn branches_record_markers_in_the_order_of_their_polls() {
    let body: Body = |_| {
        run(async {
            let one = async { if patched("one") { step("one", 1).await } else { step("old", 1).await } };
            let two = async { if patched("two") { step("two", 2).await } else { step("old", 2).await } };
            let (one, _) = join(one, two).await;
            one
        })
    };
    let driven = Driven::start(body);
    let (one, two) = (step_command(0, "one", 1), step_command(1, "two", 2));
    assert_eq!(driven.commands(), [marker("one"), one, marker("two"), two]);
    // The changed code adds a branch that calls `patched` to the recorded one.
    let before: Body = |_| {
        run(async {
            let (one, _) = join(step("old", 1), step("old", 2)).await;
            one
        })
    };
    Driven::start(before).replayed_by(body).unwrap();
    let last: Body = |_| {
        run(async {
            let two = async { if patched("two") { step("two", 2).await } else { step("old", 2).await } };
            let (one, _) = join(step("old", 1), two).await;
            one
        })
    };
    let driven = Driven::start(last);
    assert_eq!(driven.commands(), [step_command(0, "old", 1), marker("two"), step_command(1, "two", 2)]);
}

#[test]
fn recorded_deadlines_and_tokens_are_found_behind_a_deprecated_marker() {
    let recorded: Body = |_| {
        run(async {
            deprecated_patch("a");
            sleep_until(5_000).await;
            deprecated_patch("b");
            let mut hook = open_as(HookRequest { drawn: true, ..hook_request("token-1") });
            Ok(json(hook.next().await))
        })
    };
    let mut driven = Driven::start(recorded);
    driven.deliver(due(0));
    let without: Body = |_| {
        run(async {
            // The recorded deadline and the recorded token apply.
            sleep_until(9_000).await;
            let token = shared().drawn_token();
            let mut hook =
                open_as(HookRequest { token: token.clone(), address: token, drawn: true, ..hook_request("") });
            Ok(json(hook.next().await))
        })
    };
    let again = driven.replayed_by(without).unwrap();
    assert_eq!(again.shared().now(), 5_000);
    std::mem::drop(driven);
}

#[test]
fn a_marker_without_other_commands_is_only_recorded() {
    let body: Body = |_| {
        run(async {
            step("first", 1).await?;
            patched("last");
            Ok(json("end"))
        })
    };
    let mut driven = Driven::start(body);
    assert_eq!(driven.deliver(completed(0, ())), [marker("last")]);
    assert_eq!(driven.end(), "Completed(\"end\")");
    let other_end: Body = |_| run(step("first", 1));
    assert!(driven.replayed_by(other_end).is_err());
}

#[test]
fn an_invalid_patch_name_stops_the_run() {
    let empty: Body = |_| {
        run(async {
            assert!(!patched(""));
            step("first", 1).await
        })
    };
    let control: Body = |_| {
        run(async {
            deprecated_patch("a\nb");
            step("first", 1).await
        })
    };
    for body in [empty, control] {
        let error = Driven::try_start(body, Setting::default()).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::InvalidName);
        assert!(format!("{error:?}").contains("patches.rs:"), "{error:?}");
    }
}
