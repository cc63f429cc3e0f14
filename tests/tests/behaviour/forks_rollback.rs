//! Forks of runs whose steps can be undone, and of runs with children.

use workflow_runtime::{Code, Error, Result, Run, RunEventKind, hook, step, workflow};

use super::forks::{calls, engine, event, events, mend, plus, ships};
use crate::support::{Lab, recorded, soon};

#[step]
async fn charges(#[resource] lab: &Lab, what: String) -> Result<usize> {
    lab.note(&format!("charge {what}"));
    Ok(lab.note("charges"))
}

#[step(queue = "forks")]
async fn charges_elsewhere(#[resource] lab: &Lab, what: String) -> Result<usize> {
    lab.note(&format!("charge {what}"));
    Ok(lab.note("charges"))
}

#[step]
async fn refunds(#[resource] lab: &Lab, charge: usize) -> Result<()> {
    lab.note(&format!("refund {charge}"));
    Ok(())
}

/// The ids of runs that must fail.
static FAILING: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

#[workflow]
async fn charge_only(what: String) -> Result<usize> {
    let charge = charges(what).rollback(refunds).await?;
    match FAILING.lock().unwrap().contains(&workflow_runtime::run_id().unwrap_or_default()) {
        true => Err(Error::fatal("a bug")),
        false => Ok(charge),
    }
}

/// Charges, then ships.
#[workflow]
async fn order(what: String) -> Result<String> {
    let before = plus(1).await?;
    let charge = charges(what.clone()).rollback(refunds).await?;
    let between = plus(2).await?;
    let shipped = ships(what).await?;
    Ok(format!("{before} {charge} {between} {shipped}"))
}

/// As `order`, with a charge that workers of a queue execute.
#[workflow]
async fn order_elsewhere(what: String) -> Result<String> {
    let before = plus(1).await?;
    let charge = charges_elsewhere(what.clone()).rollback(refunds).await?;
    let between = plus(2).await?;
    let shipped = ships(what).await?;
    Ok(format!("{before} {charge} {between} {shipped}"))
}

#[workflow]
async fn order_and_continue(what: String, again: bool) -> Result<String> {
    if again {
        charges(what.clone()).rollback(refunds).await?;
        hook::<()>().token(what.clone()).await?;
        return order_and_continue(what, false).continue_as_new().await;
    }
    ships(what).await
}

#[workflow]
async fn order_two(what: String) -> Result<String> {
    let first = charges(what.clone()).rollback(refunds).await?;
    let second = charges(what.clone()).rollback(refunds).await?;
    let shipped = ships(what).await?;
    Ok(format!("{first} {second} {shipped}"))
}

#[workflow]
async fn order_and_wait(what: String) -> Result<String> {
    charges("any".into()).rollback(refunds).await?;
    charges("any".into()).rollback(refunds).await?;
    hook::<()>().token(what.clone()).await?;
    ships(what).await
}

#[workflow]
async fn keeps_children(what: String) -> Result<String> {
    let free = waits_for(format!("free {what}")).detach()?;
    let own = waits_for(format!("own {what}"));
    let shipping = async {
        plus(1).await?;
        ships(what).await
    };
    let (own, shipped) = tokio::join!(own, shipping);
    drop(free);
    own?;
    shipped
}

#[workflow]
async fn waits_for(token: String) -> Result<()> {
    hook::<()>().token(token).await
}

#[step]
async fn charges_at_the_gate(#[resource] lab: &Lab) -> Result<usize> {
    let charge = lab.note("charges");
    lab.pass_gate("charge").await;
    Ok(charge)
}

#[step(retries = 0)]
async fn fails_at_the_gate(#[resource] lab: &Lab) -> Result<usize> {
    lab.pass_gate("fail").await;
    Err(Error::new("no carrier"))
}

#[workflow]
async fn fails_beside_a_charge() -> Result<()> {
    tokio::try_join!(charges_at_the_gate().rollback(refunds), fails_at_the_gate())?;
    Ok(())
}

#[step(retries = 0)]
async fn refunds_at_the_gate(#[resource] lab: &Lab, _charge: usize) -> Result<()> {
    lab.note("begins refund");
    lab.pass_gate("refund").await;
    Ok(())
}

#[workflow]
async fn fails_and_refunds_at_the_gate() -> Result<String> {
    charges("x".into()).rollback(refunds_at_the_gate).await?;
    ships("x".into()).await
}

on_each_store! {
    async fn a_run_that_is_being_rolled_back_is_forked_before_the_steps_that_it_undoes(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(fails_and_refunds_at_the_gate, ()).id("r").await.unwrap();
        soon(lab.executed("begins refund", 1)).await;
        let charged = event(&run, |kind| matches!(kind, RunEventKind::StepCompleted { operation: 0, .. })).await;
        let after = event(&run, |kind| matches!(kind, RunEventKind::StepStarted { operation: 1, .. })).await;
        let refused = run.fork(after + 1).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotRepairable, "{refused:?}");
        assert!(!run.status().await.unwrap().is_terminal(), "the refund has not ended");
        mend(&lab, "x");
        let fork = run.fork(charged).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), "shipped x");
        assert_eq!((lab.count("charges"), lab.count("begins refund")), (2, 1), "the fork has charged for itself");
        lab.open_gate("refund");
        assert!(soon(&run).await.is_err());
        assert_eq!(lab.count("begins refund"), 1);
    }

    async fn a_run_that_was_retried_after_its_rollbacks_is_forked_in_both_generations(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(order, "x".into()).await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(refunds_in(&lab), ["refund 1"]);
        mend(&lab, "x");
        run.retry().await.unwrap();
        soon(&run).await.unwrap();
        let charges = lab.count("charges");
        for event in events(&run).await {
            let Ok(fork) = run.fork(event.index).await else { continue };
            let done = soon(&fork).await.unwrap();
            assert!(done.ends_with("shipped x"), "at {event:?}: {done}");
            let charge: usize = done.split(' ').nth(1).unwrap().parse().unwrap();
            assert_ne!(charge, 1, "at {event:?} the fork has a charge that was refunded");
            assert!(charge <= charges || charge == lab.count("charges"), "at {event:?}: {done}");
        }
        assert_eq!(refunds_in(&lab), ["refund 1"]);
    }

    async fn undo_inherited_in_a_fork_of_a_fork_undoes_the_steps_of_both(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(order_and_continue, ("x".into(), true)).await.unwrap();
        let at = opened(&run).await;
        engine.resume_hook("x", &()).await.unwrap();
        assert!(soon(&run).await.is_err());
        // The fork waits at the same hook. It is cancelled without undoing what it has inherited.
        let fork = run.fork(at).await.unwrap();
        assert!(soon(fork.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab), [""; 0]);
        let second = fork.fork(at).await.unwrap();
        assert!(soon(second.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab), [""; 0], "a fork of a fork inherits without undoing, too");
        let second = fork.fork(at).undo_inherited().await.unwrap();
        assert!(soon(second.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab), ["refund 1"]);
    }

    async fn a_fork_behind_the_end_of_the_workflow_is_refused(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(fails_beside_a_charge, ()).id("r").await.unwrap();
        soon(lab.executed("charges", 1)).await;
        lab.open_gate("fail");
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("charge");
        assert!(soon(&run).await.is_err());
        let charged = event(&run, |kind| matches!(kind, RunEventKind::StepCompleted { operation: 0, .. })).await;
        let error = run.fork(charged).await.unwrap_err();
        assert_eq!(error.code(), Code::NotRepairable);
        assert!(error.to_string().contains("the workflow had ended by then"), "{error:?}");
    }

    async fn a_fork_behind_a_step_that_was_undone_is_refused(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(order, "x".into()).await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!((lab.count("charge x"), lab.count("refund 1")), (1, 1));
        mend(&lab, "x");
        let charged = calls(&run).await[1];
        let all = events(&run).await;
        let result = all.iter().find(|event| matches!(event.kind, RunEventKind::StepCompleted { operation: 1, .. }));
        let result = result.unwrap().index;
        for event in &all {
            match run.fork(event.index).await {
                Ok(fork) => {
                    assert!(event.index <= result, "at {event:?}");
                    let done = soon(&fork).await.unwrap();
                    assert!(done.ends_with("shipped x"), "{done}");
                }
                Err(error) => {
                    assert!(event.index > result, "at {event:?}: {error:?}");
                    assert_eq!(error.code(), Code::NotRepairable);
                    assert!(error.to_string().contains("::charges`"), "the error does not name the step: {error:?}");
                }
            }
        }
        // Each fork has charged for itself, and none was refunded.
        assert_eq!(lab.count("charge x") as u64, 1 + result + 1);
        let refunds = lab.notes().iter().filter(|note| note.starts_with("refund")).count();
        assert_eq!(refunds, 1);
        assert!(charged < result);
    }

    async fn a_failed_fork_does_not_undo_steps_of_its_source(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        mend(&lab, "x");
        let run = engine.start(order, "x".into()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "2 1 3 shipped x");
        let [_, charge, _, ship] = calls(&run).await[..] else { panic!("four steps") };
        // A fork behind the charge inherits the charge. If the fork fails, the source's charge stays.
        let fork = run.fork(ship).input(&("broken",)).await.unwrap();
        assert!(soon(&fork).await.is_err());
        assert_eq!(lab.count("refund 1"), 0, "a fork does not undo steps of its source");
        let third = fork.fork(*calls(&fork).await.last().unwrap()).await.unwrap();
        assert!(soon(&third).await.is_err());
        assert_eq!(lab.count("refund 1"), 0, "a fork of the fork does not undo them either");
        mend(&lab, "broken");
        fork.retry().await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), "2 1 3 shipped broken");
        third.retry().await.unwrap();
        assert_eq!(soon(&third).await.unwrap(), "2 1 3 shipped broken");
        assert_eq!(lab.count("charge x"), 1, "inherited steps are not executed again");
        // This fork starts at the charge, and charges itself.
        let fork = run.fork(charge).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), "2 2 3 shipped x");
        assert_eq!((lab.count("charge x"), lab.count("refund 1"), lab.count("refund 2")), (2, 0, 0));
    }

    async fn a_step_of_a_queue_is_undone_by_the_run_that_has_called_it_and_by_no_fork(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let undone = engine.start(order_elsewhere, "x".into()).await.unwrap();
        assert!(soon(&undone).await.is_err());
        assert_eq!(refunds_in(&lab), ["refund 1"]);
        let [_, charge, between, ..] = calls(&undone).await[..] else { panic!("four steps and a rollback") };
        let error = undone.fork(between).await.unwrap_err();
        assert_eq!(error.code(), Code::NotRepairable, "{error:?}");
        assert!(error.to_string().contains("::charges_elsewhere`"), "{error:?}");
        // Forks at the charge charge for themselves, and undo their own charges only.
        let fork = undone.fork(charge).await.unwrap();
        assert!(soon(&fork).await.is_err());
        assert_eq!(refunds_in(&lab), ["refund 1", "refund 2"]);
        mend(&lab, "x");
        let fork = undone.fork(charge).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), "2 3 3 shipped x");
        // Forks behind the charge have inherited it from a run that keeps it.
        let ship = *calls(&fork).await.last().unwrap();
        let broken = fork.fork(ship).input(&("broken",)).await.unwrap();
        assert!(soon(&broken).await.is_err());
        mend(&lab, "broken");
        broken.retry().await.unwrap();
        assert_eq!(soon(&broken).await.unwrap(), "2 3 3 shipped broken");
        assert_eq!((lab.count("charges"), refunds_in(&lab).len()), (3, 2));
        assert_eq!(fork.fork(ship).undo_inherited().await.map(drop).unwrap_err().code(), Code::NotRepairable);
    }

    async fn a_failed_fork_undoes_the_steps_that_it_has_executed(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        mend(&lab, "x");
        let run = engine.start(order_two, "x".into()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "1 2 shipped x");
        let second = calls(&run).await[1];
        let fork = run.fork(second).await.unwrap();
        assert_eq!(soon(&fork).await.unwrap(), "1 3 shipped x");
        assert_eq!(refunds_in(&lab), [""; 0]);
        let other = engine.start(order_two, "y".into()).await.unwrap();
        assert!(soon(&other).await.is_err());
        assert_eq!(refunds_in(&lab), ["refund 5", "refund 4"], "the last step is undone first");
        // A fork that fails and whose last inherited result is the charge of its source.
        let run = engine.start(charge_only, "z".into()).await.unwrap();
        soon(&run).await.unwrap();
        let id = format!("fork of {}", run.id());
        FAILING.lock().unwrap().push(id.clone());
        let fork = run.fork(events(&run).await.len() as u64 - 1).id(id).await.unwrap();
        assert!(soon(&fork).await.is_err());
        assert_eq!(refunds_in(&lab).len(), 2, "a fork does not undo steps of its source");
    }

    async fn a_fork_that_fails_again_after_a_retry_undoes_its_own_steps_each_time(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(order_and_wait, "t".into()).await.unwrap();
        let opened = opened(&run).await;
        assert!(soon(run.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab), ["refund 2", "refund 1"]);
        // A fork behind steps that were undone is refused.
        assert_eq!(run.fork(opened).await.unwrap_err().code(), Code::NotRepairable);
        let other = engine.start(order_and_wait, "u".into()).await.unwrap();
        self::opened(&other).await;
        let fork = other.fork(event_of(&other, 1).await).await.unwrap();
        // The fork charges for the second order itself. It fails because the source has the token of its hook.
        assert!(soon(&fork).await.is_err());
        assert_eq!(refunds_in(&lab), ["refund 2", "refund 1", "refund 5"], "the fork undoes only its own steps");
        fork.retry().await.unwrap();
        assert!(soon(&fork).await.is_err());
        assert_eq!(refunds_in(&lab), ["refund 2", "refund 1", "refund 5", "refund 6"]);
        assert!(soon(other.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab)[4..], ["refund 4", "refund 3"], "the source undoes its own steps");
    }

    async fn undo_inherited_undoes_steps_that_the_source_does_not_undo(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(order_and_continue, ("x".into(), true)).await.unwrap();
        let at = opened(&run).await;
        engine.resume_hook("x", &()).await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(refunds_in(&lab), [""; 0], "a generation that continued as new is not undone");
        let fork = run.fork(at).await.unwrap();
        assert!(soon(fork.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab), [""; 0]);
        let fork = run.fork(at).id("undoes").undo_inherited().await.unwrap();
        // The same call returns the same fork. A call with other options is refused.
        assert_eq!(run.fork(at).id("undoes").undo_inherited().await.unwrap().id(), "undoes");
        assert_eq!(run.fork(at).id("undoes").await.unwrap_err().code(), Code::RunExists);
        assert!(soon(fork.cancel("enough")).await.unwrap());
        assert_eq!(refunds_in(&lab), ["refund 1"]);
    }

    async fn undo_inherited_is_refused_for_steps_that_the_source_undoes_or_keeps(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let unwound = engine.start(order, "x".into()).await.unwrap();
        assert!(soon(&unwound).await.is_err());
        mend(&lab, "x");
        let completed = engine.start(order, "x".into()).await.unwrap();
        soon(&completed).await.unwrap();
        let waiting = engine.start(order_and_wait, "w".into()).await.unwrap();
        opened(&waiting).await;
        let refused = [
            unwound.fork(1).undo_inherited().await.map(drop),
            completed.fork(1).undo_inherited().await.map(drop),
            waiting.fork(1).undo_inherited().await.map(drop),
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err().code(), Code::NotRepairable);
        }
        assert!(soon(waiting.cancel("enough")).await.unwrap());
    }

    async fn a_fork_does_not_cancel_children_of_its_source(place: Place) {
        let lab = Lab::new();
        let engine = engine(&place, &lab).await;
        let run = engine.start(keeps_children, "x".into()).await.unwrap();
        soon(async { while lab.count("ship x") == 0 { workflow_harness::pause().await } }).await;
        let children = run.children().await.unwrap();
        assert_eq!(children.len(), 2);
        // They have the tokens before a child of the fork asks for one.
        for child in &children {
            let child: Run<()> = engine.get_run(child);
            opened(&child).await;
        }
        // The step behind both child calls.
        let at = event_of(&run, 1).await;
        let fork = run.fork(at).await.unwrap();
        let theirs = soon(async {
            loop {
                let theirs = fork.children().await.unwrap();
                if !theirs.is_empty() { break theirs; }
                workflow_harness::pause().await;
            }
        }).await;
        assert!(theirs.iter().all(|child| !children.contains(child)));
        // The fork's steps name its own child and the abandoned child of its source, which it does not start again.
        let named: Vec<String> = fork.steps().await.unwrap().into_iter().filter_map(|step| step.run).collect();
        assert_eq!(named[0], children[0]);
        assert_eq!(named[1..], theirs);
        let _ = soon(&fork).await;
        for child in &children {
            let child: Run<()> = engine.get_run(child);
            assert!(!child.status().await.unwrap().is_terminal(), "the child of the source is not cancelled");
        }
        for token in ["free x", "own x"] {
            soon(async { while engine.resume_hook(token, &()).await.is_err() { workflow_harness::pause().await } }).await;
        }
        let _ = soon(&run).await;
    }
}

fn refunds_in(lab: &Lab) -> Vec<String> {
    lab.notes().into_iter().filter(|note| note.starts_with("refund")).collect()
}

/// The event at which a run called its step with this index. Waits for the call.
async fn event_of<T, E>(run: &Run<T, E>, step: usize) -> u64 {
    soon(async {
        loop {
            let events = events(run).await;
            let mut steps = events.iter().filter(|event| matches!(event.kind, RunEventKind::StepStarted { .. }));
            match steps.nth(step) {
                Some(event) => break event.index,
                None => workflow_harness::pause().await,
            }
        }
    })
    .await
}

/// The event at which a run opened its hook. Waits for the hook.
async fn opened<T, E>(run: &Run<T, E>) -> u64 {
    soon(async {
        loop {
            let events = events(run).await;
            match events.iter().find(|event| matches!(event.kind, RunEventKind::HookOpened { .. })) {
                Some(event) => break event.index,
                None => workflow_harness::pause().await,
            }
        }
    })
    .await
}
