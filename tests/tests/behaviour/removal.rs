//! Deleting runs (`deleteWorkflowRunById` of the reference), and retention of ended runs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use workflow_runtime::store::{Answer, Budget, Clean, CleanAnswer, Write};
use workflow_runtime::{
    Code, Engine, Error, Result, Retention, Run, RunInfo, Status, hook, set_attribute, set_state, step, workflow,
    writer,
};

use crate::support::{Faulty, Lab, ManualClock, Place, soon};

const START: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: Duration = Duration::from_secs(3600);

#[step]
async fn noted(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    Ok(name)
}

/// Keeps running when its run is cancelled.
#[step]
fn stubborn(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    tokio::runtime::Handle::current().block_on(lab.pass_gate(&name));
    lab.note("went on");
    Ok(name)
}

#[workflow]
async fn ends(how: u32) -> Result<String> {
    match how {
        0 => noted("done".into()).await,
        1 => Err(Error::fatal("on purpose")),
        _ => hook::<String>().token("answer").await,
    }
}

#[workflow]
async fn with_everything(name: String) -> Result<String> {
    set_state(&name)?;
    set_attribute("name", &name)?;
    writer("lines").write(&name).await?;
    ends(0).await?;
    noted(name).await
}

#[workflow]
async fn is_slow(name: String) -> Result<String> {
    stubborn(name).await
}

#[workflow]
async fn writes_chunks(chunks: u32) -> Result<()> {
    let numbers = writer("numbers");
    for number in 0..chunks {
        numbers.write(&number).await?;
    }
    Ok(())
}

#[workflow]
async fn waits_for(run: Run<String>) -> Result<String> {
    noted("asks".into()).await?;
    run.await
}

/// Takes payloads until a payload is 0.
#[workflow]
async fn takes(token: String) -> Result<u32> {
    let mut payloads = hook::<u32>().token(token).open();
    let mut taken = 0;
    while let Some(payload) = payloads.next().await {
        if payload? == 0 {
            break;
        }
        taken += 1;
    }
    Ok(taken)
}

/// The number of stored keys of messages and of deliveries without a key of their own.
async fn known_keys(place: &Place) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM dedupe) + (SELECT count(*) FROM deliveries)";
    match place {
        Place::Memory(store) => i64::try_from(format!("{store:?}").matches("letter/").count()).unwrap(),
        Place::Sqlite(directory) => {
            let connection = rusqlite::Connection::open(directory.path().join("runs.db")).unwrap();
            connection.query_row(sql, (), |row| row.get(0)).unwrap()
        }
        Place::Postgres(_) => place.database().await.query_one(sql, &[]).await.unwrap().get(0),
    }
}

/// Waits until `what` is true. Advances the clock meanwhile, because the clean-up pauses between its parts.
async fn until(clock: &ManualClock, mut now: u64, mut what: impl AsyncFnMut() -> bool) {
    soon(async {
        while !what().await {
            now += 100;
            clock.set(now);
            workflow_harness::pause().await;
        }
    })
    .await;
}

async fn ids(engine: &Engine) -> Vec<String> {
    let mut ids: Vec<String> = engine.runs().stream().map_ok(|run| run.id).try_collect().await.unwrap();
    ids.sort();
    ids
}

/// An engine with this retention, on a clock.
async fn keeping(place: &Place, clock: &ManualClock, retention: Retention) -> Engine {
    let builder = place.builder_at(&Lab::new(), clock).retain(retention);
    builder.open().await.unwrap()
}

async fn ended(engine: &Engine, how: u32, id: &str) {
    let run = engine.start(ends, how).id(id).await.unwrap();
    if how == 2 {
        assert!(soon(run.cancel("enough")).await.unwrap());
    }
    let _ = soon(run).await;
}

on_each_store! {
    async fn delete_workflow_run_by_id(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(with_everything, "first".into()).id("r").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "first");
        let children = run.children().await.unwrap();
        run.delete().await.unwrap();
        assert!(!run.exists().await.unwrap());
        let codes = [
            run.status().await.unwrap_err().code(),
            (&run).await.unwrap_err().code(),
            run.attributes().await.unwrap_err().code(),
            run.state::<String>().await.unwrap_err().code(),
            run.streams().await.unwrap_err().code(),
            run.cancel("late").await.unwrap_err().code(),
            run.delete().await.unwrap_err().code(),
        ];
        assert_eq!(codes, [Code::RunNotFound; 7]);
        // The id is free, also for other arguments. The new run gets new children, because those of the deleted run
        // still exist.
        let run = engine.start(with_everything, "second".into()).id("r").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "second");
        assert_eq!((lab.count("first"), lab.count("second"), lab.count("done")), (1, 1, 2));
        assert_eq!(run.children().await.unwrap().len(), 2);
        let lines: Vec<_> = run.stream::<String>("lines").map_ok(|line| line.value).try_collect().await.unwrap();
        assert_eq!(lines, ["second"]);
        let child: Run<String> = engine.get_run(&children[0]);
        assert_eq!(child.info().await.unwrap().parent.as_deref(), Some("r"));
        assert_eq!(child.await.unwrap(), "done");
    }

    async fn deleting_an_unfinished_run_is_an_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(ends, 2).id("r").await.unwrap();
        let error = run.delete().await.unwrap_err();
        assert_eq!((error.code(), error.run_id()), (Code::NotEnded, Some("r")));
        assert!(format!("{error:?}").contains("suspended"), "{error:?}");
        engine.resume_hook("answer", "yes").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "yes");
        // Another process deletes the run.
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        client.get_run::<String, Error>("r").delete().await.unwrap();
        assert!(!run.exists().await.unwrap());
        let error = engine.resume_hook("answer", "again").await.unwrap_err();
        assert_eq!(error.code(), Code::HookNotFound);
    }

    async fn a_late_step_of_a_deleted_run_does_not_change_its_successor(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(is_slow, "first".into()).id("r").await.unwrap();
        soon(lab.executed("first", 1)).await;
        assert!(soon(run.cancel("it takes too long")).await.unwrap());
        run.delete().await.unwrap();
        let run = engine.start(is_slow, "second".into()).id("r").await.unwrap();
        soon(lab.executed("second", 1)).await;
        lab.open_gate("first");
        soon(lab.executed("went on", 1)).await;
        assert_eq!(run.status().await.unwrap(), Status::Running);
        lab.open_gate("second");
        assert_eq!(soon(&run).await.unwrap(), "second");
        assert!(!place.journal("r").await.concat().contains("first"));
    }

    async fn a_reader_of_a_deleted_run_gets_an_error_instead_of_an_end(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(writes_chunks, 1_000).id("r").await.unwrap();
        let mut numbers = run.stream::<u32>("numbers");
        let mut read = 0;
        while read < 10 {
            assert_eq!(soon(numbers.next()).await.unwrap().unwrap().value, read);
            read += 1;
        }
        soon(&run).await.unwrap();
        run.delete().await.unwrap();
        // The reader returns the chunks that it has already fetched, then an error.
        let error = loop {
            match soon(numbers.next()).await.unwrap() {
                Ok(_) => read += 1,
                Err(error) => break error,
            }
        };
        assert!(read < 1_000);
        assert_eq!((error.code(), error.run_id()), (Code::RunNotFound, Some("r")));
        assert!(soon(numbers.next()).await.is_none());
    }

    async fn waiting_for_a_deleted_run_is_an_error_unless_its_end_was_sent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(ends, 2).id("r").await.unwrap();
        let early = engine.start(waits_for, run.clone()).await.unwrap();
        soon(lab.executed("asks", 1)).await;
        crate::support::recorded(&place, early.id(), "watch").await;
        engine.resume_hook("answer", "yes").await.unwrap();
        soon(&run).await.unwrap();
        run.delete().await.unwrap();
        assert_eq!(soon(&early).await.unwrap(), "yes");
        let late = engine.start(waits_for, run).await.unwrap();
        assert_eq!(soon(late).await.unwrap_err().code(), Code::RunNotFound);
    }

    async fn the_engine_removes_the_remaining_rows_of_a_long_deleted_run(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        // More chunks than one cleaning transaction removes.
        let run = engine.start(writes_chunks, 5_200).await.unwrap();
        soon(&run).await.unwrap();
        run.delete().await.unwrap();
        // This write reports whether rows are left, and removes none.
        let nothing = Budget { rows: 0, bytes: 0 };
        let ask = [Write::Clean(Clean { expired: Vec::new(), now: 0, messages_before: 0, runs: 1, most: nothing })];
        let store = place.store();
        soon(async {
            while store.commit(&ask).await.unwrap() != [Answer::Clean(CleanAnswer { more: false })] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn runs_are_kept_as_long_as_the_retention_sets(place: Place) {
        let clock = ManualClock::at(START);
        let engine = keeping(&place, &clock, Retention::new().completed(HOUR).failed(2 * HOUR)).await;
        for (how, id) in [(0, "completed"), (1, "failed"), (2, "cancelled")] {
            ended(&engine, how, id).await;
        }
        let going = engine.start(ends, 2).id("going").await.unwrap();
        let now = START + 30 * MINUTE;
        clock.set(now);
        ended(&engine, 0, "later").await;
        let now = START + 70 * MINUTE;
        until(&clock, now, async || !engine.get_run::<(), Error>("completed").exists().await.unwrap()).await;
        assert_eq!(ids(&engine).await, ["cancelled", "failed", "going", "later"]);
        let now = START + 130 * MINUTE;
        until(&clock, now, async || ids(&engine).await == ["cancelled", "going"]).await;
        engine.resume_hook("answer", "yes").await.unwrap();
        assert_eq!(soon(going).await.unwrap(), "yes", "unfinished runs are kept");
        clock.set(START + 100_000 * MINUTE);
        until(&clock, START + 100_000 * MINUTE, async || ids(&engine).await == ["cancelled"]).await;
    }

    async fn the_newest_runs_of_a_status_are_kept_regardless_of_age(place: Place) {
        let clock = ManualClock::at(START);
        let retention = Retention::new().most(Status::Completed, 2).most(Status::Failed, 0);
        let engine = keeping(&place, &clock, retention).await;
        for (how, id) in [(0, "a"), (1, "b"), (0, "c"), (0, "d"), (2, "e"), (0, "f")] {
            ended(&engine, how, id).await;
        }
        until(&clock, START + 5 * MINUTE, async || ids(&engine).await == ["d", "e", "f"]).await;
        until(&clock, START + 500 * MINUTE, async || ids(&engine).await == ["d", "e", "f"]).await;
    }

    async fn several_engines_remove_many_runs_in_small_parts(place: Place) {
        let clock = ManualClock::at(START);
        let engine = place.builder_at(&Lab::new(), &clock).open().await.unwrap();
        let runs = join_all((0..450).map(|_| engine.start(ends, 0).into_future())).await;
        join_all(runs.into_iter().map(|run| run.unwrap().into_future())).await;
        engine.shutdown().await.unwrap();
        clock.set(START + 120 * MINUTE);
        let most: Arc<std::sync::Mutex<u64>> = Arc::default();
        let mut fleet = Vec::new();
        for _ in 0..3 {
            let store = Faulty::new(place.store());
            let (most, seen) = (most.clone(), store.clone());
            seen.plan(move |group| {
                for write in group {
                    if let Write::Clean(Clean { runs, .. }) = write {
                        let mut most = most.lock().unwrap();
                        *most = (*most).max(*runs as u64);
                    }
                }
                None
            });
            let builder = place.builder(&Lab::new()).store(Arc::new(store)).environment(Arc::new(clock.clone()));
            fleet.push(builder.retain(Retention::new().completed(HOUR)).open().await.unwrap());
        }
        until(&clock, START + 121 * MINUTE, async || ids(&fleet[0]).await.is_empty()).await;
        assert_eq!(*most.lock().unwrap(), 100);
    }

    async fn a_run_is_kept_until_its_callbacks_have_returned(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let noting = lab.clone();
        let notified = move |run: RunInfo| {
            let lab = noting.clone();
            async move {
                lab.note("asked");
                lab.pass_gate("notified").await;
                lab.note(&run.id);
                Ok(())
            }
        };
        let builder = place.builder_at(&Lab::new(), &clock).on_completed(notified);
        let engine = builder.retain(Retention::new().most(Status::Completed, 0).most(Status::Failed, 0)).open().await.unwrap();
        ended(&engine, 0, "a").await;
        ended(&engine, 1, "b").await;
        soon(lab.executed("asked", 1)).await;
        until(&clock, START + 5 * MINUTE, async || ids(&engine).await == ["a"]).await;
        lab.open_gate("notified");
        // The engine may have given up the callback meanwhile, and then calls it again.
        until(&clock, START + 20 * MINUTE, async || lab.count("a") == 1).await;
        until(&clock, START + 50 * MINUTE, async || ids(&engine).await.is_empty()).await;
        assert_eq!(lab.count("a"), 1);
    }

    async fn a_callback_can_delete_its_run(place: Place) {
        let lab = Lab::new();
        let cell: Arc<OnceLock<Engine>> = Arc::default();
        let (at, noting) = (cell.clone(), lab.clone());
        let deletes = move |run: RunInfo| {
            let (engine, lab) = (at.get().unwrap().clone(), noting.clone());
            async move {
                engine.get_run::<(), Error>(&run.id).delete().await?;
                lab.note(&run.id);
                Ok(())
            }
        };
        let engine = place.builder(&lab).on_completed(deletes).open().await.unwrap();
        cell.set(engine.clone()).unwrap_or_else(|_| unreachable!("the cell is empty"));
        for id in ["a", "b"] {
            let run = engine.start(ends, 0).id(id).await.unwrap();
            let ended = soon(&run).await;
            assert!(ended.is_ok() || ended.is_err_and(|error| error.code() == Code::RunNotFound));
            soon(lab.executed(id, 1)).await;
            assert!(!run.exists().await.unwrap());
        }
        assert_eq!(lab.notes().iter().filter(|note| *note != "done").count(), 2, "one callback for each run");
    }

    async fn concurrent_deletes_cancels_and_starts_of_an_id_leave_at_most_one_run(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        for round in 0..20 {
            let id = format!("r{}", round % 2);
            let run: Run<String> = client.get_run(&id);
            let start = || async { engine.start(ends, 0).id(&id).await.map(drop) };
            let delete = || async {
                match run.delete().await {
                    Err(error) if ![Code::RunNotFound, Code::NotEnded].contains(&error.code()) => panic!("{error:?}"),
                    _ => {}
                }
            };
            let cancel = async {
                match run.cancel("enough").await {
                    Err(error) if error.code() != Code::RunNotFound => panic!("{error:?}"),
                    _ => {}
                }
            };
            soon(async {
                let (first, (), (), second, (), ()) =
                    tokio::join!(biased; start(), delete(), cancel, start(), delete(), delete());
                first.unwrap();
                second.unwrap();
            })
            .await;
            if run.exists().await.unwrap() {
                // Another caller may delete the run during the wait, and start it again.
                let _ = soon(&run).await;
            }
        }
    }

    async fn generated_keys_of_payloads_are_kept_for_an_hour(place: Place) {
        let clock = ManualClock::at(START);
        let engine = place.builder_at(&Lab::new(), &clock).open().await.unwrap();
        let run = engine.start(takes, "t".into()).opens("t").await.unwrap();
        for payload in 1..=20u32 {
            engine.resume_hook("t", &payload).await.unwrap();
            run.wake_up().await.unwrap();
        }
        let cancelled = engine.start(takes, "other".into()).await.unwrap();
        assert!(soon(cancelled.cancel("enough")).await.unwrap());
        assert!(known_keys(&place).await > 40);
        let now = START + 61 * MINUTE;
        clock.set(now);
        until(&clock, now, async || known_keys(&place).await == 0).await;
        engine.resume_hook("t", &0u32).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 20);
    }

    async fn a_run_cancelled_before_its_first_turn_keeps_only_its_arguments(place: Place) {
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        let run = client.start(takes, "t".into()).id("r").await.unwrap();
        let cancel = tokio::spawn({
            let run = run.clone();
            async move { run.cancel("it is not needed").await }
        });
        soon(async {
            while place.inbox("r").await < 2 {
                workflow_harness::pause().await;
            }
        })
        .await;
        let engine = place.open(&Lab::new()).await;
        assert!(soon(cancel).await.unwrap().unwrap());
        // The start message stays for a retry.
        assert_eq!(place.inbox("r").await, 1);
        assert!(run.cancel("again").await.unwrap());
        assert_eq!(place.inbox("r").await, 1);
        run.retry().await.unwrap();
        engine.resume_hook("t", &0u32).hold_for(HOUR).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 0);
        run.delete().await.unwrap();
    }

    async fn a_retention_for_an_unfinished_status_is_refused(place: Place) {
        let retention = Retention::new().most(Status::Suspended, 5);
        let error = place.builder(&Lab::new()).retain(retention).open().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidName);
    }
}
