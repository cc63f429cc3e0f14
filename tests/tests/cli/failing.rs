//! What the command line says of runs that fail or are stuck, and what helps.

use std::time::Duration;

use workflow_runtime::{Engine, Error, Result, Status, Waiting, step, workflow};

use crate::support::{Place, soon};

#[step(id = "call", retries = 9, backoff = "1h..2h")]
async fn call() -> Result<()> {
    Err(Error::new("503 from the bank"))
}

#[workflow(id = "calls")]
async fn calls() -> Result<()> {
    call().await
}

#[workflow(id = "calls_late")]
async fn calls_late() -> Result<()> {
    workflow_runtime::hook::<()>().token("late").await?;
    call().await
}

#[workflow(id = "naps")]
async fn naps() -> Result<()> {
    workflow_runtime::sleep(Duration::from_secs(3_600)).await;
    Ok(())
}

#[workflow(id = "breaks")]
async fn breaks() -> Result<()> {
    workflow_runtime::sleep(Duration::from_millis(1)).await;
    panic!("a bug")
}

case!(
    #[threads]
    async fn a_run_that_fails_is_not_called_running_and_is_tried_again_by_wake() {
        let place = Place::sqlite();
        let engine = Engine::builder().url(&place.url).deployment("v7").open().await.unwrap();
        let run = engine.start(calls, ()).id("calls-1").await.unwrap();
        let reaches = async |next: u32| {
            while !matches!(run.waiting().await.unwrap()[..], [Waiting::Retrying { attempt, .. }] if attempt == next) {
                workflow_harness::pause().await;
            }
        };
        soon(reaches(2)).await;
        let listed = place.run("ls").ok();
        assert!(listed.contains("failing") && !listed.contains("running"), "{listed}");
        assert!(listed.contains("attempt 2 of 10 of `call`") && listed.contains("503 from the bank"), "{listed}");
        assert_eq!(place.run("ls -o json").json()["runs"][0]["status"], "running", "the status is that of the library");
        let shown = place.run("show calls-1").ok();
        assert!(shown.contains("status      failing") && shown.contains(", deployment v7\n"), "{shown}");
        assert!(shown.contains(&format!("held by     process {}", std::process::id())), "{shown}");
        assert_eq!(place.run("show calls-1 -o json").json()["held_by"]["deployment"], "v7");
        // A filter for the runs that run without failing, for a list, a count and an action.
        engine.start(naps, ()).id("naps-1").await.unwrap();
        assert_eq!(place.run("ls --not-failing -o ids").ok(), "naps-1\n");
        assert_eq!(place.run("ls --not-failing --status running -o ids").ok(), "");
        assert_eq!(place.run("ls --limit 1 -o json --not-failing").json()["runs"].as_array().unwrap().len(), 1);
        assert_eq!(place.run("count --not-failing -o json").json()["total"], 1);
        assert_eq!(place.run("wake --all --not-failing --dry-run -o ids").ok(), "naps-1\n");
        assert_eq!(place.run("ls --failing --not-failing").code, 2);
        let skipped = place.run("retry calls-1");
        assert!(skipped.code == 3 && skipped.out.contains("wake it"), "{skipped:?}");
        // The class of an error is a filter, for a list and for an action.
        let class = place.run("ls --group-by error -o ids").ok();
        let (class, other) = (class.trim(), "user: another error");
        assert_eq!(class, "user: # from the bank");
        assert_eq!(place.run(&format!("ls --error-class '{class}' -o ids")).ok(), "calls-1\n");
        assert_eq!(place.run(&format!("ls --error-class '{other}' -o ids")).ok(), "");
        for nothing in [format!("--error-class '{other}'"), "--error 404".to_owned()] {
            assert_eq!(place.run(&format!("cancel --all --failing {nothing} --yes -o ids")).ok(), "");
        }
        // A run that was created later and began to fail earlier than another one is acted on, too.
        let late = engine.start(calls_late, ()).id("late-1").await.unwrap();
        let early = engine.start(calls, ()).id("early-1").await.unwrap();
        let fails = async |run: &workflow_runtime::Run<()>| {
            while run.info().await.unwrap().failing_since.is_none() {
                workflow_harness::pause().await;
            }
        };
        soon(fails(&early)).await;
        engine.resume_hook("late", &()).await.unwrap();
        soon(fails(&late)).await;
        assert_eq!(place.run("ls --failing -o ids").ok(), "late-1\nearly-1\ncalls-1\n");
        assert_eq!(place.run("wake --all --failing --dry-run -o ids").ok(), "late-1\nearly-1\ncalls-1\n");
        for id in ["late-1", "early-1"] {
            engine.get_run::<(), Error>(id).cancel("it was shown").await.unwrap();
        }
        let refused = place.run("wake --all --error 503");
        assert!(refused.code == 3 && refused.err.contains("wake of 1 runs"), "{refused:?}");
        assert_eq!(place.run(&format!("wake --all --error-class '{class}' --yes -o ids")).ok(), "calls-1\n");
        soon(reaches(3)).await;
        engine.shutdown().await.unwrap();
    }
);

case!(
    #[threads]
    async fn a_run_that_is_stuck_is_shown_with_its_place_and_the_remedy() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        soon(engine.start(breaks, ()).id("breaks-1").await.unwrap()).await.unwrap_err();
        assert_eq!(engine.get_run::<(), Error>("breaks-1").status().await.unwrap(), Status::Stuck);
        let shown = place.run("show breaks-1").ok();
        assert!(shown.contains("\nhelp        "), "{shown}");
        // The deployment that has the workflow has refused the run.
        assert!(shown.contains("\nfits        no other deployment has the code"), "{shown}");
        assert_eq!(place.run("show breaks-1 -o json").json()["fits"], serde_json::json!([]));
        engine.shutdown().await.unwrap();
    }
);
