//! Runs whose activation takes long must not delay other runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use workflow_runtime::store::{Answer, Failed, Ownership, Store, Write};
use workflow_runtime::{Error, Result, Run, hook, step, workflow};

use crate::support::{Lab, soon};

/// More runs than the engine replays concurrently.
const SLOW: usize = 40;

#[step]
async fn noted(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[workflow]
async fn waits_for(token: String) -> Result<()> {
    hook::<()>().token(token.clone()).await?;
    noted(token).await
}

#[workflow]
async fn quick() -> Result<()> {
    noted("quick".into()).await
}

/// A store whose first reads of journals wait for a gate.
struct SlowJournals {
    inner: Arc<dyn Store>,
    lab: Lab,
    asked: AtomicUsize,
}

impl SlowJournals {
    async fn reading(&self, name: &str) {
        if name == "journal" && self.asked.fetch_add(1, Ordering::SeqCst) < SLOW {
            self.lab.note("a slow journal");
            self.lab.pass_gate("journals").await;
        }
    }
}

impl Store for SlowJournals {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        self.inner.commit(group)
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        self.inner.acquire(owner)
    }

    forward_reads!();
}

on_each_store! {
    async fn slow_replays_delay_neither_new_claims_nor_waiting_clients(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let ids: Vec<String> = (0..SLOW).map(|number| format!("slow {number}")).collect();
        for id in &ids {
            engine.start(waits_for, id.clone()).id(id.clone()).await.unwrap();
        }
        engine.shutdown().await.unwrap();
        drop(engine);
        let client = place.builder(&lab).connect().await.unwrap();
        for id in &ids {
            client.resume_hook(id.clone(), &()).await.unwrap();
        }
        let store = SlowJournals { inner: place.store(), lab: lab.clone(), asked: AtomicUsize::new(0) };
        let engine = workflow_runtime::Engine::builder().store(Arc::new(store)).resource(lab.clone());
        let engine = engine.open().await.unwrap();
        // The engine reads all of these journals, although none of the reads returns.
        soon(lab.executed("a slow journal", SLOW)).await;
        // A new run is claimed and executed, and the client sees its end.
        let run = client.start(quick, ()).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!((lab.count("quick"), lab.count("slow 0")), (1, 0));
        lab.open_gate("journals");
        for id in &ids {
            let run: Run<()> = engine.get_run(id.clone());
            soon(&run).await.unwrap();
        }
    }
}
