//! Several builds in one process. Each has a runtime of its own, by whose threads a workflow knows the code that it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use workflow_runtime::store::{NewWorker, Ownership};
use workflow_runtime::{Builder, Engine};

use super::{Lab, Place, soon};

/// The name of the build that calls this.
pub fn build() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// A build that executes.
pub struct Build {
    pub engine: Engine,
    runtime: Option<Runtime>,
    /// How often a run got stuck.
    stuck: Arc<AtomicUsize>,
}

impl Build {
    pub async fn open(name: &str, builder: Builder) -> Self {
        Build::of(name, name, builder).await
    }

    /// A build of a deployment.
    pub async fn of(deployment: &str, name: &str, builder: Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).thread_name(name).enable_all().build().unwrap();
        let stuck = Arc::new(AtomicUsize::new(0));
        let counted = stuck.clone();
        let builder = builder.deployment(deployment).evict_after(Duration::ZERO).on_stuck(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let engine = runtime.spawn(async move { builder.open().await }).await.unwrap().unwrap();
        Build { engine, runtime: Some(runtime), stuck }
    }

    pub async fn at(place: &Place, lab: &Lab, name: &str) -> Self {
        Build::open(name, place.builder(lab)).await
    }

    pub async fn shut_down(self) {
        let engine = self.engine.clone();
        self.runtime.as_ref().unwrap().spawn(async move { engine.shutdown().await }).await.unwrap().unwrap();
    }

    /// How often a run got stuck.
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::SeqCst)
    }

    pub async fn has_stuck(&self, times: usize) {
        soon(async {
            while self.stuck() < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(self.stuck(), times);
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A worker of another build that is alive, has the workflow, and takes nothing.
pub async fn ghost(place: &Place, workflow: &str, owner: u64, deployment: &str) -> Box<dyn Ownership> {
    let store = place.store();
    let right = store.acquire(owner).await.unwrap().unwrap();
    let serves = serde_json::json!({ "workflows": [workflow], "queues": [], "build": format!("ghost {owner}") });
    let worker = NewWorker {
        owner,
        deployment: deployment.into(),
        serves: serves.to_string().into(),
        catalogue: "{}".into(),
        digest: [0; 32],
        now: 0,
        since: None,
    };
    // On a database it ends with the right only.
    drop(store.register(&worker).await.unwrap());
    right
}
