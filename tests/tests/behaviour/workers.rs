//! Several engines that execute on one database, and what happens to a run when one of them loses its lease.

use std::sync::Arc;

use futures::future::join_all;
use workflow_harness::postgres::Cluster;
use workflow_runtime::store::PostgresStore;
use workflow_runtime::{Code, Engine, Result, Run, step, workflow, writer};

use crate::support::{Lab, Place};

struct Leaves(Lab);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.note("left");
    }
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    let _leaves = Leaves(lab.clone());
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn two_steps() -> Result<String> {
    gated("first".into()).await?;
    gated("second".into()).await
}

#[workflow]
async fn writes() -> Result<()> {
    writer::<u32>("numbers").write(&1).await?;
    gated("first".into()).await?;
    writer::<u32>("numbers").write(&2).await?;
    gated("second".into()).await?;
    Ok(())
}

#[step]
async fn counted(#[resource] lab: &Lab, number: u32, step: u32) -> Result<u32> {
    lab.note(&format!("{number}/{step}"));
    Ok(step)
}

#[workflow]
async fn counts(number: u32) -> Result<u32> {
    let mut sum = 0;
    for step in 0..5 {
        sum += counted(number, step).await?;
    }
    Ok(sum)
}

case! {
    #[postgres]
    async fn an_engine_that_cannot_renew_its_lease_stops_and_continues_under_another() {
        let (lab, place) = (Lab::new(), Place::postgres());
        let engine = place.open(&lab).await;
        let run = engine.start(two_steps, ()).id("run").await.unwrap();
        lab.executed("first", 1).await;
        let before = place.store().run("run").await.unwrap().unwrap();
        let mut database = place.database().await;
        let cut = database.transaction().await.unwrap();
        cut.batch_execute("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE").await.unwrap();
        // The engine stops the step before its lease expires in the database, which it cannot reach.
        lab.executed("left", 1).await;
        assert_eq!(place.rows("run").await.len(), 1);
        cut.rollback().await.unwrap();
        lab.executed("first", 2).await;
        let after = place.store().run("run").await.unwrap().unwrap();
        assert_ne!(after.fence.owner, before.fence.owner);
        assert_eq!(after.fence.epoch, before.fence.epoch + 1);
        lab.open_gate("first");
        lab.open_gate("second");
        assert_eq!(run.await.unwrap(), "second");
        assert_eq!(lab.count("second"), 1);
    }
}

case! {
    #[postgres]
    async fn a_run_continues_in_another_engine_when_its_engine_is_dropped() {
        let (lab, place) = (Lab::new(), Place::postgres());
        let (one, other) = (place.open(&lab).await, place.open(&lab).await);
        drop(one.start(two_steps, ()).id("run").await.unwrap());
        lab.executed("first", 1).await;
        drop(one);
        lab.executed("first", 2).await;
        lab.open_gate("first");
        lab.open_gate("second");
        assert_eq!(other.get_run::<String, workflow_runtime::Error>("run").await.unwrap(), "second");
    }
}

case! {
    #[postgres]
    async fn an_engine_waits_for_a_run_that_another_engine_executes() {
        let (lab, place) = (Lab::new(), Place::postgres());
        let (one, other) = (place.open(&lab).await, place.open(&lab).await);
        one.start(writes, ()).id("run").await.unwrap();
        let run: Run<()> = other.get_run("run");
        let numbers = run.stream::<u32>("numbers");
        let mut numbers = std::pin::pin!(numbers);
        use futures::StreamExt;
        assert_eq!(numbers.next().await.unwrap().unwrap().value, 1);
        lab.open_gate("first");
        assert_eq!(numbers.next().await.unwrap().unwrap().value, 2);
        let waiting = tokio::spawn(async move { run.await });
        lab.executed("second", 1).await;
        lab.open_gate("second");
        waiting.await.unwrap().unwrap();
        assert!(numbers.next().await.is_none());
    }
}

case! {
    #[cluster]
    async fn runs_survive_restarts_of_the_database() {
        let (lab, cluster) = (Lab::new(), Cluster::start());
        let open = async || {
            let store = PostgresStore::open(&cluster.address.url()).await.unwrap();
            Engine::builder().store(Arc::new(store)).resource(lab.clone()).recoveries(100).open().await.unwrap()
        };
        let engines = [open().await, open().await];
        let count = async |number: u32| {
            let engine = &engines[number as usize % 2];
            let id = format!("run {number}");
            // A user would repeat the start with the same id and arguments.
            let run = loop {
                match engine.start(counts, number).id(&*id).await {
                    Ok(run) => break run,
                    Err(error) => assert!([Code::Store, Code::InDoubt].contains(&error.code()), "{error:?}"),
                }
                workflow_harness::pause().await;
            };
            loop {
                match (&run).await {
                    Ok(sum) => break sum,
                    Err(error) => assert_eq!(error.code(), Code::Store, "{error:?}"),
                }
                workflow_harness::pause().await;
            }
        };
        for batch in 0..3 {
            let runs = join_all((0..40).map(|number| count(batch * 40 + number)));
            let restarting = async {
                lab.executed(&format!("{}/2", batch * 40 + 7), 1).await;
                tokio::task::block_in_place(|| cluster.restart());
            };
            let (sums, ()) = tokio::join!(runs, restarting);
            assert!(sums.iter().all(|sum| *sum == 10));
        }
        for engine in engines {
            engine.shutdown().await.unwrap();
        }
    }
}
