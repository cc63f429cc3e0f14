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
                tokio::task::yield_now().await;
            }
        };
        soon(reaches(2)).await;
        let listed = place.run("ls").ok();
        assert!(listed.contains("failing") && !listed.contains("running"), "{listed}");
        assert!(listed.contains("attempt 2 of `call`") && listed.contains("503 from the bank"), "{listed}");
        assert_eq!(place.run("ls -o json").json()["runs"][0]["status"], "running", "the status is that of the library");
        let shown = place.run("show calls-1").ok();
        assert!(shown.contains("status      failing") && shown.contains(", deployment v7\n"), "{shown}");
        assert!(shown.contains(&format!("held by     process {}", std::process::id())), "{shown}");
        assert_eq!(place.run("show calls-1 -o json").json()["held_by"]["deployment"], "v7");
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
        engine.shutdown().await.unwrap();
    }
);
