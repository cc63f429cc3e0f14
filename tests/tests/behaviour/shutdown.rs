//! The end of an engine.

use workflow_runtime::{Code, Result, Run, Status, step, workflow};

use crate::support::Lab;

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn two_steps() -> Result<String> {
    gated("first".into()).await?;
    gated("second".into()).await
}

on_each_store! {
    async fn a_shutdown_waits_for_the_steps_that_run_and_records_them(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(two_steps, ()).id("run").await.unwrap();
        lab.executed("first", 1).await;
        let shutdown = tokio::spawn({
            let engine = engine.clone();
            async move { engine.shutdown().await }
        });
        while engine.start(two_steps, ()).id("run").await.is_ok() {
            tokio::task::yield_now().await;
        }
        lab.open_gate("first");
        shutdown.await.unwrap().unwrap();
        assert_eq!(run.await.unwrap_err().code(), Code::Closed);
        assert_eq!((lab.count("first"), lab.count("second")), (1, 0));
        assert_eq!(place.rows("run").await.len(), 2);
        lab.open_gate("second");
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), "second");
        assert_eq!((lab.count("first"), lab.count("second")), (1, 1));
    }

    async fn an_engine_that_is_shut_down_starts_nothing(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.shutdown().await.unwrap();
        engine.shutdown().await.unwrap();
        assert_eq!(engine.start(two_steps, ()).await.unwrap_err().code(), Code::Closed);
    }

    async fn what_was_given_back_is_taken_up_by_the_next_engine(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for n in 0..50 {
            engine.start(two_steps, ()).id(format!("run-{n}")).await.unwrap();
        }
        lab.open_gate("first");
        lab.open_gate("second");
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        for n in 0..50 {
            let run: Run<String> = engine.get_run(format!("run-{n}"));
            assert_eq!((&run).await.unwrap(), "second");
            assert_eq!(run.status().await.unwrap(), Status::Completed);
        }
        assert_eq!((lab.count("first"), lab.count("second")), (50, 50));
    }
}
