//! Runs that end early, by `finish`.

use std::time::Duration;

use workflow_runtime::{Code, Error, Result, durable, finish, hook, sleep, spawn, step, workflow};

use super::suspend::undone;
use crate::support::{Lab, soon};

#[durable]
async fn looks_deeper(n: u32) -> Result<u32> {
    if n == 3 {
        finish(format!("found {n}")).await?;
    }
    sleep(Duration::from_millis(1)).await;
    Ok(n + 1)
}

#[workflow]
async fn ends_from_a_helper() -> Result<String> {
    let mut n = 0;
    while n < 10 {
        n = looks_deeper(n).await?;
    }
    Ok("nothing".into())
}

#[workflow]
async fn ends_from_a_branch() -> Result<String> {
    let branch = spawn(async {
        sleep(Duration::from_millis(1)).await;
        finish("by the branch".to_owned()).await
    });
    hook::<()>().token("never").await?;
    branch.await
}

/// Ends the run, whatever its own result is.
#[step(retries = 3)]
async fn ends_the_run(#[resource] lab: &Lab, how: String) -> Result<()> {
    lab.note("ends");
    let ended = finish(format!("by a step that {how}")).await.map(drop);
    match how.as_str() {
        "succeeds" => Ok(()),
        "fails" => Err(Error::new("after it has ended the run")),
        _ => ended,
    }
}

#[workflow]
async fn ends_from_a_step(how: String) -> Result<String> {
    undone().rollback(|()| undone()).await?;
    let never = async { hook::<()>().token("never").await.map(drop) };
    let ends = async { ends_the_run(how).await };
    tokio::try_join!(never, ends)?;
    Ok("not early".into())
}

#[workflow]
async fn ends_with_what_it_does_not_return() -> Result<u32> {
    finish("a text".to_owned()).await?;
    Ok(1)
}

#[workflow]
async fn parent_of_one_that_ends() -> Result<String> {
    let ended = ends_from_a_step("returns it".into()).await?;
    Ok(format!("{ended}, and its parent went on"))
}

on_each_store! {
    async fn a_run_ends_early_from_a_helper_and_from_a_branch(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(ends_from_a_helper, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "found 3");
        let run = engine.start(ends_from_a_branch, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "by the branch");
        assert_eq!(engine.resume_hook("never", &()).await.unwrap_err().code(), Code::HookFinished);
    }

    async fn a_step_ends_the_run_whatever_it_returns(place: Place) {
        for how in ["succeeds", "fails", "returns it"] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let run = engine.start(ends_from_a_step, how.into()).id(how).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), format!("by a step that {how}"));
            assert_eq!((lab.count("ends"), lab.count("undone")), (1, 1), "the step before is not undone");
            engine.shutdown().await.unwrap();
        }
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(parent_of_one_that_ends, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "by a step that returns it, and its parent went on");
    }

    async fn a_result_of_another_type_leaves_the_run_stuck(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(ends_with_what_it_does_not_return, ()).await;
        let error = match run {
            Ok(run) => soon(&run).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(format!("{error:?}").contains("`finish` was given does not fit the result of workflow"), "{error:?}");
    }
}
