//! Branches that are polled in addition to the root.

use std::sync::{Arc, Mutex};

use futures_util::future::{join, join_all};

use super::support::*;
use crate::error::Code;

/// The actions of several branches, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn a_branch_is_polled_after_the_poll_that_has_spawned_it() {
    let driven = Driven::start(|_| {
        run(async {
            let branch = spawn(step("branch", 1));
            step("root", 2).await?;
            branch.await
        })
    });
    assert_eq!(driven.commands(), [step_command(0, "root", 2), step_command(1, "branch", 1)]);
}

#[test]
fn branches_are_polled_in_the_order_in_which_they_are_spawned() {
    let driven = Driven::start(|_| {
        run(async {
            let inner = async {
                let inner = spawn(step("inner", 0));
                step("first", 1).await?;
                inner.await
            };
            let (first, second) = (spawn(inner), spawn(step("second", 2)));
            let (first, second) = join(first, second).await;
            Ok(json([first?, second?]))
        })
    });
    let expected = [step_command(0, "first", 1), step_command(1, "second", 2), step_command(2, "inner", 0)];
    assert_eq!(driven.commands(), expected);
}

#[test]
fn branches_can_be_joined_whichever_ends_first() {
    let body: Body = |_| {
        run(async {
            let branches: Vec<_> = (0..3).map(|number| spawn(step("branch", number))).collect();
            let outputs: Result<Vec<_>, _> = join_all(branches).await.into_iter().collect();
            Ok(json(outputs?))
        })
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut driven = Driven::start(body);
        for op in order {
            assert_eq!(driven.end(), "");
            driven.deliver(completed(op, op * 10));
        }
        assert_eq!(driven.end(), "Completed([0,10,20])");
    }
}

#[test]
fn branches_are_polled_in_the_order_of_their_wakes() {
    let mut driven = Driven::start(|_| {
        run(async {
            let log = Log::default();
            let wait = |name: &'static str| {
                let (log, (send, receive)) = (log.clone(), tokio::sync::oneshot::channel());
                let branch = spawn(async move {
                    receive.await.expect("the sender is there");
                    log.add(name);
                    step("branch", name).await
                });
                (send, branch)
            };
            let ((wake_first, first), (wake_second, second)) = (wait("first"), wait("second"));
            step("go", 1).await?;
            log.add("root");
            wake_second.send(()).expect("the branch waits");
            wake_first.send(()).expect("the branch waits");
            log.add("root continues");
            let (first, second) = join(first, second).await;
            first?;
            second?;
            Ok(json(log.all()))
        })
    });
    let commands = driven.deliver(completed(0, 1));
    assert_eq!(commands, [step_command(1, "branch", "second"), step_command(2, "branch", "first")]);
    driven.deliver(completed(2, 1));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), r#"Completed(["root","root continues","second","first"])"#);
}

#[test]
fn an_event_wakes_only_the_branch_that_waits_for_it() {
    let mut driven = Driven::start(|_| {
        run(async {
            let log = Log::default();
            let branch = |name: &'static str| {
                let log = log.clone();
                spawn(async move {
                    let mut step = step("branch", name);
                    std::future::poll_fn(|context| {
                        log.add(name);
                        std::pin::Pin::new(&mut step).poll(context)
                    })
                    .await
                })
            };
            let (first, second) = (branch("first"), branch("second"));
            second.await?;
            let so_far = log.all();
            first.await?;
            Ok(json(so_far))
        })
    });
    driven.deliver(completed(1, 1));
    driven.deliver(completed(0, 1));
    assert_eq!(driven.end(), r#"Completed(["first","second","second"])"#);
}

#[test]
fn the_end_of_the_root_ends_the_branches() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(step("branch", 1)));
            step("root", 2).await
        })
    });
    assert_eq!(driven.commands(), [step_command(0, "root", 2), step_command(1, "branch", 1)]);
    assert_eq!(driven.deliver(completed(0, "over")), [], "what the branch waits for is not dropped by a command");
    assert_eq!(driven.end(), r#"Completed("over")"#);
}

#[test]
fn a_branch_continues_without_being_awaited() {
    let mut driven = Driven::start(|_| {
        run(async {
            drop(spawn(async {
                step("branch", 1).await?;
                step("branch", 2).await
            }));
            step("root", 0).await
        })
    });
    assert_eq!(driven.deliver(completed(1, 1)), [step_command(2, "branch", 2)]);
    assert_eq!(driven.deliver(completed(2, 1)), []);
}

#[test]
fn a_panic_of_a_branch_is_an_error_of_the_run() {
    let error = Driven::try_start(
        |_| {
            run(async {
                drop(spawn(async { panic!("in a branch") }));
                step("root", 0).await
            })
        },
        Setting::default(),
    );
    assert_eq!(error.map(drop).unwrap_err().code(), Code::Panic);
}

#[test]
fn a_branch_that_is_woken_twice_is_polled_once() {
    let mut driven = Driven::start(|_| {
        run(async {
            let log = Log::default();
            let (send_a, receive_a) = tokio::sync::oneshot::channel::<()>();
            let (send_b, receive_b) = tokio::sync::oneshot::channel::<()>();
            let (send_c, receive_c) = tokio::sync::oneshot::channel::<()>();
            let branch = spawn({
                let log = log.clone();
                let mut all = Box::pin(async { futures_util::join!(receive_a, receive_b, receive_c) });
                std::future::poll_fn(move |context| {
                    log.add("polled");
                    all.as_mut().poll(context)
                })
            });
            step("go", 1).await?;
            send_a.send(()).expect("the branch waits");
            send_b.send(()).expect("the branch waits");
            step("go", 2).await?;
            let so_far = log.all();
            send_c.send(()).expect("the branch waits");
            let (a, b, c) = branch.await;
            assert!(a.is_ok() && b.is_ok() && c.is_ok());
            Ok(json(so_far))
        })
    });
    driven.deliver(completed(0, 1));
    driven.deliver(completed(1, 1));
    assert_eq!(driven.end(), r#"Completed(["polled","polled"])"#);
}

#[test]
fn an_operation_wakes_the_branch_that_has_polled_it_last() {
    let mut driven = Driven::start(|_| {
        run(async {
            let mut work = step("work", 1);
            assert!(futures_util::poll!(&mut work).is_pending());
            spawn(work).await
        })
    });
    driven.deliver(completed(0, "over"));
    assert_eq!(driven.end(), r#"Completed("over")"#);
}

thread_local! {
    static POLLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[test]
fn no_branch_is_polled_after_the_run_has_diverged() {
    let driven = Driven::start(|_| {
        run(async {
            let branch = spawn(step("branch", 1));
            step("root", 2).await?;
            branch.await
        })
    });
    let replayed = driven.replayed_by(|_| {
        run(async {
            drop(spawn(async { POLLED.set(true) }));
            step("other", 2).await
        })
    });
    assert_eq!(replayed.map(drop).unwrap_err().code(), Code::Nondeterminism);
    assert!(!POLLED.get());
}
