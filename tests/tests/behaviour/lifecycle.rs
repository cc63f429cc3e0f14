//! Who wants to know how runs end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use workflow_runtime::{Builder, Error, Result, RunInfo, Status, hook, workflow};

use crate::support::Lab;

#[workflow]
async fn ends(how: u32) -> Result<()> {
    match how {
        0 => Ok(()),
        1 => Err(Error::fatal("on purpose")),
        2 => hook::<()>().await,
        _ => panic!("on purpose"),
    }
}

fn noted(lab: &Lab) -> impl Fn(RunInfo) -> std::future::Ready<Result<()>> + Send + Sync + 'static {
    let lab = lab.clone();
    move |run| {
        lab.note(&format!("{} {}", run.id, run.status));
        std::future::ready(Ok(()))
    }
}

fn told_of_all(builder: Builder, lab: &Lab) -> Builder {
    let builder = builder.on_completed(noted(lab)).on_failed(noted(lab));
    builder.on_cancelled(noted(lab)).on_stuck(noted(lab))
}

on_each_store! {
    async fn each_end_is_told(place: Place) {
        let lab = Lab::new();
        let engine = told_of_all(place.builder(&lab), &lab).open().await.unwrap();
        for (how, id) in [(0, "a"), (1, "b"), (2, "c")] {
            engine.start(ends, how).id(id).await.unwrap();
        }
        engine.get_run::<(), Error>("c").cancel("enough").await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        client.start(ends, 3).id("d").await.unwrap();
        for told in ["a completed", "b failed", "c cancelled", "d stuck"] {
            lab.executed(told, 1).await;
        }
    }

    async fn an_end_that_could_not_be_told_is_told_again_also_after_a_crash(place: Place) {
        let lab = Lab::new();
        let (calls, asked) = (Arc::new(AtomicUsize::new(0)), Lab::new());
        let (counted, noting) = (calls.clone(), asked.clone());
        let fails = move |_: RunInfo| {
            noting.note("asked");
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => panic!("on purpose"),
                _ => std::future::ready(Err(Error::new("not now"))),
            }
        };
        let engine = place.builder(&lab).on_completed(fails).open().await.unwrap();
        let run = engine.start(ends, 0).id("a").await.unwrap();
        (&run).await.unwrap();
        asked.executed("asked", 2).await;
        drop((run, engine));
        let engine = told_of_all(place.builder(&lab), &lab).open().await.unwrap();
        lab.executed("a completed", 1).await;
        assert_eq!(engine.get_run::<(), Error>("a").status().await.unwrap(), Status::Completed);
        let store = place.store();
        while !store.notices(&[Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck], 0, 10).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
