//! Runs that continue from the journal of an earlier generation or of another run.

use futures_util::future::{join, select};
use rand::Rng;

use super::support::*;
use crate::keys::KeyBase;
use crate::replay::{Command, Commands, Delivery, End, Event, Heir, HookRequest, Kind, Reopening, StepRequest};

/// The turns of a run, followed by the event that reopens it.
fn reopened(driven: &Driven, reopening: Reopening) -> Vec<Delivery> {
    let event = Event::Reopened { seed: "another seed".to_owned(), reopening };
    let (commands, unwinds, undoes, end) = (Commands::new(), None, Vec::new(), None);
    [driven.turns(), &[Delivery { at: driven.last().at, event, commands, unwinds, undoes, end }]].concat()
}

fn retry() -> Reopening {
    Reopening { base: KeyBase { generation: 0, unwindings: 1 }, ..Reopening::default() }
}

fn fork() -> Reopening {
    Reopening { source: Some("run-0".to_owned()), ..Reopening::default() }
}

fn next() -> Setting {
    Setting { generation: 1, ..Setting::default() }
}

const TWO: Body = |_| {
    run(async {
        undoable("charge", 1, "refund").await?;
        undoable("ship", 2, "return").await
    })
};

#[test]
fn operations_issued_after_a_reopening_use_the_new_key_base() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    let mut run = driven.replayed_as(TWO, next(), reopened(&driven, retry())).unwrap();
    assert_eq!(run.shared().key_base(1), KeyBase { generation: 1, unwindings: 0 }, "it was issued before");
    assert_eq!(run.deliver(failed(1, "no van")), [step_command(2, "refund", "receipt")]);
    assert_eq!(run.shared().key_base(2), KeyBase { generation: 0, unwindings: 1 });
}

#[test]
fn an_outstanding_operation_keeps_the_key_base_of_its_command() {
    let driven = Driven::start(TWO);
    let mut turns = reopened(&driven, retry());
    let base = KeyBase { generation: 0, unwindings: 4 };
    let Command::Step { key, .. } = &mut turns[0].commands[0] else { panic!("it is a step") };
    *key = Some(base);
    let run = driven.replayed_as(TWO, next(), turns).unwrap();
    assert_eq!(run.shared().key_base(0), base);
}

#[test]
fn a_step_is_executed_with_the_arguments_that_a_fork_has_set() {
    let driven = Driven::start(TWO);
    let mut turns = driven.turns().to_vec();
    let Command::Step { given, .. } = &mut turns[0].commands[0] else { panic!("it is a step") };
    *given = Some(json("other"));
    let run = driven.replayed_as(TWO, Setting::default(), turns).unwrap();
    let input = run.shared().with_open(0, |kind| match kind {
        Kind::Step(step) => step.input.clone(),
        _ => unreachable!("it is a step"),
    });
    assert_eq!(input, Some(json("other")));
}

#[test]
fn a_retry_undoes_earlier_steps_and_a_fork_does_not() {
    let mut driven = Driven::start(TWO);
    driven.deliver(completed(0, "receipt"));
    let undoes = |reopening: Reopening| {
        let mut run = driven.replayed_as(TWO, next(), reopened(&driven, reopening)).unwrap();
        run.deliver(failed(1, "no van"));
        (run.last().undoes.clone(), run.end())
    };
    assert_eq!(undoes(retry()), (vec![0], String::new()));
    assert_eq!(undoes(fork()), (vec![], r#"Failed("no van")"#.to_owned()));
    assert_eq!(undoes(Reopening { undo_inherited: true, ..fork() }), (vec![0], String::new()));
}

#[test]
fn a_fork_does_not_undo_a_result_that_is_delivered_again() {
    let mut driven = Driven::start(TWO);
    let again = Reopening { again: Some(0), ..fork() };
    let turns = reopened(&driven, again);
    let mut run = driven.replayed_as(TWO, next(), turns).unwrap();
    run.deliver(completed(0, "receipt"));
    run.deliver(failed(1, "no van"));
    assert_eq!(run.end(), r#"Failed("no van")"#);
    driven.deliver(completed(0, "receipt"));
}

#[test]
fn a_payload_from_behind_the_reopening_is_for_a_later_hook() {
    let body: Body = |_| {
        run(async {
            let early = open("a");
            step("work", 1).await?;
            drop(early);
            Ok(json([open("a").next().await]))
        })
    };
    let driven = Driven::start(body);
    let placeholder = u64::MAX - 1;
    let reopening = Reopening { forwards: vec![(placeholder, "a".into())], ..retry() };
    let mut run = driven.replayed_as(body, next(), reopened(&driven, reopening)).unwrap();
    assert!(matches!(run.shared().heir(placeholder), Some(Heir::Next)), "the open hook had another payload");
    run.deliver(completed(1, 1));
    assert!(matches!(run.shared().heir(placeholder), Some(Heir::Hook(_))));
    run.deliver(payload(placeholder, 7));
    assert_eq!(run.end(), r#"Completed(["7"])"#);
}

#[test]
fn random_numbers_differ_after_a_reopening() {
    let body: Body = |_| {
        run(async {
            let draw = || shared().with_rng(|rng| rng.next_u32());
            let first = draw();
            step("work", 1).await?;
            Ok(json([first, draw()]))
        })
    };
    let mut driven = Driven::start(body);
    let mut run = driven.replayed_as(body, next(), reopened(&driven, retry())).unwrap();
    driven.deliver(completed(0, 1));
    run.deliver(completed(0, 1));
    let numbers = |driven: &Driven| -> Vec<u32> {
        let end = driven.end();
        serde_json::from_str(end.trim_start_matches("Completed(").trim_end_matches(')')).unwrap()
    };
    let (before, after) = (numbers(&driven), numbers(&run));
    assert_eq!(before[0], after[0], "it was drawn before");
    assert_ne!(before[1], after[1]);
}

#[test]
fn a_child_keeps_the_id_from_an_earlier_generation() {
    let body: Body = |_| {
        run(async {
            let first = child(child_request("tests::child", 7)).await;
            Ok(json([first, child(child_request("tests::child", 8)).await]))
        })
    };
    let driven = Driven::start(body);
    let id = driven.shared().child_id(0);
    let mut run = driven.replayed_as(body, next(), reopened(&driven, retry())).unwrap();
    assert_eq!(run.shared().child_id(0), id);
    let other = run.shared().child_id(1);
    run.deliver(ended(0, End::Completed(json(1))));
    assert_ne!(other, driven.shared().child_id(1), "the next one is this generation's");
    assert_eq!(run.commands()[0].child(), Some(&*other));
}

#[test]
fn a_fork_does_not_wait_for_children_that_its_source_has_dropped() {
    let body: Body = |_| {
        run(async {
            drop(select(child(child_request("tests::child", 7)), sleep_until(2_000)).await);
            step("tell", 3).await
        })
    };
    let mut driven = Driven::start(body);
    driven.deliver(due(1));
    let after = |reopening| {
        let mut run = driven.replayed_as(body, next(), reopened(&driven, reopening)).unwrap();
        run.deliver(failed(2, "no")).len()
    };
    assert_eq!((after(retry()), after(fork())), (1, 0));
}

/// The event is delivered for the first time, as by the engine.
#[test]
fn a_reopened_run_repeats_the_requests_of_outstanding_operations() {
    let body: Body = |_| {
        run(async {
            let _hook = open("a");
            drop(spawn(child(child_request("tests::child", 7))));
            drop(spawn(watch("run-2")));
            step("work", 1).await
        })
    };
    let driven = Driven::start(body);
    let before = driven.effects();
    let mut run = driven.replayed_by(body).unwrap();
    let event = Event::Reopened { seed: "another seed".to_owned(), reopening: fork() };
    assert_eq!(run.deliver(event), []);
    let after = run.effects();
    assert_eq!(format!("{:?}", after.opened), format!("{:?}", before.opened));
    assert_eq!(after.children.len(), 1);
    assert_eq!(after.children[0].run, before.children[0].run);
    assert_eq!(after.watches, before.watches);
}

#[test]
fn an_answered_suspension_is_not_opened_again() {
    let body: Body = |_| {
        run(async {
            let mut hook = open_as(HookRequest { once: true, ..hook_request("suspended/run-1/ok") });
            step("work", 1).await?;
            Ok(json(hook.next().await))
        })
    };
    let mut driven = Driven::start(body);
    driven.deliver(payload(0, true));
    let mut run = driven.replayed_by(body).unwrap();
    let reopening = fork();
    run.deliver(Event::Reopened { seed: "another seed".to_owned(), reopening });
    assert!(run.effects().opened.is_empty());
}

/// It yields the conflict from then on, and would never receive the payloads of its token.
#[test]
fn a_refused_hook_is_not_opened_again() {
    let body: Body = |_| {
        run(async {
            let mut hook = open("a");
            step("work", 1).await?;
            Ok(json([hook.next().await, hook.next().await]))
        })
    };
    let opened = |events: Vec<Event>| {
        let mut driven = Driven::start(body);
        for event in events {
            driven.deliver(event);
        }
        let mut run = driven.replayed_by(body).unwrap();
        run.deliver(Event::Reopened { seed: "another seed".to_owned(), reopening: fork() });
        run.effects().opened.len()
    };
    assert_eq!(opened(vec![]), 1);
    assert_eq!(opened(vec![payload(0, 1)]), 1);
    assert_eq!(opened(vec![conflict(0, "run-2")]), 0);
    // The hook was open, and was refused when its run was reopened before.
    assert_eq!(opened(vec![payload(0, 1), conflict(0, "run-2")]), 0);
}

#[test]
fn steps_of_queues_and_suspended_steps_are_requested_again() {
    let body: Body = |_| {
        run(async {
            let queued = call(StepRequest { place: queue(), ..step_request("queued", 7) });
            let (queued, approved) = join(queued, step("approve", 8)).await;
            Ok(json([queued?, approved?]))
        })
    };
    let mut driven = Driven::start(body);
    driven.deliver(suspended(1, "boss", "please"));
    let before = driven.effects();
    let mut run = driven.replayed_by(body).unwrap();
    run.deliver(Event::Reopened { seed: "another seed".to_owned(), reopening: fork() });
    let after = run.effects();
    assert_eq!(format!("{:?}", after.opened), format!("{:?}", before.opened));
    assert_eq!((after.opened.len(), after.children.len()), (1, 1));
    assert_eq!(after.children[0].run, before.children[0].run);
    assert_eq!(after.children[0].request.input, before.children[0].request.input);
}

#[test]
fn suspensions_have_the_generation_of_the_reopening_in_their_ids() {
    let body: Body = |_| {
        run(async {
            let mut hook = open_as(HookRequest { once: true, ..hook_request("suspended/run-1/ok") });
            let (approved, own) = join(step("approve", 8), hook.next()).await;
            Ok(json((approved?, own)))
        })
    };
    let mut driven = Driven::start(body);
    driven.deliver(suspended(1, "boss", "please"));
    let ids = |suspended: &[(u64, u64)]| {
        let reopening = Reopening { suspended: suspended.into(), ..retry() };
        let run = driven.replayed_as(body, next(), reopened(&driven, reopening)).unwrap();
        [0, 1]
            .map(|op| run.shared().opening_once(op).and_then(|opening| opening.asked).map(|asked| asked.id.to_string()))
    };
    assert_eq!(ids(&[(0, 0), (1, 0)]), [Some("0.0.1".to_owned()), Some("0.1.1".to_owned())]);
    assert_eq!(ids(&[(1, 0)]), [Some("1.0.1".to_owned()), Some("0.1.1".to_owned())]);
}

#[test]
fn an_open_hook_that_waits_receives_the_payload_of_a_later_hook_first() {
    let body: Body = |_| {
        run(async {
            let mut early = open("a");
            step("work", 1).await?;
            Ok(json([early.next().await, early.next().await]))
        })
    };
    let driven = Driven::start(body);
    let placeholder = u64::MAX - 1;
    let reopening = Reopening { forwards: vec![(placeholder, "a".into())], ..retry() };
    let mut run = driven.replayed_as(body, next(), reopened(&driven, reopening)).unwrap();
    assert!(run.shared().has_to_wait(placeholder), "the open hook does not wait");
    run.shared().put_aside(placeholder);
    assert!(run.shared().has_to_wait(0), "the payload was sent after the other");
    run.shared().put_aside(0);
    run.deliver(completed(1, 1));
    assert!(run.shared().take_back() && !run.shared().has_to_wait(placeholder));
    run.deliver(payload(placeholder, 7));
    assert!(!run.shared().has_to_wait(0));
    run.deliver(payload(0, 8));
    assert_eq!(run.end(), r#"Completed(["7","8"])"#);
}

#[test]
fn a_payload_for_a_hook_dropped_before_the_reopening_may_follow_payloads_for_later_hooks() {
    let body: Body = |_| {
        run(async {
            let mut first = open("a");
            let one = first.next().await;
            drop(first);
            let two = open("b").next().await;
            step("work", 1).await?;
            Ok(json([one, two, open("a").next().await]))
        })
    };
    let mut driven = Driven::start(body);
    driven.deliver(payload(0, 6));
    let mut run = driven.replayed_as(body, next(), reopened(&driven, retry())).unwrap();
    run.deliver(payload(1, 7));
    assert!(run.shared().has_to_wait(0), "it waits for the next hook");
    run.shared().put_aside(0);
    run.deliver(completed(2, 1));
    assert!(run.shared().take_back());
    run.deliver(payload(0, 8));
    assert_eq!(run.end(), r#"Completed(["6","7","8"])"#);
}
