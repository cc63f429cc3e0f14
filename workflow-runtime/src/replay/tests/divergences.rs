//! Tests the text of each kind of difference between code and journal, and that code which follows the text fits the
//! journal.
//!
//! The texts are in `divergences.txt`. After a deliberate change, update them with `UPDATE_GOLDEN=1`, and read the
//! difference.

mod changed;
mod removed;

use std::fmt::Write;
use std::mem::discriminant;
use std::panic::Location;
use std::path::Path;

use futures_util::future::join;

use super::support::*;
use crate::codec;
use crate::definition::{Encoded, StepDefinition};
use crate::replay::{Event, StepRequest};

fn patched(name: &'static str) -> bool {
    shared().patched(name, Location::caller())
}

/// A change of the code, and the code that lets old runs continue.
struct Change {
    what: &'static str,
    before: Body,
    /// The events of the run before the change.
    events: Vec<Event>,
    after: Body,
    /// The code with each of the lines that the text suggests.
    repaired: Vec<Body>,
}

fn change(what: &'static str, before: Body, events: Vec<Event>, after: Body, repaired: Vec<Body>) -> Change {
    Change { what, before, events, after, repaired }
}

/// A call of a step that had former ids.
#[track_caller]
fn renamed(id: &'static str, was: &'static [&'static str], input: u32) -> impl Future<Output = Encoded> + Send + Unpin {
    let source = step_definition(id).source;
    let definition = any_step(source).was(was);
    call(StepRequest { definition: Box::leak(Box::new(definition)), ..step_request(id, input) })
}

/// A call of a step whose argument is a text.
#[track_caller]
fn takes_text(id: &'static str, text: &'static str) -> impl Future<Output = Encoded> + Send + Unpin {
    let source = step_definition(id).source;
    let definition = StepDefinition { recode_args: codec::recode::<String>, ..any_step(source) };
    call(StepRequest { definition: Box::leak(Box::new(definition)), ..step_request(id, text) })
}

const SHIPS: Body = |_| run(step("shop::ship", 5));
const BOTH: Body = |_| {
    run(async {
        step("shop::audit", 1).await?;
        step("shop::ship", 5).await
    })
};
const BOTH_REVERSED: Body = |_| {
    run(async {
        step("shop::ship", 5).await?;
        step("shop::audit", 1).await
    })
};

fn inserted() -> Vec<Change> {
    vec![
        change(
            "a step is inserted before another one",
            SHIPS,
            vec![],
            |_| {
                run(async {
                    step("shop::reserve", 5).await?;
                    step("shop::ship", 5).await
                })
            },
            vec![|_| {
                run(async {
                    if patched("with-reserve") {
                        step("shop::reserve", 5).await?;
                    }
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "a step takes the place of another one",
            SHIPS,
            vec![],
            |_| run(step("shop::send", 5)),
            vec![|_| {
                run(async {
                    if patched("send-for-ship") { step("shop::send", 5).await } else { step("shop::ship", 5).await }
                })
            }],
        ),
        change(
            "a sleep is inserted",
            SHIPS,
            vec![],
            |_| {
                run(async {
                    sleep_until(9_000).await;
                    step("shop::ship", 5).await
                })
            },
            vec![|_| {
                run(async {
                    if patched("with-sleep") {
                        sleep_until(9_000).await;
                    }
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "a hook is inserted",
            SHIPS,
            vec![],
            |_| {
                run(async {
                    open("approval").next().await;
                    step("shop::ship", 5).await
                })
            },
            vec![|_| {
                run(async {
                    if patched("with-hook") {
                        open("approval").next().await;
                    }
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "a child is inserted",
            SHIPS,
            vec![],
            |_| {
                run(async {
                    child(child_request("shop::invoice", 5)).await;
                    step("shop::ship", 5).await
                })
            },
            vec![|_| {
                run(async {
                    if patched("with-invoice") {
                        child(child_request("shop::invoice", 5)).await;
                    }
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "a branch is added to a join",
            SHIPS,
            vec![],
            |_| {
                run(async {
                    let (shipped, _) = join(step("shop::ship", 5), step("shop::audit", 1)).await;
                    shipped
                })
            },
            vec![|_| {
                run(async {
                    let audit = async {
                        if patched("with-audit") {
                            step("shop::audit", 1).await?;
                        }
                        Ok::<_, codec::Payload>(())
                    };
                    let (shipped, _) = join(step("shop::ship", 5), audit).await;
                    shipped
                })
            }],
        ),
        change(
            "a loop has another round",
            |_| run(rounds(2)),
            vec![completed(0, ()), completed(1, ())],
            |_| run(rounds(3)),
            vec![|_| run(async { if patched("more-round") { rounds(3).await } else { rounds(2).await } })],
        ),
    ]
}

async fn rounds(many: u32) -> Encoded {
    for round in 0..many {
        step("shop::round", round).await?;
    }
    step("shop::ship", 5).await
}

fn changes() -> Vec<Change> {
    inserted().into_iter().chain(removed::removed()).chain(changed::changed()).collect()
}

impl Change {
    /// The run before the change.
    fn run(&self) -> Driven {
        let mut driven = Driven::start(self.before);
        for event in &self.events {
            driven.deliver(event.clone());
        }
        driven
    }
}

/// The error without the locations in these files, which change.
fn text(error: &crate::error::Error) -> String {
    let text = format!("{error:?}");
    let lines = text.lines().map(|line| match line.split_once("/divergences") {
        Some((before, _)) => format!("{before}/divergences.rs:.."),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_change_is_explained() {
    let mut texts = String::new();
    for change in changes() {
        let error = change.run().replayed_by(change.after).map(drop).expect_err(change.what);
        writeln!(texts, "# {}\n\n{}\n", change.what, text(&error)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/replay/tests/divergences.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &texts).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    for (text, kept) in texts.split("# ").zip(kept.split("# ")) {
        assert_eq!(text, kept);
    }
    assert_eq!(texts, kept);
}

#[test]
fn code_that_follows_the_explanation_fits_old_and_new_runs() {
    for change in changes() {
        let run = change.run();
        let error = text(&run.replayed_by(change.after).map(drop).expect_err(change.what));
        for (number, repaired) in change.repaired.iter().enumerate() {
            if let Err(error) = run.replayed_by(*repaired).map(drop) {
                panic!("{}, line {number}: {error:?}", change.what);
            }
            // A new run behaves as the changed code.
            let mut new = Driven::start(*repaired);
            let mut changed = Driven::start(change.after);
            let input =
                |driven: &Driven| driven.commands().last().map(|last| (discriminant(last), last.input().cloned()));
            assert_eq!(input(&new), input(&changed), "{}: {error}", change.what);
            for driven in [&mut new, &mut changed] {
                driven.deliver(crate::replay::Event::Cancel { reason: "enough".to_owned() });
            }
        }
    }
}
