//! `yield`: another process executes.

use workflow_runtime::Engine;

use crate::support::Place;

case!(
    #[threads]
    async fn another_engine_executes_after_a_yield_and_without_one_it_is_refused() {
        let place = Place::sqlite();
        let one = Engine::builder().url(&place.url).deployment("v7").open().await.unwrap();
        let refused = place.transcript(&["yield", "yield -o json"]);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("yield", refused);
        });
        let other = Engine::builder().url(&place.url).deployment("v8").open().await.unwrap();
        let done = place.run("yield -o json").json();
        assert_eq!(done["executes"]["deployment"], "v8", "{done}");
        assert!(other.health().await.unwrap().executes);
        let done = place.run("yield").ok();
        assert_eq!(done, format!("process {} of deployment v7 executes now\n", std::process::id()));
        assert!(one.health().await.unwrap().executes);
        for engine in [one, other] {
            engine.shutdown().await.unwrap();
        }
    }
);
