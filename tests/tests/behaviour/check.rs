//! The check of unfinished runs before a deploy.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Deserializer, Serialize};
use workflow_harness::disk::Disk;
use workflow_runtime::testing::TestEngine;
use workflow_runtime::{
    Client, Code, Engine, Error, Journal, Result, Status, hook, patched, run_id, sleep, step, workflow,
};

use crate::support::{Lab, Place, soon};

/// The tests whose code has changed since their runs were recorded.
static CHANGED: Mutex<Option<HashSet<String>>> = Mutex::new(None);
static CHANGE: Condvar = Condvar::new();

fn is_changed(test: &str) -> bool {
    CHANGED.lock().unwrap().as_ref().is_some_and(|changed| changed.contains(test))
}

fn change(test: &str) {
    CHANGED.lock().unwrap().get_or_insert_default().insert(test.to_owned());
    CHANGE.notify_all();
}

fn change_back(test: &str) {
    CHANGED.lock().unwrap().get_or_insert_default().remove(test);
}

/// A unique name for a test.
fn unique() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("test {}", NUMBER.fetch_add(1, Ordering::SeqCst))
}

#[step]
async fn add(#[resource] lab: &Lab, n: u64) -> Result<u64> {
    lab.note("add");
    Ok(n + 1)
}

#[step]
async fn multiply(#[resource] lab: &Lab, n: u64) -> Result<u64> {
    lab.note("multiply");
    Ok(n * 2)
}

#[step]
async fn hold(#[resource] lab: &Lab, order: Order) -> Result<()> {
    lab.note("hold");
    lab.pass_gate(&order.0).await;
    Ok(())
}

/// The name of a test. After the test's change it no longer deserializes.
#[derive(Clone, Serialize)]
struct Order(String);

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let test = String::deserialize(deserializer)?;
        match is_changed(&test) {
            true => Err(serde::de::Error::custom("an order has a customer")),
            false => Ok(Order(test)),
        }
    }
}

#[workflow]
async fn computes_and_waits(test: String) -> Result<u64> {
    let sum = add(1).await?;
    let result = if is_changed(&test) { multiply(sum).await? } else { add(sum).await? };
    let more = hook::<u64>().token(format!("{test} waits")).await?;
    Ok(result + more)
}

#[workflow]
async fn is_patched(test: String) -> Result<u64> {
    let sum = if !is_changed(&test) || !patched("multiplies") { add(1).await? } else { multiply(1).await? };
    hook::<u64>().token(format!("{test} patched {}", run_id().unwrap_or_default())).await.map(|more| sum + more)
}

#[workflow]
async fn holds(test: String) -> Result<()> {
    hold(Order(test)).await
}

#[workflow]
async fn takes_an_order(test: String) -> Result<()> {
    let _order = hook::<Order>().token(format!("{test} order")).await?;
    Ok(())
}

#[workflow]
async fn sleeps() -> Result<()> {
    sleep(Duration::from_secs(3600)).await;
    Ok(())
}

#[workflow]
async fn has_a_child(test: String) -> Result<u64> {
    computes_and_waits(test).await
}

/// Blocks a replay, which runs on a thread of the runtime, until the test's code changes.
fn is_changed_in_a_replay(test: &str) -> bool {
    tokio::task::block_in_place(|| wait_for_the_change(test))
}

fn wait_for_the_change(test: &str) -> bool {
    change(&format!("{test} is replayed"));
    let mut changed = CHANGED.lock().unwrap();
    while !changed.as_ref().is_some_and(|changed| changed.contains(&format!("{test} ended"))) {
        changed = CHANGE.wait(changed).unwrap();
    }
    true
}

#[workflow]
async fn ends_while_it_is_checked(test: String) -> Result<u64> {
    if is_changed(&test) && is_changed_in_a_replay(&test) { multiply(1).await } else { hook().token(test).await }
}

/// A client on the store. It executes no runs.
async fn client(place: &Place) -> Client {
    Engine::builder().store(place.store()).connect().await.unwrap()
}

async fn suspended<T, E>(run: &workflow_runtime::Run<T, E>) {
    while run.status().await.unwrap() != Status::Suspended {
        workflow_harness::pause().await;
    }
}

on_each_store! {
    async fn a_check_finds_runs_compatible_and_changes_nothing(place: Place) {
        let (lab, test) = (Lab::new(), unique());
        let engine = place.open(&lab).await;
        let run = engine.start(computes_and_waits, test.clone()).id("computes").await.unwrap();
        suspended(&run).await;
        let sleeping = engine.start(sleeps, ()).id("sleeps").await.unwrap();
        let _holding = engine.start(holds, test.clone()).id("holds").await.unwrap();
        engine.create_run(sleeps).id("created").await.unwrap();
        engine.start(has_a_child, format!("{test} of a child")).id("parent").await.unwrap();
        lab.executed("add", 4).await;
        lab.executed("hold", 1).await;
        let report = soon(engine.runs().check()).await.unwrap();
        assert_eq!((report.checked, report.compatible, report.moved, report.incompatible), (6, 6, 0, 0), "{report}");
        assert!(report.is_compatible());
        engine.shutdown().await.unwrap();

        let (rows, notes) = (place.rows("computes").await, lab.notes().len());
        let client = client(&place).await;
        let report = soon(client.runs().check()).await.unwrap();
        assert_eq!((report.checked, report.compatible), (6, 6), "{report}");
        let report = soon(client.runs().of(sleeps).check()).await.unwrap();
        assert_eq!(report.checked, 2);
        let report = soon(client.runs().status(Status::Completed).check()).await.unwrap();
        assert_eq!(report.checked, 0);
        assert_eq!((place.rows("computes").await, lab.notes().len()), (rows, notes));
        assert_ne!(client.get_run::<(), Error>(sleeping.id()).status().await.unwrap(), Status::Completed);
    }

    async fn a_check_reports_a_diverging_run_and_does_not_change_it(place: Place) {
        let (lab, test) = (Lab::new(), unique());
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(computes_and_waits, test.clone()).id("changed").await.unwrap();
        let other = engine.start(computes_and_waits, format!("{test} same")).id("same").await.unwrap();
        suspended(&run).await;
        suspended(&other).await;
        change(&test);
        let report = soon(engine.runs().check()).await.unwrap();
        assert_eq!((report.checked, report.compatible, report.incompatible), (2, 1, 1), "{report}");
        let found = &report.runs[0];
        assert_eq!((&*found.run, found.error.code()), ("changed", Code::Nondeterminism));
        assert!(found.error.to_string().contains("journal"), "{report}");
        assert!(report.to_string().contains("2 unfinished runs: 1 compatible, 1 incompatible, 0 moved"), "{report}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["schema"], &json["runs"][0]["error"]["code"]), (&1.into(), &"nondeterminism".into()));
        let journal = run.export().await.unwrap();
        assert_eq!(journal.check().unwrap_err().code(), Code::Nondeterminism);
        assert_eq!(run.status().await.unwrap(), Status::Suspended, "a check does not make a run stuck");
        change_back(&test);
        engine.resume_hook(format!("{test} waits"), &10u64).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 13);
    }

    async fn a_check_counts_the_branches_of_a_patch(place: Place) {
        let (lab, test) = (Lab::new(), unique());
        let engine = place.builder(&lab).open().await.unwrap();
        let old = engine.start(is_patched, test.clone()).id("old").await.unwrap();
        suspended(&old).await;
        change(&test);
        for id in ["new 1", "new 2"] {
            let new = engine.start(is_patched, test.clone()).id(id).await.unwrap();
            suspended(&new).await;
        }
        let report = soon(engine.runs().check()).await.unwrap();
        assert_eq!((report.checked, report.compatible), (3, 3), "{report}");
        let runs = report.patches["multiplies"];
        assert_eq!((runs.old, runs.new), (1, 2));
        assert!(report.to_string().contains("patch `multiplies`: 1 runs on the old branch, 2 on the new one"), "{report}");
    }

    async fn a_check_decodes_the_arguments_of_a_step_without_a_result(place: Place) {
        let (lab, test) = (Lab::new(), unique());
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(holds, test.clone()).id("holds").await.unwrap();
        lab.executed("hold", 1).await;
        change(&test);
        let report = soon(engine.runs().check()).await.unwrap();
        assert_eq!((report.incompatible, report.runs[0].error.code()), (1, Code::Payload), "{report}");
        assert!(format!("{:?}", report.runs[0].error).contains("hold"), "{report}");
        assert_eq!(run.export().await.unwrap().check().unwrap_err().code(), Code::Payload);
        change_back(&test);
        lab.open_gate(&test);
        soon(run).await.unwrap();
    }

    async fn a_check_decodes_a_payload_in_the_inbox(place: Place) {
        let (lab, test) = (Lab::new(), unique());
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(takes_an_order, test.clone()).id("order").await.unwrap();
        suspended(&run).await;
        engine.shutdown().await.unwrap();
        let client = client(&place).await;
        client.resume_hook(format!("{test} order"), &test).await.unwrap();
        assert!(soon(client.runs().check()).await.unwrap().is_compatible());
        change(&test);
        let report = soon(client.runs().check()).await.unwrap();
        assert_eq!((report.incompatible, report.runs[0].error.code()), (1, Code::Payload), "{report}");
        let run = client.get_run::<(), Error>("order");
        let journal: Journal = run.export().await.unwrap().to_string().parse().unwrap();
        assert_eq!(journal.check().unwrap_err().code(), Code::Payload);
    }

    async fn a_check_reads_a_start_message_in_the_inbox(place: Place) {
        let test = unique();
        let client = client(&place).await;
        client.start(holds, test.clone()).id("starts").await.unwrap();
        let report = soon(client.runs().check()).await.unwrap();
        assert_eq!((report.checked, report.compatible), (1, 1), "{report}");
        change(&test);
        let report = soon(client.runs().check()).await.unwrap();
        assert_eq!((report.incompatible, report.runs[0].error.code()), (1, Code::Payload), "{report}");
    }

    async fn a_run_that_ends_during_its_check_is_reported_as_moved(place: Place) {
        let (lab, test) = (Lab::new(), unique());
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(ends_while_it_is_checked, test.clone()).id("ends").await.unwrap();
        suspended(&run).await;
        change(&test);
        let check = tokio::spawn(engine.runs().check());
        soon(async {
            while !is_changed(&format!("{test} is replayed")) {
                workflow_harness::pause().await;
            }
        })
        .await;
        engine.resume_hook(&*test, &1u64).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 1);
        change(&format!("{test} ended"));
        let report = soon(check).await.unwrap().unwrap();
        assert_eq!((report.checked, report.moved, report.incompatible), (1, 1, 0), "{report}");
    }
}

case! {
    async fn an_exported_journal_is_redacted_parsed_and_replayed() {
        let engine = TestEngine::builder().resource(Lab::new()).open().await.unwrap();
        let run = engine.start(computes_and_waits, unique()).id("secret").await.unwrap();
        suspended(&run).await;
        let exported = run.export().await.unwrap();
        assert_eq!((exported.run_id(), exported.workflow().ends_with("computes_and_waits")), ("secret", true));
        let mut journal: Journal = exported.to_string().parse().unwrap();
        journal.check().unwrap();

        let mut values = 0;
        journal
            .redact(|value| {
                values += 1;
                if let Some(number) = value.as_u64() {
                    *value = (number + 1000).into();
                }
            })
            .unwrap();
        assert!(values >= 5, "the arguments, two inputs and two results: {values}");
        let error = journal.check().unwrap_err();
        assert!(format!("{error:?}").contains("redacted"), "{error:?}");

        let newer = exported.to_string().replacen("\"schema\": 1", "\"schema\": 2", 1);
        assert_eq!(newer.parse::<Journal>().unwrap_err().code(), Code::NewerFormat);
        assert_eq!("{}".parse::<Journal>().unwrap_err().code(), Code::Damaged);
        let unknown = exported.to_string().replace("computes_and_waits", "removed").parse::<Journal>().unwrap();
        assert_eq!(unknown.check().unwrap_err().code(), Code::NotRegistered);
        let missing = engine.get_run::<(), Error>("none").export().await.unwrap_err();
        assert_eq!(missing.code(), Code::RunNotFound);
    }
}

/// Starts runs and waits until they have done all that they can.
async fn three_runs(engine: &Engine) {
    for id in ["a", "b", "c"] {
        suspended(&engine.start(computes_and_waits, unique()).id(id).await.unwrap()).await;
    }
}

/// Checks the runs of a store that this client may not write.
async fn assert_checked_and_not_written(url: &str) {
    let client = Engine::builder().url(url).must_exist().connect().await.unwrap();
    let report = client.runs().check().await.unwrap();
    assert_eq!((report.checked, report.compatible), (3, 3), "{report}");
    assert_eq!(client.runs().stream().count().await, 3);
    let refused = client.start(computes_and_waits, unique()).id("d").await.unwrap_err();
    assert_ne!(refused.code(), Code::InDoubt, "{refused:?}");
    assert!(!client.get_run::<(), Error>("d").exists().await.unwrap());
}

case! {
    #[postgres]
    async fn a_check_works_with_a_role_that_may_only_read() {
        let place = Place::postgres();
        let engine = place.open(&Lab::new()).await;
        three_runs(&engine).await;
        let url = place.url().unwrap();
        let schema = url.split_once("schema=").unwrap().1.split('&').next().unwrap();
        let (role, database) = (format!("reader_{schema}"), place.database().await);
        database
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'reads'; ALTER ROLE {role} SET default_transaction_read_only = on;
                 GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
            ))
            .await
            .unwrap();
        let (_, rest) = url.split_once("://").unwrap();
        let (_, host) = rest.split_once('@').unwrap();
        assert_checked_and_not_written(&format!("postgres://{role}:reads@{host}")).await;
        database.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
        engine.shutdown().await.unwrap();
    }
}

case! {
    #[disk]
    async fn a_check_works_on_a_file_that_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::mount(directory.path(), "16m").unwrap();
        let url = format!("sqlite:{}", directory.path().join("runs.db").display());
        let engine = Engine::builder().url(&*url).resource(Lab::new()).open().await.unwrap();
        three_runs(&engine).await;
        // The files that a killed process would have left. Only another process may read them without dropping SQLite's locks.
        let crashed = directory.path().join("crashed");
        std::fs::create_dir(&crashed).unwrap();
        for name in ["runs.db", "runs.db-wal", "runs.db-shm"] {
            let copied = std::process::Command::new("cp").arg(directory.path().join(name)).arg(&crashed).status();
            assert!(copied.unwrap().success(), "{name}");
        }
        engine.shutdown().await.unwrap();
        drop(engine);
        soon(async {
            while !disk.set_read_only() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        // After a shutdown the store is one file.
        assert_checked_and_not_written(&url).await;
        assert_checked_and_not_written(&format!("sqlite:{}", crashed.join("runs.db").display())).await;
        drop(disk);
    }
}
