//! Good programs: each compiles without a false alarm, and gives its result while every turn is replayed.

#[path = "programs/mod.rs"]
mod programs;

use std::sync::Arc;

use workflow_runtime::Engine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_good_program_runs_and_replays() {
    let engine = Engine::builder()
        .url("memory:")
        .resource(Arc::new(Vec::<String>::new()))
        .replay_every_turn()
        .open()
        .await
        .unwrap();
    let mut count = 0;
    for program in programs::all() {
        assert_eq!((program.run)(engine.clone()).await, (program.expected)(), "{}", program.name);
        count += 1;
    }
    assert!(count >= 60, "{count}");
}
