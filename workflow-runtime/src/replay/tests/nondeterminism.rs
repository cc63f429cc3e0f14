//! Replays by code that differs from the recorded code.

use std::panic::Location;

use futures_util::future::join;
use serde::{Deserialize, Serialize};

use super::support::*;
use crate::codec;
use crate::definition::{StepDefinition, WorkflowDefinition};
use crate::error::Code;
use crate::replay::{ChildRequest, Chunk, HookRequest, Named, StepRequest};

/// The recorded code: two concurrent operations, then a step.
const RECORDED: Body = |_| {
    run(async {
        let (first, ()) = join(step("first", 1), sleep_until(5_000)).await;
        step("second", first?).await
    })
};

fn recorded() -> Driven {
    let mut driven = Driven::start(RECORDED);
    driven.deliver(completed(0, 10));
    driven.deliver(due(1));
    driven
}

/// Asserts the lines `expected` and `found` of the error of a replay.
#[track_caller]
fn diverges(driven: &Driven, body: Body, expected: &str, found: &str) {
    let error = driven.replayed_by(body).map(drop).expect_err("the code does something else");
    assert_eq!(error.code(), Code::Nondeterminism, "{error:?}");
    let text = format!("{error:?}");
    let line =
        |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("expected:").contains(expected), "{text}");
    assert!(line("found:").contains(found), "{text}");
}

#[test]
fn the_same_code_does_the_same() {
    recorded().replayed_by(RECORDED).unwrap();
}

#[test]
fn another_kind_of_operation() {
    let body: Body = |_| {
        run(async {
            sleep_until(1_000).await;
            Ok(json(1))
        })
    };
    diverges(&recorded(), body, "operation 0: step `first` with 1", "operation 0: a timer");
}

#[test]
fn another_step() {
    let body: Body = |_| run(async { step("other", 1).await });
    diverges(&recorded(), body, "operation 0: step `first`", "operation 0: step `other`");
}

#[test]
fn another_input() {
    let body: Body = |_| run(async { step("first", 2).await });
    diverges(&recorded(), body, "step `first` with 1", "step `first` with 2");
}

#[test]
fn another_order() {
    let body: Body = |_| {
        run(async {
            let ((), first) = join(sleep_until(5_000), step("first", 1)).await;
            step("second", first?).await
        })
    };
    diverges(&recorded(), body, "operation 0: step `first`", "operation 0: a timer");
}

#[test]
fn an_operation_less() {
    diverges(&recorded(), |_| run(step("first", 1)), "operation 1: a timer", "the workflow waits without it");
    let body: Body = |_| run(async { Ok(json(1)) });
    diverges(&recorded(), body, "operation 0: step `first`", "the workflow ended");
}

#[test]
fn an_operation_more() {
    let body: Body = |_| {
        run(async {
            let (first, (), third) = futures_util::join!(step("first", 1), sleep_until(5_000), step("third", 3));
            first?;
            third?;
            Ok(json(1))
        })
    };
    diverges(&recorded(), body, "no further command behind this event", "operation 2: step `third`");
}

#[test]
fn an_operation_behind_another_event() {
    let body: Body = |_| {
        run(async {
            let first = step("first", 1).await?;
            sleep_until(5_000).await;
            step("second", first).await
        })
    };
    diverges(&recorded(), body, "operation 1: a timer", "the workflow waits without it");
    let mut sequence = Driven::start(body);
    sequence.deliver(completed(0, 10));
    diverges(&sequence, RECORDED, "no further command behind this event", "operation 1: a timer");
}

#[test]
fn a_later_turn_is_compared_too() {
    let body: Body = |_| {
        run(async {
            let (first, ()) = join(step("first", 1), sleep_until(5_000)).await;
            step("third", first?).await
        })
    };
    diverges(&recorded(), body, "operation 2: step `second` with 10", "operation 2: step `third` with 10");
}

#[test]
fn another_end() {
    let mut driven = recorded();
    driven.deliver(completed(2, "over"));
    let ends: [(Body, &str); 2] = [
        (
            |_| {
                run(async {
                    let (first, ()) = join(step("first", 1), sleep_until(5_000)).await;
                    step("second", first?).await?;
                    Ok(json("other"))
                })
            },
            r#"Ok("other")"#,
        ),
        (
            |_| {
                run(async {
                    let (first, ()) = join(step("first", 1), sleep_until(5_000)).await;
                    Err(step("second", first?).await?)
                })
            },
            r#"Err("over")"#,
        ),
    ];
    for (body, found) in ends {
        diverges(&driven, body, r#"Ok("over")"#, found);
    }
    let goes_on: Body = |_| {
        run(async {
            let (first, ()) = join(step("first", 1), sleep_until(5_000)).await;
            step("second", first?).await?;
            step("third", 3).await
        })
    };
    diverges(&driven, goes_on, "no further command behind this event", "operation 3: step `third`");
}

#[test]
fn an_end_that_was_not_recorded() {
    let body: Body = |_| {
        run(async {
            let (first, ()) = join(step("first", 1), sleep_until(5_000)).await;
            let mut second = step("second", first?);
            assert!(futures_util::poll!(&mut second).is_pending());
            std::mem::forget(second);
            Ok(json(1))
        })
    };
    diverges(&recorded(), body, "the workflow waits", "the workflow returns Ok(1)");
}

#[test]
fn what_is_not_an_operation_is_compared_too() {
    async fn write(stream: &str, value: Option<&str>) {
        let chunk = Chunk { stream: stream.into(), value: value.map(json) };
        std::future::poll_fn(|_| shared().write(&chunk, Location::caller())).await.expect("it is written");
    }
    let recorded: Body = |_| {
        run(async {
            shared().set_value(json("state"), Location::caller());
            shared().set_attribute("colour", Some("red"), Location::caller());
            write("news", Some("a")).await;
            write("news", None).await;
            step("end", 1).await
        })
    };
    let others: [(Body, &str, &str); 4] = [
        (
            |_| {
                run(async {
                    shared().set_value(json("other"), Location::caller());
                    step("end", 1).await
                })
            },
            "setting the run's state to \"state\"",
            "setting the run's state to \"other\"",
        ),
        (
            |_| {
                run(async {
                    shared().set_value(json("state"), Location::caller());
                    shared().set_attribute("colour", None, Location::caller());
                    step("end", 1).await
                })
            },
            "setting the attribute `colour` to `red`",
            "removing the attribute `colour`",
        ),
        (
            |_| {
                run(async {
                    shared().set_value(json("state"), Location::caller());
                    shared().set_attribute("colour", Some("red"), Location::caller());
                    write("log", Some("a")).await;
                    step("end", 1).await
                })
            },
            "to the stream `news`",
            "to the stream `log`",
        ),
        (
            |_| {
                run(async {
                    shared().set_value(json("state"), Location::caller());
                    shared().set_attribute("colour", Some("red"), Location::caller());
                    write("news", Some("a")).await;
                    write("news", Some("b")).await;
                    step("end", 1).await
                })
            },
            "closing the stream `news`",
            "writing \"b\"",
        ),
    ];
    let driven = Driven::start(recorded);
    for (body, expected, found) in others {
        diverges(&driven, body, expected, found);
    }
}

#[test]
fn another_token_another_child_another_run() {
    let hook: Body = |_| run(async { Ok(json(open("a").next().await)) });
    let other_hook: Body = |_| run(async { Ok(json(open("b").next().await)) });
    diverges(&Driven::start(hook), other_hook, "a hook with the token `a`", "a hook with the token `b`");
    let drawn: Body =
        |_| run(async { Ok(json(open_as(HookRequest { drawn: true, ..hook_request("a") }).next().await)) });
    diverges(&Driven::start(hook), drawn, "a hook with the token `a`", "operation 0: a hook");
    let one: Body = |_| run(async { Ok(json(child(child_request("tests::one", 1)).await)) });
    let other: Body = |_| run(async { Ok(json(child(child_request("tests::other", 1)).await)) });
    diverges(&Driven::start(one), other, "a child run of workflow `tests::one`", "workflow `tests::other`");
    let input: Body = |_| run(async { Ok(json(child(child_request("tests::one", 2)).await)) });
    diverges(&Driven::start(one), input, "with 1", "with 2");
    let named: Body = |_| {
        run(async {
            let named = Some(Named { id: "child-1".into(), token: 0 });
            Ok(json(child(ChildRequest { named, ..child_request("tests::one", 1) }).await))
        })
    };
    let named_otherwise: Body = |_| {
        run(async {
            let named = Some(Named { id: "child-2".into(), token: 0 });
            Ok(json(child(ChildRequest { named, ..child_request("tests::one", 1) }).await))
        })
    };
    diverges(&Driven::start(named), named_otherwise, "with the id `child-1`", "with the id `child-2`");
    diverges(&Driven::start(named), one, "with the id `child-1`", "a child run of workflow `tests::one` with 1");
    let abandoned: Body =
        |_| run(async { Ok(json(child(ChildRequest { abandoned: true, ..child_request("tests::one", 1) }).await)) });
    diverges(&Driven::start(one), abandoned, "a child run of workflow", "a child run of workflow");
    let run_2: Body = |_| run(async { Ok(json(watch("run-2").await)) });
    let run_3: Body = |_| run(async { Ok(json(watch("run-3").await)) });
    diverges(&Driven::start(run_2), run_3, "waiting for run `run-2`", "waiting for run `run-3`");
}

#[test]
fn a_drop_that_was_not_recorded_and_one_that_does_not_come() {
    let drops: Body = |_| {
        run(async {
            drop(futures_util::future::select(step("work", 1), sleep_until(2_000)).await);
            step("end", 1).await
        })
    };
    let keeps: Body = |_| {
        run(async {
            let _both = futures_util::future::select(step("work", 1), sleep_until(2_000)).await;
            step("end", 1).await
        })
    };
    let after = |body| {
        let mut driven = Driven::start(body);
        driven.deliver(due(1));
        driven
    };
    diverges(&after(drops), keeps, "dropping operation 0", "operation 2: step `end`");
    diverges(&after(keeps), drops, "operation 2: step `end`", "dropping operation 0");
}

#[test]
fn a_diverged_run_does_nothing_more() {
    let driven = recorded();
    let body: Body = |_| {
        run(async {
            let other = step("other", 1);
            drop(spawn(step("branch", 1)));
            other.await?;
            panic!("it has no result")
        })
    };
    diverges(&driven, body, "step `first`", "step `other`");
}

#[test]
fn a_first_event_whose_arguments_do_not_decode_is_an_error() {
    let body: Body = |args| {
        let number: u32 = codec::decode("the arguments", args)?;
        run(async move { Ok(json(number)) })
    };
    let setting = Setting { args: json("text"), ..Setting::default() };
    assert_eq!(Driven::try_start(body, setting).map(drop).unwrap_err().code(), Code::Payload);
}

/// A type with an additional field.
#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
    #[serde(default)]
    express: bool,
}

#[test]
fn an_input_may_have_a_new_field_with_a_default() {
    let old: Body = |_| run(step("order", std::collections::BTreeMap::from([("number", 5)])));
    let new: Body = |_| {
        run(async {
            let definition: &'static StepDefinition = Box::leak(Box::new(StepDefinition {
                recode_args: codec::recode::<Order>,
                ..any_step(step_definition("order").source)
            }));
            let input = Order { number: 5, express: false };
            call(StepRequest { definition, ..step_request("order", input) }).await
        })
    };
    Driven::start(old).replayed_by(new).unwrap();
}

#[test]
fn a_result_may_have_a_new_field_with_a_default() {
    let definition = |body| WorkflowDefinition { recode_output: codec::recode::<Order>, ..workflow(WORKFLOW, body) };
    let old: Body = |_| run(async { Ok(json(std::collections::BTreeMap::from([("number", 5)]))) });
    let driven = Driven::start(old);
    let new: Body = |_| run(async { Ok(json(Order { number: 5, express: false })) });
    assert_eq!(driven.replayed_by(new).map(drop).unwrap_err().code(), Code::Nondeterminism, "of another type");
    driven.replayed_of(definition(new), Setting::default(), driven.turns().to_vec()).unwrap();
}
