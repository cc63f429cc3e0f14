//! Retries of runs that have failed because of their children.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use workflow_runtime::store::Write;
use workflow_runtime::{Client, Engine, Error, Result, Run, Status, StepStatus, hook, step, step_info, workflow};

use crate::support::{Faulty, Lab, When, soon};

/// Fails if its name starts with `broken`, until the test calls [`mend`]. Notes each execution with and without its
/// key.
#[step(retries = 0)]
pub(super) async fn works(#[resource] lab: &Lab, name: String) -> Result<String> {
    let key = step_info().map(|info| info.idempotency_key).unwrap_or_default();
    let times = lab.note(&name);
    lab.note(&format!("{name} under {key}"));
    if name.starts_with("broken") && lab.count(&format!("mend {name}")) == 0 {
        return Err(Error::fatal(format!("{name} is broken")));
    }
    Ok(format!("{name} {times}"))
}

#[step]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undo {name}"));
    Ok(())
}

#[step(queue = "repair_children", retries = 0)]
async fn works_elsewhere(#[resource] lab: &Lab, name: String) -> Result<usize> {
    let key = step_info().map(|info| info.idempotency_key).unwrap_or_default();
    lab.note(&format!("{name} under {key}"));
    let times = lab.note(&name);
    match lab.count(&format!("mend {name}")) {
        0 => Err(Error::fatal(format!("{name} is broken"))),
        _ => Ok(times),
    }
}

fn all(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[workflow]
async fn bottom() -> Result<Vec<String>> {
    let (first, second) = (works("bottom 1".into()).await?, works("bottom 2".into()).await?);
    let third = works("broken".into()).await?;
    Ok(vec![first, second, third, works("bottom 4".into()).await?])
}

#[workflow]
async fn middle() -> Result<Vec<String>> {
    let first = works("middle 1".into()).await?;
    let mut done = bottom().await?;
    done.extend([first, works("middle 2".into()).await?]);
    Ok(done)
}

#[workflow]
async fn top() -> Result<Vec<String>> {
    let first = works("top 1".into()).await?;
    let mut done = middle().await?;
    done.extend([first, works("top 2".into()).await?]);
    Ok(done)
}

const DONE: [&str; 8] =
    ["bottom 1 1", "bottom 2 1", "broken 2", "bottom 4 1", "middle 1 1", "middle 2 1", "top 1 1", "top 2 1"];

#[workflow]
async fn asks(name: String) -> Result<String> {
    let early = works(format!("early {name}")).await?;
    let late = hook::<String>().token(name).await?;
    Ok(format!("{early}, {}", works(late).await?))
}

#[workflow]
async fn asks_three() -> Result<Vec<String>> {
    let (a, b, c) = tokio::try_join!(asks("a".into()), asks("b".into()), asks("c".into()))?;
    Ok(vec![a, b, c])
}

#[workflow]
async fn undone() -> Result<Vec<String>> {
    let first = works("first".into()).await?;
    let second = works("second".into()).rollback(|_| undoes("second".into())).await?;
    Ok(vec![first, second, works("broken".into()).await?])
}

#[workflow]
async fn parent_of_undone() -> Result<Vec<String>> {
    works("own".into()).await?;
    undone().await
}

#[workflow]
async fn waits_for(run: Run<Vec<String>>) -> Result<Vec<String>> {
    works("own".into()).await?;
    run.await
}

#[workflow]
async fn detaches() -> Result<String> {
    bottom().detach()?;
    works("broken too".into()).await
}

#[workflow]
async fn queues(name: String) -> Result<usize> {
    works("own".into()).await?;
    works_elsewhere(name).await
}

#[step(queue = "repair_children", retries = 0)]
async fn occupies(#[resource] lab: &Lab) -> Result<()> {
    lab.note("occupies");
    lab.pass_gate("queue").await;
    Ok(())
}

#[workflow]
async fn occupies_the_queue() -> Result<()> {
    occupies().await
}

#[workflow]
async fn fails_beside_a_queued_step() -> Result<String> {
    let fails = async {
        hook::<String>().token("fail").await?;
        works("broken".into()).await
    };
    tokio::try_join!(works_elsewhere("queued".into()), fails).map(|(queued, own)| format!("{queued}, {own}"))
}

pub(super) fn mend(lab: &Lab, name: &str) {
    lab.note(&format!("mend {name}"));
}

/// The keys under which a step was executed, with the number of executions under each.
fn keys(lab: &Lab, name: &str) -> Vec<(String, usize)> {
    let begin = format!("{name} under ");
    let mut keys: Vec<String> = lab.notes().into_iter().filter(|note| note.starts_with(&begin)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| (key.clone(), lab.count(&key))).collect()
}

/// The only child of a run.
async fn child_of(engine: &Engine, run: &str) -> Run<Vec<String>> {
    let children = engine.get_run::<(), Error>(run).children().await.unwrap();
    assert_eq!(children.len(), 1, "{children:?}");
    engine.get_run(children[0].clone())
}

pub(super) async fn state_of<T, E>(run: &Run<T, E>) -> (Status, u64) {
    let info = run.info().await.unwrap();
    (info.status, info.generation)
}

async fn until_hook(engine: &Client, token: &str) {
    soon(async {
        while engine.get_hook(token).await.is_err() {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// Answers a hook, once it is open.
async fn answer(engine: &Client, token: &str, text: &str) {
    soon(async {
        while engine.resume_hook(token, &text).await.is_err() {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// Starts [`top`], waits for its failure, and fixes the cause.
async fn failed_top(engine: &Engine, lab: &Lab) -> Run<Vec<String>> {
    let run = engine.start(top, ()).id("top").await.unwrap();
    assert!(soon(&run).await.is_err());
    mend(lab, "broken");
    run
}

fn assert_nothing_was_repeated(lab: &Lab) {
    for name in ["bottom 1", "bottom 2", "bottom 4", "middle 1", "middle 2", "top 1", "top 2"] {
        assert_eq!(lab.count(name), 1, "{name}");
    }
    let keys = keys(lab, "broken");
    assert_eq!(keys.iter().map(|(_, times)| *times).collect::<Vec<_>>(), [2], "{keys:?}");
}

on_each_store! {
    async fn retry_of_the_run_at_the_top_repeats_no_step_of_any_run_below(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = failed_top(&engine, &lab).await;
        let below = child_of(&engine, "top").await;
        let bottom = child_of(&engine, below.id()).await;
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), all(&DONE));
        assert_nothing_was_repeated(&lab);
        for run in [&run, &below, &bottom] {
            assert_eq!(state_of(run).await, (Status::Completed, 1), "{}", run.id());
        }
        assert_eq!(child_of(&engine, "top").await.id(), below.id());
        assert_eq!(child_of(&engine, below.id()).await.id(), bottom.id());
        let steps: Vec<_> = bottom.steps().await.unwrap().iter().map(|step| step.status).collect();
        assert_eq!(steps, [StepStatus::Completed; 4]);
        engine.shutdown().await.unwrap();
    }

    async fn a_tree_that_fails_again_is_retried_again_also_by_another_process(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(top, ()).id("top").await.unwrap();
        assert!(soon(&run).await.is_err());
        run.retry().await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(lab.count("broken"), 2);
        engine.shutdown().await.unwrap();
        mend(&lab, "broken");
        let client = place.builder(&lab).connect().await.unwrap();
        client.get_run::<Vec<String>, Error>("top").retry().await.unwrap();
        let engine = place.open(&lab).await;
        let run: Run<Vec<String>> = engine.get_run("top");
        let done = soon(&run).await.unwrap();
        assert_eq!((done[0].as_str(), done[2].as_str()), ("bottom 1 1", "broken 3"));
        let keys = keys(&lab, "broken");
        assert_eq!((keys.len(), keys[0].1, lab.count("bottom 2"), lab.count("middle 1")), (1, 3, 1, 1));
        assert_eq!(state_of(&child_of(&engine, "top").await).await, (Status::Completed, 2));
    }

    async fn children_that_were_cancelled_because_another_failed_continue_too(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_three, ()).await.unwrap();
        for token in ["a", "b", "c"] {
            until_hook(&engine, token).await;
        }
        engine.resume_hook("a", &"broken").await.unwrap();
        assert!(soon(&run).await.is_err());
        let children = run.children().await.unwrap();
        let mut statuses = Vec::new();
        for child in &children {
            let child: Run<String> = engine.get_run(child.clone());
            soon(&child).await.unwrap_err();
            statuses.push(child.status().await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [Status::Failed, Status::Cancelled, Status::Cancelled]);
        mend(&lab, "broken");
        run.retry().await.unwrap();
        for token in ["b", "c"] {
            answer(&engine, token, &format!("late {token}")).await;
        }
        assert_eq!(
            soon(&run).await.unwrap(),
            ["early a 1, broken 2", "early b 1, late b 1", "early c 1, late c 1"]
        );
        assert_eq!(run.children().await.unwrap(), children);
    }

    async fn a_retry_waits_for_the_end_of_a_cancelled_queued_step(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("repair_children", 1).open().await.unwrap();
        let occupied = engine.start(occupies_the_queue, ()).await.unwrap();
        soon(lab.executed("occupies", 1)).await;
        mend(&lab, "queued");
        let run = engine.start(fails_beside_a_queued_step, ()).await.unwrap();
        until_hook(&engine, "fail").await;
        answer(&engine, "fail", "now").await;
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken");
        {
            let mut retry = std::pin::pin!(run.retry());
            for _ in 0..50 {
                assert!(retry.as_mut().now_or_never().is_none(), "the queued step has not ended");
                engine.get_run::<(), Error>("nobody").status().await.unwrap_err();
            }
            lab.open_gate("queue");
            soon(retry).await.unwrap();
        }
        assert_eq!(soon(&run).await.unwrap(), "1, broken 2");
        soon(&occupied).await.unwrap();
        engine.shutdown().await.unwrap();
    }

    async fn a_retry_takes_the_result_of_a_child_that_was_retried_before(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = failed_top(&engine, &lab).await;
        let below = child_of(&engine, "top").await;
        below.retry().await.unwrap();
        soon(&below).await.unwrap();
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), all(&DONE));
        assert_nothing_was_repeated(&lab);
        assert_eq!(state_of(&below).await, (Status::Completed, 1), "the retried parent takes the child's result");
        assert_eq!(child_of(&engine, "top").await.id(), below.id());
    }

    async fn a_retry_waits_for_a_child_that_is_already_running_again(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_three, ()).await.unwrap();
        for token in ["a", "b", "c"] {
            until_hook(&engine, token).await;
        }
        engine.resume_hook("a", &"broken").await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken");
        for child in run.children().await.unwrap() {
            let child: Run<String> = engine.get_run(child);
            soon(&child).await.unwrap_err();
            child.retry().await.unwrap();
        }
        // The child has opened its hook again, and may have ended.
        answer(&engine, "b", "late b").await;
        run.retry().await.unwrap();
        answer(&engine, "c", "late c").await;
        assert_eq!(
            soon(&run).await.unwrap(),
            ["early a 1, broken 2", "early b 1, late b 1", "early c 1, late c 1"]
        );
    }

    async fn a_deleted_child_is_started_again(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = failed_top(&engine, &lab).await;
        child_of(&engine, "top").await.delete().await.unwrap();
        run.retry().await.unwrap();
        let done = soon(&run).await.unwrap();
        assert_eq!((done[0].as_str(), done[4].as_str(), done[6].as_str()), ("bottom 1 2", "middle 1 2", "top 1 1"));
        assert_eq!(state_of(&child_of(&engine, "top").await).await, (Status::Completed, 0));
    }

    async fn a_child_that_was_rolled_back_continues_before_its_undone_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(parent_of_undone, ()).id("top").await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(lab.count("undo second"), 1);
        mend(&lab, "broken");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["first 1", "second 2", "broken 2"]);
        assert_eq!((lab.count("own"), lab.count("undo second")), (1, 1));
        let times = |name: &str| keys(&lab, name).into_iter().map(|(_, times)| times).collect::<Vec<_>>();
        assert_eq!((times("second"), times("broken")), (vec![1, 1], vec![1, 1]), "each execution has a new key");
        assert_eq!(state_of(&child_of(&engine, "top").await).await, (Status::Completed, 1));
    }

    async fn a_run_that_is_only_awaited_is_not_retried(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let other = engine.start(bottom, ()).await.unwrap();
        let run = engine.start(waits_for, other.clone()).await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken");
        run.retry().await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(state_of(&other).await, (Status::Failed, 0));
        other.retry().await.unwrap();
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap()[2], "broken 2");
        assert_eq!((lab.count("own"), lab.count("bottom 1")), (1, 1));
    }

    async fn a_detached_child_is_not_retried(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(detaches, ()).id("top").await.unwrap();
        assert!(soon(&run).await.is_err());
        let detached = child_of(&engine, "top").await;
        assert!(soon(&detached).await.is_err());
        mend(&lab, "broken too");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "broken too 2");
        assert_eq!(state_of(&detached).await, (Status::Failed, 0));
        assert_eq!(child_of(&engine, "top").await.id(), detached.id());
    }

    async fn a_step_of_a_queue_keeps_its_run_and_its_key(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("repair_children", 1).open().await.unwrap();
        let run = engine.start(queues, "queued".into()).id("top").await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "queued");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 2);
        assert_eq!(keys(&lab, "queued"), [("queued under top/0/0/1".to_owned(), 2)]);
        assert_eq!((lab.count("own"), run.children().await.unwrap().len()), (1, 1));
    }

    async fn a_retry_in_doubt_is_sent_again_and_counts_once(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = place.builder(&lab).store(Arc::new(faulty.clone())).replay_every_turn().open().await.unwrap();
        let run = failed_top(&engine, &lab).await;
        let mut doubts = [When::CommittedButInDoubt, When::LostAndInDoubt].into_iter();
        faulty.plan(move |group| {
            group.iter().any(|write| matches!(write, Write::Reopen(_))).then(|| doubts.next()).flatten()
        });
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), all(&DONE));
        assert_nothing_was_repeated(&lab);
        assert_eq!(state_of(&child_of(&engine, "top").await).await, (Status::Completed, 1));
    }

    async fn a_retry_that_was_not_committed_changes_no_run(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = place.builder(&lab).store(Arc::new(faulty.clone())).open().await.unwrap();
        let run = failed_top(&engine, &lab).await;
        let reopens = |group: &[Write]| group.iter().any(|write| matches!(write, Write::Reopen(_)));
        faulty.plan(move |group| reopens(group).then_some(When::Refused));
        run.retry().await.unwrap_err();
        let below = child_of(&engine, "top").await;
        let bottom = child_of(&engine, below.id()).await;
        for run in [&run, &below, &bottom] {
            assert_eq!(state_of(run).await, (Status::Failed, 0), "{}", run.id());
        }
        faulty.plan(|_| None);
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), all(&DONE));
    }

    async fn a_late_cancel_does_not_cancel_the_retried_run(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = place.builder(&lab).store(Arc::new(faulty.clone())).open().await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        let ends = |write: &Write| {
            let Write::Turn(turn) = write else { return false };
            turn.change.as_ref().is_some_and(|change| change.status == Status::Failed)
        };
        let (canceller, at) = (client.get_run::<Vec<String>, Error>("r"), place.clone());
        faulty.before(move |group| {
            let (canceller, at) = (canceller.clone(), at.clone());
            let cancel = async move {
                tokio::spawn(async move { canceller.cancel("too late").await });
                soon(async {
                    while at.inbox("r").await == 0 {
                        workflow_harness::pause().await;
                    }
                })
                .await;
            };
            group.iter().any(ends).then(|| cancel.boxed() as BoxFuture<'static, ()>)
        });
        let run = engine.start(bottom, ()).id("r").await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(state_of(&run).await, (Status::Failed, 0));
        mend(&lab, "broken");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap()[2], "broken 2");
    }

    async fn a_child_that_is_retried_concurrently_is_retried_once(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = place.open(&lab).await;
        let retries = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone()).connect().await.unwrap();
        failed_top(&engine, &lab).await;
        let below = child_of(&engine, "top").await;
        let is_first = AtomicBool::new(true);
        let other = below.clone();
        // Another client retries the child after this retry has read the child and before it writes.
        faulty.before(move |group| {
            let reopens = group.iter().any(|write| matches!(write, Write::Reopen(_)));
            let other = other.clone();
            let retry = async move { other.retry().await.unwrap() };
            (reopens && is_first.swap(false, Ordering::SeqCst)).then(|| retry.boxed() as BoxFuture<'static, ()>)
        });
        let run: Run<Vec<String>> = retries.get_run("top");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), all(&DONE));
        assert_nothing_was_repeated(&lab);
        assert_eq!(state_of(&below).await, (Status::Completed, 1));
    }
}
