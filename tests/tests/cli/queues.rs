//! `queues`: what waits in a queue, and who serves it.

use workflow_runtime::{Engine, Result, step, workflow};

use crate::support::{Place, soon};

#[step(id = "print", queue = "press")]
async fn print(page: u32) -> Result<u32> {
    std::future::pending::<()>().await;
    Ok(page)
}

#[workflow(id = "prints")]
async fn prints(page: u32) -> Result<u32> {
    print(page).await
}

case!(
    #[threads]
    async fn queues_show_the_steps_that_wait_and_the_workers_that_serve_them() {
        let place = Place::sqlite();
        let engine = Engine::builder().url(&place.url).open().await.unwrap();
        for page in 1..=3 {
            let run = engine.start(prints, page).await.unwrap();
            soon(async {
                while run.children().await.unwrap().is_empty() {
                    workflow_harness::pause().await;
                }
            })
            .await;
        }
        let queue = || {
            let queues = place.run("queues -o json").json()["queues"].clone();
            queues.as_array().unwrap().iter().find(|queue| queue["queue"] == "press").unwrap().clone()
        };
        let waiting = queue();
        assert_eq!((&waiting["waiting"], &waiting["executing"]), (&3.into(), &0.into()), "{waiting}");
        assert_eq!(waiting["workers"], serde_json::json!([]));
        assert!(place.run("queues --columns queue,waiting,workers").out.contains("press  3        none"));
        engine.shutdown().await.unwrap();

        let engine = Engine::builder().url(&place.url).queue("press", 2).open().await.unwrap();
        let (pid, mut served) = (std::process::id().to_string(), queue());
        let begun = std::time::Instant::now();
        while served["executing"] != 2 {
            assert!(begun.elapsed().as_secs() < 60, "the worker does not execute two steps: {served}");
            served = queue();
        }
        assert_eq!((&served["waiting"], &served["workers"]), (&1.into(), &serde_json::json!([pid])), "{served}");
        assert_eq!(served["steps"], serde_json::json!(["print"]));
        drop(engine);
    }
);
