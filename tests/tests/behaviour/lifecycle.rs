//! Who wants to know how runs end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures::future::join_all;
use workflow_runtime::{Builder, Engine, Error, Result, RunInfo, Status, hook, workflow};

use crate::support::{Lab, soon};

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
    async fn a_run_that_is_cancelled_by_who_is_told_that_it_is_stuck_is_told_twice(place: Place) {
        let lab = Lab::new();
        let cell: Arc<OnceLock<Engine>> = Arc::default();
        let (at, noting) = (cell.clone(), lab.clone());
        let cancels = move |run: RunInfo| {
            let (engine, lab) = (at.get().unwrap().clone(), noting.clone());
            async move {
                lab.note(&format!("{} {}", run.id, run.status));
                assert!(engine.get_run::<(), Error>(run.id).cancel("it is stuck").await?);
                Ok(())
            }
        };
        let engine = place.builder(&lab).on_stuck(cancels).on_cancelled(noted(&lab)).open().await.unwrap();
        cell.set(engine).unwrap_or_else(|_| unreachable!("it is empty"));
        let client = place.builder(&lab).connect().await.unwrap();
        client.start(ends, 3).id("a").await.unwrap();
        soon(lab.executed("a cancelled", 1)).await;
        assert_eq!(lab.notes(), ["a stuck", "a cancelled"]);
    }

    async fn ends_that_cannot_be_told_hold_up_no_others(place: Place) {
        let lab = Lab::new();
        let noting = lab.clone();
        let told = move |run: RunInfo| {
            let bad = run.id.starts_with("bad");
            if !bad {
                noting.note(&run.id);
            }
            std::future::ready(if bad { Err(Error::new("not now")) } else { Ok(()) })
        };
        let engine = place.builder(&lab).on_completed(told).open().await.unwrap();
        // More than are looked for at once.
        let bad = join_all((0..260).map(|number| engine.start(ends, 0).id(format!("bad {number}")).into_future())).await;
        assert!(bad.iter().all(Result::is_ok));
        engine.start(ends, 0).id("good").await.unwrap();
        soon(lab.executed("good", 1)).await;
    }

    async fn what_an_engine_has_no_function_for_is_left_to_one_that_has(place: Place) {
        let (lab, asked) = (Lab::new(), Lab::new());
        let noting = asked.clone();
        let fails = move |_: RunInfo| {
            noting.note("asked");
            std::future::ready(Err(Error::new("not now")))
        };
        let engine = place.builder(&lab).on_completed(fails).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap().await.unwrap();
        soon(asked.executed("asked", 1)).await;
        drop(engine);
        let engine = place.builder(&lab).on_failed(noted(&lab)).open().await.unwrap();
        engine.start(ends, 0).id("b").await.unwrap().await.unwrap();
        engine.start(ends, 1).id("c").await.unwrap();
        soon(lab.executed("c failed", 1)).await;
        engine.shutdown().await.unwrap();
        drop(engine);
        let _engine = place.builder(&lab).on_completed(noted(&lab)).open().await.unwrap();
        soon(lab.executed("a completed", 1)).await;
        // Nobody had asked for this one.
        assert_eq!(lab.count("b completed"), 0);
    }
}
