//! Callbacks for the ends of runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures::future::join_all;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor};
use workflow_runtime::{Builder, Engine, Error, Result, RunInfo, Status, hook, step, workflow};

use crate::support::spans::{open, spans};
use crate::support::{Lab, ManualClock, Place, soon};

#[workflow]
async fn ends(how: u32) -> Result<()> {
    match how {
        0 => Ok(()),
        1 => Err(Error::fatal("on purpose")),
        2 => hook::<()>().await,
        _ => panic!("on purpose"),
    }
}

#[workflow]
async fn panics_when_asked() -> Result<()> {
    hook::<()>().token("panic").await?;
    panic!("on purpose")
}

/// Fails until the test has noted `repaired`.
#[step(queue = "callbacks", retries = 0)]
async fn breaks(#[resource] lab: &Lab) -> Result<()> {
    if lab.count("repaired") == 0 { Err(Error::new("it is broken")) } else { Ok(()) }
}

#[workflow]
async fn continues(left: u32) -> Result<()> {
    match left {
        0 => breaks().await,
        left => continues(left - 1).continue_as_new().await,
    }
}

fn noted(lab: &Lab) -> impl Fn(RunInfo) -> std::future::Ready<Result<()>> + Send + Sync + 'static {
    let lab = lab.clone();
    move |run| {
        lab.note(&format!("{} {}", run.id, run.status));
        std::future::ready(Ok(()))
    }
}

fn with_all_callbacks(builder: Builder, lab: &Lab) -> Builder {
    let builder = builder.on_completed(noted(lab)).on_failed(noted(lab));
    builder.on_cancelled(noted(lab)).on_stuck(noted(lab))
}

on_each_store! {
    async fn each_end_calls_its_callback(place: Place) {
        let lab = Lab::new();
        let engine = with_all_callbacks(place.builder(&lab), &lab).open().await.unwrap();
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

    async fn each_end_of_a_run_that_is_retried_forked_or_continued_calls_its_callback_once(place: Place) {
        let lab = Lab::new();
        let noting = lab.clone();
        let waits = move |run: RunInfo| {
            let lab = noting.clone();
            async move {
                lab.pass_gate("callback").await;
                lab.note(&format!("{} {}", run.id, run.status));
                Ok(())
            }
        };
        let builder = with_all_callbacks(place.builder(&lab), &lab).queue("callbacks", 1);
        let engine = builder.on_failed(waits).open().await.unwrap();
        let run = engine.start(continues, 2).id("a").await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "it is broken");
        soon(lab.executed("a failed", 1)).await;
        // The second callback for the failure has not returned yet.
        lab.note("repaired");
        run.retry().await.unwrap();
        soon(&run).await.unwrap();
        soon(lab.executed("a completed", 1)).await;
        let fork = run.fork(0).id("fork").await.unwrap();
        soon(&fork).await.unwrap();
        soon(lab.executed("fork completed", 1)).await;
        lab.open_gate("callback");
        soon(lab.executed("a failed", 2)).await;
        engine.shutdown().await.unwrap();
        no_notices_are_left(&place).await;
        // Neither the generations nor the runs of the step have callbacks.
        assert_eq!(lab.notes(), ["a failed", "repaired", "a completed", "fork completed", "a failed"]);
    }

    async fn a_failed_callback_is_called_again_also_after_a_crash(place: Place) {
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
        let engine = with_all_callbacks(place.builder(&lab), &lab).open().await.unwrap();
        lab.executed("a completed", 1).await;
        assert_eq!(engine.get_run::<(), Error>("a").status().await.unwrap(), Status::Completed);
        no_notices_are_left(&place).await;
    }

    async fn an_on_stuck_callback_that_cancels_the_run_causes_a_second_callback(place: Place) {
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
        cell.set(engine).unwrap_or_else(|_| unreachable!("the cell is empty"));
        let client = place.builder(&lab).connect().await.unwrap();
        client.start(ends, 3).id("a").await.unwrap();
        soon(lab.executed("a cancelled", 1)).await;
        assert_eq!(lab.notes(), ["a stuck", "a cancelled"]);
    }

    async fn failing_callbacks_do_not_delay_others(place: Place) {
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
        // More than one query of notices returns.
        let bad = join_all((0..260).map(|number| engine.start(ends, 0).id(format!("bad {number}")).into_future())).await;
        assert!(bad.iter().all(Result::is_ok));
        engine.start(ends, 0).id("good").await.unwrap();
        soon(lab.executed("good", 1)).await;
    }

    async fn an_engine_leaves_notices_without_a_callback_to_other_engines(place: Place) {
        let (lab, asked) = (Lab::new(), Lab::new());
        let noting = asked.clone();
        let fails = move |_: RunInfo| {
            noting.note("asked");
            std::future::ready(Err(Error::new("not now")))
        };
        let clock = ManualClock::at(1_000_000);
        let engine = place.builder_at(&lab, &clock).on_completed(fails).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap().await.unwrap();
        soon(asked.executed("asked", 1)).await;
        engine.shutdown().await.unwrap();
        // The callback for `a` is due again at this time.
        clock.set(2_000_000);
        let engine = place.builder_at(&lab, &clock).on_failed(noted(&lab)).open().await.unwrap();
        engine.start(ends, 0).id("b").await.unwrap().await.unwrap();
        engine.start(ends, 1).id("c").await.unwrap();
        soon(lab.executed("c failed", 1)).await;
        engine.shutdown().await.unwrap();
        let _engine = place.builder_at(&lab, &clock).on_completed(noted(&lab)).open().await.unwrap();
        soon(lab.executed("a completed", 1)).await;
        // No engine had a callback for this run when it ended.
        assert_eq!(lab.count("b completed"), 0);
    }

    async fn an_engine_that_exports_spans_and_has_no_callbacks_takes_no_notices(place: Place) {
        let (lab, asked) = (Lab::new(), Lab::new());
        let noting = asked.clone();
        let fails = move |_: RunInfo| {
            noting.note("asked");
            std::future::ready(Err(Error::new("not now")))
        };
        let clock = ManualClock::at(1_000_000);
        let engine = place.builder_at(&lab, &clock).on_completed(fails).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap().await.unwrap();
        soon(asked.executed("asked", 1)).await;
        engine.shutdown().await.unwrap();
        // The claim of the notice has expired.
        clock.set(2_000_000);
        let exporter = InMemorySpanExporter::default();
        let processor = SimpleSpanProcessor::new(exporter.clone());
        let engine = place.builder_at(&lab, &clock).span_processor(processor).open().await.unwrap();
        for id in ["b", "c"] {
            engine.start(ends, 0).id(id).await.unwrap().await.unwrap();
            spans(&exporter, id).await;
        }
        engine.shutdown().await.unwrap();
        let engine = with_all_callbacks(place.builder_at(&lab, &clock), &lab).open().await.unwrap();
        soon(lab.executed("a completed", 1)).await;
        no_notices_are_left(&place).await;
        engine.shutdown().await.unwrap();
        assert_eq!(lab.notes(), ["a completed"]);
    }

    async fn callbacks_are_called_once_beside_an_engine_that_exports_spans(place: Place) {
        let lab = Lab::new();
        let noting = lab.clone();
        let waits = move |run: RunInfo| {
            let lab = noting.clone();
            async move {
                lab.note(&run.id);
                lab.pass_gate("callbacks").await;
                Ok(())
            }
        };
        let calls = place.builder(&lab).on_completed(waits).open().await.unwrap();
        let (exports, exporter) = open(&place, &lab).await;
        // More than the engine calls concurrently, so that some notices are claimed and others are not.
        for number in 0..20 {
            calls.start(ends, 0).id(format!("r{number}")).await.unwrap().await.unwrap();
        }
        // On PostgreSQL the other engine executes this run. On other stores it only starts it.
        exports.start(ends, 0).id("other").await.unwrap().await.unwrap();
        if matches!(place, Place::Postgres(_)) {
            spans(&exporter, "other").await;
        }
        lab.open_gate("callbacks");
        for number in 0..20 {
            soon(lab.executed(&format!("r{number}"), 1)).await;
        }
        no_notices_are_left(&place).await;
        calls.shutdown().await.unwrap();
        exports.shutdown().await.unwrap();
        for number in 0..20 {
            assert_eq!(lab.count(&format!("r{number}")), 1);
        }
    }

    async fn a_failed_callback_is_called_again_later_with_the_recorded_status(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000_000));
        let noting = lab.clone();
        let fails = move |run: RunInfo| {
            noting.note(&format!("{} {}", run.id, run.status));
            std::future::ready(Err(Error::new("not now")))
        };
        let engine = place.builder_at(&lab, &clock).on_stuck(fails).on_completed(noted(&lab)).open().await.unwrap();
        engine.start(panics_when_asked, ()).id("bad").await.unwrap();
        engine.resume_hook("panic", &()).await.unwrap();
        soon(lab.executed("bad stuck", 1)).await;
        assert!(engine.get_run::<(), Error>("bad").cancel("it is stuck").await.unwrap());
        for (calls, later) in [(1, 600), (2, 1_100)] {
            for number in 0..4 {
                let id = format!("good {calls} {number}");
                engine.start(ends, 0).id(id.clone()).await.unwrap();
                soon(lab.executed(&format!("{id} completed"), 1)).await;
            }
            assert_eq!(lab.count("bad stuck"), calls, "the next call is not due");
            clock.pass(later);
            soon(lab.executed("bad stuck", calls + 1)).await;
        }
    }

    async fn a_callback_that_does_not_return_is_called_again_after_45_seconds(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000_000));
        let noting = lab.clone();
        let hangs_once = move |run: RunInfo| {
            let hangs = noting.note(&format!("{} begins", run.id)) == 1 && &*run.id == "a";
            async move { if hangs { std::future::pending().await } else { Ok(()) } }
        };
        let engine = place.builder_at(&lab, &clock).on_completed(hangs_once).on_completed(noted(&lab)).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap();
        soon(lab.executed("a begins", 1)).await;
        clock.pass(44_900);
        // A later end is notified meanwhile: the first call has not returned.
        engine.start(ends, 0).id("b").await.unwrap();
        soon(lab.executed("b completed", 1)).await;
        assert_eq!(lab.count("a begins"), 1);
        clock.pass(100);
        soon(async {
            while lab.count("a begins") < 2 {
                workflow_harness::pause().await;
                clock.pass(10);
            }
        })
        .await;
        no_notices_are_left(&place).await;
        assert_eq!((lab.count("a begins"), lab.count("a completed")), (2, 1));
    }

    async fn a_notice_that_a_dead_engine_has_claimed_is_free_after_60_seconds(place: Place) {
        let (lab, asked, clock) = (Lab::new(), Lab::new(), ManualClock::at(1_000_000));
        let noting = asked.clone();
        let never = move |_: RunInfo| {
            noting.note("asked");
            std::future::pending::<Result<()>>()
        };
        let engine = place.builder_at(&lab, &clock).on_completed(never).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap();
        soon(asked.executed("asked", 1)).await;
        drop(engine);
        clock.pass(60_000);
        let store = place.store();
        while store.acquire(1).await.unwrap().is_none() {
            workflow_harness::pause().await;
        }
        let _heir = with_all_callbacks(place.builder_at(&lab, &clock), &lab).open().await.unwrap();
        soon(async {
            while lab.count("a completed") == 0 {
                workflow_harness::pause().await;
                clock.pass(1);
            }
        })
        .await;
        no_notices_are_left(&place).await;
    }

    async fn of_several_engines_one_calls_the_callbacks_for_an_end(place: Place) {
        let lab = Lab::new();
        let open = || with_all_callbacks(place.builder(&lab), &lab).open();
        let engines = [open().await.unwrap(), open().await.unwrap(), open().await.unwrap()];
        let start = |number: u32| engines[number as usize % 3].start(ends, number % 2).id(format!("r{number}")).into_future();
        assert!(join_all((0..60).map(start)).await.iter().all(Result::is_ok));
        let said = |number: u32| format!("r{number} {}", if number.is_multiple_of(2) { "completed" } else { "failed" });
        for number in 0..60 {
            soon(lab.executed(&said(number), 1)).await;
        }
        no_notices_are_left(&place).await;
        for engine in &engines {
            engine.shutdown().await.unwrap();
        }
        assert_eq!(lab.notes().len(), 60, "{:?}", lab.notes());
    }

    async fn an_idle_engine_calls_the_callbacks_that_another_engine_has_left(place: Place) {
        let (lab, asked) = (Lab::new(), Lab::new());
        let noting = asked.clone();
        let never = move |_: RunInfo| {
            noting.note("asked");
            std::future::pending::<Result<()>>()
        };
        let engine = place.builder(&lab).on_completed(never).open().await.unwrap();
        let heir = with_all_callbacks(place.builder(&lab), &lab).open().await.unwrap();
        // More than the engine calls concurrently, so that some notices are claimed and others are not.
        for number in 0..20 {
            engine.start(ends, 0).id(format!("r{number}")).await.unwrap();
        }
        soon(asked.executed("asked", 1)).await;
        drop(engine);
        for number in 0..20 {
            soon(lab.executed(&format!("r{number} completed"), 1)).await;
        }
        no_notices_are_left(&place).await;
        heir.shutdown().await.unwrap();
    }

    async fn a_shutdown_waits_for_running_callbacks(place: Place) {
        let (lab, calls) = (Lab::new(), Lab::new());
        let noting = calls.clone();
        let slow = move |run: RunInfo| {
            let lab = noting.clone();
            async move {
                lab.note(&run.id);
                lab.pass_gate("slow").await;
                Ok(())
            }
        };
        let engine = place.builder(&lab).on_completed(slow).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap().await.unwrap();
        soon(calls.executed("a", 1)).await;
        let shutdown = tokio::spawn({
            let engine = engine.clone();
            async move { engine.shutdown().await }
        });
        // The engine refuses new runs, and the callback has not returned.
        while engine.start(ends, 0).await.is_ok() {
            workflow_harness::pause().await;
        }
        calls.open_gate("slow");
        soon(shutdown).await.unwrap().unwrap();
        let _next = with_all_callbacks(place.builder(&lab), &lab).open().await.unwrap();
        no_notices_are_left(&place).await;
        assert_eq!(lab.count("a completed"), 0, "the first engine has called the callback");
    }

    async fn all_callbacks_for_an_end_are_called_again_if_one_has_failed(place: Place) {
        let lab = Lab::new();
        let noting = lab.clone();
        let fails_once = move |run: RunInfo| {
            let first = noting.note(&format!("{} fails", run.id)) == 1;
            std::future::ready(if first { Err(Error::new("not now")) } else { Ok(()) })
        };
        let engine = place.builder(&lab).on_completed(noted(&lab)).on_completed(fails_once).open().await.unwrap();
        engine.start(ends, 0).id("a").await.unwrap();
        soon(lab.executed("a fails", 2)).await;
        no_notices_are_left(&place).await;
        assert_eq!(lab.notes(), ["a completed", "a fails", "a completed", "a fails"]);
    }
}

/// Waits until the callbacks for all ends have been called.
async fn no_notices_are_left(place: &Place) {
    let all = [Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck];
    let store = place.store();
    soon(async {
        while !store.notices(&all, 0, 10).await.unwrap().is_empty() {
            workflow_harness::pause().await;
        }
    })
    .await;
}
