//! Actions on many runs.

use workflow_runtime::{Client, Engine, Error, Status};

use crate::support::{Place, soon};
use crate::world::{checkout, nap};

async fn failed(engine: &Engine, ids: std::ops::Range<u64>) {
    for order in ids {
        let run = engine.start(checkout, order).id(format!("order-{order}")).await.unwrap();
        soon(run).await.unwrap_err();
    }
}

case!(
    #[threads]
    async fn a_filter_needs_the_option_all_and_a_confirmation() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        failed(&engine, 10..13).await;
        let filter = "--status failed --workflow checkout";
        assert_eq!(place.run(&format!("retry {filter}")).code, 2);
        let unconfirmed = place.run(&format!("delete {filter} --all"));
        assert_eq!(unconfirmed.code, 3, "{unconfirmed:?}");
        assert!(unconfirmed.err.contains("delete of 3 runs needs a confirmation"), "{unconfirmed:?}");
        let dry = place.run(&format!("delete {filter} --all --dry-run"));
        assert_eq!(dry.out, "order-12  would delete\norder-11  would delete\norder-10  would delete\n");
        assert!(dry.err.contains("nothing was done: 3 done"), "{dry:?}");
        assert_eq!(place.run("count -o json").json()["total"], 3);
        let deleted = place.run(&format!("delete {filter} --all --yes -o json")).json();
        assert_eq!((&deleted["done"], &deleted["results"][0]["run"]), (&3.into(), &"order-12".into()));
        assert_eq!(place.run("count -o json").json()["total"], 0);
        assert_eq!(place.run("delete --all --yes").code, 0);
        engine.shutdown().await.unwrap();
    }
);

case!(
    #[threads]
    async fn ids_come_from_the_standard_input_and_each_has_a_result() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        failed(&engine, 10..12).await;
        soon(engine.start(checkout, 1).id("order-1").await.unwrap()).await.unwrap();
        let ids = place.run("ls -o ids").ok();
        let retried = place.run_with("retry - nobody -o jsonl", &ids);
        assert_eq!(retried.code, 3, "{retried:?}");
        let results: Vec<serde_json::Value> =
            retried.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<&str> = results.iter().map(|result| result["result"].as_str().unwrap()).collect();
        assert_eq!(told, ["skipped", "done", "done"]);
        assert!(retried.err.contains("2 done, 1 skipped, 0 failed"), "{retried:?}");
        engine.shutdown().await.unwrap();
    }
);

case!(
    #[threads]
    async fn a_filter_is_evaluated_once_page_by_page() {
        let place = Place::sqlite();
        let client = Client::connect(&place.url).await.unwrap();
        for n in 0..250 {
            client.start(nap, ()).id(format!("nap-{n}")).await.unwrap();
        }
        let cancelled = place.run("cancel --all --status pending --yes -o jsonl");
        assert_eq!((cancelled.code, cancelled.out.lines().count()), (0, 250), "{:?}", cancelled.err);
        let engine = Engine::open(&place.url).await.unwrap();
        soon(async {
            while engine.runs().status(Status::Cancelled).count().await.unwrap().get(&Status::Cancelled) != Some(&250) {
                workflow_harness::pause().await;
            }
        })
        .await;
        let _ = engine.get_run::<(), Error>("nap-0").status().await.unwrap();
        engine.shutdown().await.unwrap();
    }
);
