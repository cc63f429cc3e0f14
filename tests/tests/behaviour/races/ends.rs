//! Events that compete to end a run, a step or an attempt.

use tokio::join;
use workflow_runtime::{Error, Result, step, timeout, workflow};

use super::{Arena, Duration, Lab, Status, Value, races, sometime};

const MILLISECONDS: u64 = 5;

#[workflow]
async fn takes_a_while() -> Result<String> {
    sometime("a".into()).await?;
    sometime("b".into()).await
}

#[workflow]
async fn is_patient_for_so_long() -> Result<Option<String>> {
    let first = timeout(Duration::from_millis(MILLISECONDS), sometime("first".into())).await;
    sometime("behind".into()).await?;
    first.ok().transpose()
}

#[workflow]
async fn has_slow_attempts() -> Result<String> {
    sometime("slow".into())
        .timeout(Duration::from_millis(MILLISECONDS))
        .retries(1)
        .backoff(Duration::ZERO..Duration::ZERO)
        .await
}

#[step(retries = 0)]
async fn fails(#[resource] lab: &Lab) -> Result<()> {
    lab.turn().await;
    Err(Error::fatal("out of stock"))
}

#[step(retries = 0)]
async fn undo(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.turn().await;
    match &*name {
        "b" => Err(Error::fatal("b stays")),
        _ => Ok(()),
    }
}

#[workflow]
async fn saga() -> Result<()> {
    sometime("a".into()).rollback(undo).await?;
    let (b, c) = tokio::join!(sometime("b".into()).rollback(undo), sometime("c".into()).rollback(undo));
    b.and(c)?;
    fails().await
}

races! {
    in 2_000 orders:

    async fn a_cancel_against_the_end(arena: Arena) -> ["completed", "cancelled"] {
        let run = arena.outside.start(takes_a_while, ()).id("run").await.unwrap();
        let (one, two) = join!(arena.cancel(&run), arena.cancel(&run));
        let story = arena.story("run").await;
        assert_eq!(one, two, "both cancels return the same");
        assert_eq!((story.status == Status::Cancelled, run.await.is_err()), (one, one));
        if one { "cancelled" } else { "completed" }
    }

    async fn a_step_against_a_timeout(arena: Arena) -> ["in time", "too late"] {
        let run = arena.outside.start(is_patient_for_so_long, ()).id("run").await.unwrap();
        arena.pass(MILLISECONDS).await;
        let story = arena.story("run").await;
        let got = run.await.unwrap();
        let completed: Vec<_> = story.of("completed").map(|event| event["value"].as_str().unwrap().to_owned()).collect();
        match got {
            Some(first) => {
                assert_eq!((first.as_str(), &completed[..]), ("first", &["first".to_owned(), "behind".to_owned()][..]));
                assert_eq!(story.of("timer").count(), 0);
                "in time"
            }
            None => {
                assert_eq!((story.of("timer").count(), &completed[..]), (1, &["behind".to_owned()][..]));
                "too late"
            }
        }
    }

    async fn an_attempt_against_its_timeout(arena: Arena) -> ["at once", "the second time", "never"] {
        let run = arena.outside.start(has_slow_attempts, ()).id("run").await.unwrap();
        join!(arena.pass(MILLISECONDS), arena.pass(MILLISECONDS));
        let story = arena.story("run").await;
        let attempts = story.of("attempt").count();
        match (run.await, attempts) {
            (Ok(_), 0) => "at once",
            (Ok(_), 1) => "the second time",
            (Err(_), 1) => "never",
            other => panic!("{other:?}"),
        }
    }

    async fn a_rollback_against_a_cancel(arena: Arena) -> ["failed", "cancelled at work", "cancelled at the beginning"] {
        let run = arena.outside.start(saga, ()).id("run").await.unwrap();
        let cancelled = arena.cancel(&run).await;
        let story = arena.story("run").await;
        let ended = story.unwinds.unwrap_or(story.events.len() - 1);
        let error = run.await.unwrap_err();
        // The first of the failure and the cancel decides how the run ends. The second changes nothing.
        let first_is_cancel = story.events[ended].get("cancel").is_some();
        assert_eq!((cancelled, story.status == Status::Cancelled), (first_is_cancel, first_is_cancel), "{error}");
        let done = |events: &[Value]| -> Vec<Value> {
            let completed = events.iter().filter_map(|event| event.get("completed"));
            completed.map(|event| event["value"].clone()).filter(|value| !value.is_null()).collect()
        };
        let begun = story.commands[..ended].iter().flatten().filter(|command| command["step"]["rollback"] == true).count();
        let (before, late) = (done(&story.events[..=ended]), done(&story.events[ended + 1..]));
        assert_eq!(begun, before.len() + late.len(), "no step with a rollback is stopped");
        let steps = story.issued("step").filter(|step| step["step"].as_str().unwrap().ends_with("undo"));
        let undone: Vec<Value> = steps.map(|step| step["input"][0].clone()).collect();
        let in_time: Vec<_> = undone.iter().filter(|name| before.contains(name)).cloned().collect();
        assert_eq!(in_time, before.iter().rev().cloned().collect::<Vec<_>>(), "undone: {undone:?}");
        assert_eq!(undone.len(), before.len() + late.len(), "undone: {undone:?}, late: {late:?}");
        assert!(late.iter().all(|name| undone.contains(name)), "undone: {undone:?}, late: {late:?}");
        assert_eq!(error.to_string().contains("b stays"), undone.contains(&"b".into()), "{error}");
        match (cancelled, undone.is_empty()) {
            (false, _) => "failed",
            (true, false) => "cancelled at work",
            (true, true) => "cancelled at the beginning",
        }
    }
}
