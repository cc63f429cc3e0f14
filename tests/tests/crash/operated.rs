//! Kills a program that creates, starts, resumes, retries and forks a run, cancels and deletes other runs, and makes
//! each call again when it runs again: each call takes effect once.

use std::collections::BTreeMap;

use serde_json::Value;
use workflow_tests::operated::{DELETED, FORGOTTEN, FORK, MAIL, ORDER, Receipt};
use workflow_tests::{Execution, operation};

use super::place::Kind;
use super::snapshot::Snapshot;
use super::sweep::{History, Program, at_fail_points, at_random_instants};
use super::{blocking, full};

const OPERATE: Program =
    Program { path: env!("CARGO_BIN_EXE_operate"), args: &[], results: 3, forgets: &[FORGOTTEN, DELETED], check };

fn check(history: &History) {
    assert_operated(&history.answers, &history.results);
    assert_kept(&history.executions(), &history.end().stored);
}

/// Asserts that each call that takes effect once was accepted once, and that its effect is that of the accepted call.
/// The answers are those of all processes, each with the number of its process (its life).
pub fn assert_operated(answers: &[(usize, String)], results: &BTreeMap<String, String>) {
    let receipt = |run: &str| serde_json::from_str::<Receipt>(&results[run]).expect("a receipt");
    let (order, fork) = (receipt(ORDER), receipt(FORK));
    assert_eq!((&*order.carrier, &*fork.carrier), ("late", "punctual"));
    assert_eq!(order.started, fork.started, "the fork has another result of a step before its start");
    assert_eq!(results[MAIL], "[1,2,3]", "the letters were not received once and in order");
    let resumed: &[&str] = &["already_resumed", "not_suspended"];
    let calls = [
        ("start order", Some(order.started), &["already_started"][..]),
        ("approve order", Some(order.approved), resumed),
        ("sign order", Some(order.signed), resumed),
        ("retry order", None, &["not_repairable"][..]),
        ("retry mail", None, &["not_repairable"]),
        ("approve fork", Some(fork.approved), resumed),
        ("sign fork", Some(fork.signed), resumed),
    ];
    for (call, by, refusals) in calls {
        let of_call = |(life, answer): &(usize, String)| {
            let answer = answer.strip_prefix(call)?.strip_prefix(' ')?;
            Some((*life, answer.to_owned()))
        };
        let answers: Vec<_> = answers.iter().filter_map(of_call).collect();
        let [(life, first), later @ ..] = &answers[..] else { panic!("there is no answer to {call}") };
        let refused = |answer: &str| refusals.contains(&answer);
        assert!(first == "ok" || refused(first) && *life > 0, "{call}: {answers:?}");
        assert!(later.iter().all(|(_, answer)| refused(answer)), "{call}: {answers:?}");
        let Some(by) = by else { continue };
        let by: usize = by.parse().unwrap_or_else(|_| panic!("the second call of {call} took effect: {by}"));
        let expected = if first == "ok" { *life..life + 1 } else { 0..*life };
        assert!(expected.contains(&by), "{call} took effect in life {by}: {answers:?}");
    }
}

/// Asserts that the retry and the fork did not execute succeeded steps again, and that the journals of both runs record
/// their source.
pub fn assert_kept(executions: &[Execution], end: &Snapshot) {
    for execution in executions {
        let is_kept = match &*execution.run {
            ORDER => ["pack", "approve"].contains(&&*execution.step) && execution.op >= operation(1, 0),
            FORK => execution.step == "pack",
            // Its rollback has undone the only step that had succeeded.
            MAIL => false,
            _ => true,
        };
        assert!(!is_kept, "a succeeded step was executed again: {execution:?}");
    }
    assert_eq!(end.keys().collect::<Vec<_>>(), [FORK, MAIL, ORDER]);
    let generations = |run: &str| end[run].journal.last().map(|row| row.generation);
    assert_eq!(
        (generations(ORDER), generations(MAIL), generations(FORK)),
        (Some(1), Some(1), Some(0)),
        "the order and the mail were retried once, the fork was not"
    );
    let source = |run: &str| {
        let rows: Vec<Value> =
            end[run].journal.iter().map(|row| serde_json::from_slice(&row.body).expect("JSON")).collect();
        let mut deliveries = rows.iter().flat_map(|turn| turn["deliveries"].as_array().into_iter().flatten());
        let reopened = deliveries.find_map(|delivery| delivery["event"].get("reopened"));
        let reopened = reopened.unwrap_or_else(|| panic!("run {run} was not reopened: {:?}, {rows:#?}", end[run]));
        reopened["source"].as_str().map(str::to_owned)
    };
    assert_eq!((source(ORDER), source(FORK)), (None, Some(ORDER.to_owned())));
}

case! {
    fn each_call_takes_effect_once_when_the_program_is_killed_at_any_operation_of_the_store() {
        at_fail_points(OPERATE, Kind::Sqlite, if full() { 1 } else { 13 });
    }
}

case! {
    fn each_call_takes_effect_once_when_the_program_is_killed_at_a_random_instant() {
        at_random_instants(OPERATE, Kind::Sqlite, if full() { 200 } else { 6 });
    }
}

case! {
    #[postgres]
    async fn each_call_takes_effect_once_when_the_program_is_killed_at_any_operation_on_postgres() {
        blocking(|| at_fail_points(OPERATE, Kind::Postgres, if full() { 1 } else { 17 }));
    }
}

case! {
    #[postgres]
    async fn each_call_takes_effect_once_when_the_program_is_killed_at_a_random_instant_on_postgres() {
        blocking(|| at_random_instants(OPERATE, Kind::Postgres, if full() { 200 } else { 3 }));
    }
}
