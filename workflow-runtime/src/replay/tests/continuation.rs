//! Continuing as a new generation, and ending early.

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::panic::Location;
use std::task::Poll;

use futures_util::future::select;

use super::support::*;
use crate::codec;
use crate::definition::{Encoded, WorkflowDefinition};
use crate::error::Code;
use crate::replay::{Carried, Chunk, Command, End, Event, Operation};

/// Continues as a run of a workflow. Returns the code of the error if that is refused.
fn continue_as(id: &'static str, args: u32) -> impl Future<Output = Encoded> + Send + Unpin {
    let definition: &'static WorkflowDefinition =
        Box::leak(Box::new(workflow(id, |_| unreachable!("the core begins no generation"))));
    let mut operation = Operation::new(Location::caller()).expect("a run is polled");
    let mut args = Some(json(args));
    poll_fn(move |_| match operation.continue_as_new(definition, &mut args, None) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(Err(json(error.code().as_str()))),
    })
}

/// Ends the run with a result.
fn finish(value: u32) -> impl Future<Output = Encoded> + Send + Unpin {
    shared().finish_with(json(value));
    pending()
}

#[test]
fn a_run_passes_its_state_and_payloads_to_its_next_generation() {
    let mut driven = Driven::start(|_| {
        run(async {
            let _hook = open("a");
            step("work", 1).await?;
            shared().set_value(json("state"), Location::caller());
            shared().set_attribute("colour", Some("red"), Location::caller());
            let chunk = Chunk { stream: "news".into(), value: Some(json("chunk")) };
            poll_fn(|_| shared().write(&chunk, Location::caller())).await.expect("it is written");
            continue_as(WORKFLOW, 2).await
        })
    });
    driven.deliver(payload(0, "first"));
    driven.deliver(payload(0, "second"));
    let commands = driven.deliver(completed(1, 1));
    assert_eq!(commands.len(), 3, "nothing is dropped: {commands:?}");
    assert_eq!(driven.end(), "Continued(2)");
    let effects = driven.effects();
    assert!(effects.closed.is_empty(), "the token stays open");
    let continued = effects.continued.expect("it continues as new");
    assert_eq!(continued.args, json(2));
    let expected = Carried {
        state: Some(json("state")),
        attributes: ["colour".into()].into(),
        streams: BTreeMap::from([("news".into(), (1, false))]),
        ..Carried::default()
    };
    assert_eq!(format!("{:?}", continued.carried), format!("{expected:?}"));
    assert_eq!(continued.payloads, [("a".into(), json("first")), ("a".into(), json("second"))]);
}

#[test]
fn payloads_of_a_hook_dropped_before_the_continuation_are_not_passed_on() {
    let mut driven = Driven::start(|_| {
        run(async {
            let hook = open("a");
            step("work", 1).await?;
            drop(hook);
            continue_as(WORKFLOW, 2).await
        })
    });
    driven.deliver(payload(0, "first"));
    driven.effects();
    assert_eq!(driven.deliver(completed(1, 1)), [dropped(0)]);
    let effects = driven.effects();
    assert_eq!(effects.closed.len(), 1);
    assert!(effects.continued.expect("it continues as new").payloads.is_empty());
}

#[test]
fn a_branch_can_continue_the_run_as_new() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(async {
                step("branch", 1).await?;
                continue_as(WORKFLOW, 2).await
            }));
            step("root", 1).await
        })
    });
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), "Continued(2)");
}

#[test]
fn a_run_cannot_continue_as_a_run_of_another_workflow() {
    let driven = Driven::start(|_| run(async { continue_as("tests::other", 2).await }));
    assert_eq!(driven.end(), r#"Failed("invalid_continuation")"#);
    assert!(driven.effects().continued.is_none());
}

#[test]
fn a_continuation_that_lost_a_race_is_withdrawn() {
    let driven = Driven::start(|_| {
        run(async {
            let mut operation = Operation::new(Location::caller()).expect("a run is polled");
            let body: Body = |_| unreachable!("the core begins no generation");
            let definition = Box::leak(Box::new(workflow(WORKFLOW, body)));
            operation.continue_as_new(definition, &mut Some(json(2)), None).expect("it may continue");
            operation.stay();
            step("work", 1).await
        })
    });
    assert_eq!((driven.end().as_str(), driven.commands()), ("", &[step_command(0, "work", 1)][..]));
}

#[test]
fn the_suggestion_to_continue_is_recorded_once() {
    let body: Body = |_| {
        run(async {
            let mut suggested = Vec::new();
            for number in 0..4 {
                suggested.push(shared().suggests_continuing(Location::caller()));
                step("work", number).await?;
            }
            Ok(json(suggested))
        })
    };
    let setting = Setting { long_after: 3, ..Setting::default() };
    let mut driven = Driven::start_as(body, setting);
    assert_eq!(driven.deliver(completed(0, 1)), [step_command(1, "work", 1)]);
    assert_eq!(driven.deliver(completed(1, 1)), [Command::Suggested, step_command(2, "work", 2)]);
    assert_eq!(driven.deliver(completed(2, 1)), [step_command(3, "work", 3)]);
    // The replay has another limit, and keeps the recorded answer.
    let other = Setting { long_after: 1, ..Setting::default() };
    let mut replayed = driven.replayed_as(body, other, driven.turns().to_vec()).unwrap();
    replayed.deliver(completed(3, 1));
    assert_eq!(replayed.end(), "Completed([false,false,true,true])");
}

#[test]
fn finish_in_a_branch_ends_the_run() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(async {
                step("branch", 1).await?;
                finish(3).await
            }));
            let _hook = open("a");
            step("root", 1).await
        })
    });
    assert_eq!(driven.deliver(completed(2, 1)), [], "nothing is dropped by a command");
    assert_eq!(driven.end(), "Completed(3)");
}

#[test]
fn finish_in_a_step_ends_the_run() {
    let mut driven = Driven::start(|_| run(step("work", 1)));
    assert_eq!(driven.deliver(Event::Finished { op: 0, value: json(3) }), []);
    assert_eq!(driven.end(), "Completed(3)");
}

#[test]
fn finish_with_a_value_of_another_type_is_an_error() {
    let definition = |body| WorkflowDefinition { recode_output: codec::recode::<u32>, ..workflow(WORKFLOW, body) };
    let mut driven = Driven::start_of(definition(|_| run(step("work", 1))), Setting::default()).unwrap();
    let error = driven.refuse(Event::Finished { op: 0, value: json("text") });
    assert_eq!(error.code(), Code::Payload);
    let by_workflow: Body = |_| {
        run(async {
            shared().finish_with(json("text"));
            step("work", 1).await
        })
    };
    let error = Driven::start_of(definition(by_workflow), Setting::default()).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Payload);
}

#[test]
fn a_replay_compares_the_end_of_a_generation() {
    let driven = Driven::start(|_| run(async { continue_as(WORKFLOW, 2).await }));
    let ends: [(Body, &str); 3] = [
        (|_| run(async { continue_as(WORKFLOW, 3).await }), "continues as new with 3"),
        (|_| run(async { Ok(json(2)) }), "returns Ok(2)"),
        (
            |_| {
                run(async {
                    drop(select(pending::<()>(), step("work", 1)).await);
                    Ok(json(1))
                })
            },
            "no further command",
        ),
    ];
    for (body, found) in ends {
        let error = driven.replayed_by(body).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::Nondeterminism);
        assert!(format!("{error:?}").contains(found), "{error:?}");
    }
    assert!(matches!(driven.last().end, Some(End::Continued(_))));
}

#[test]
fn a_conflict_is_not_passed_to_the_next_generation() {
    let mut driven = Driven::start(|_| {
        run(async {
            let _hook = open("a");
            step("work", 1).await?;
            continue_as(WORKFLOW, 2).await
        })
    });
    driven.deliver(payload(0, "first"));
    driven.deliver(conflict(0, "run-2"));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.effects().continued.expect("it continues as new").payloads, [("a".into(), json("first"))]);
}
