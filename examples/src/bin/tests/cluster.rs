use std::sync::{Arc, Mutex};

use workflow_runtime::testing::{TestEngine, explore};

use super::*;

#[tokio::test]
async fn the_result_has_the_numbers_that_were_drawn_and_a_replay_draws_no_others() -> Result<()> {
    let drawn = Arc::new(Mutex::new(Vec::new()));
    let log = drawn.clone();
    let draw_and_log = move |_number| {
        let value = fastrand::u64(..);
        log.lock().unwrap().push(value);
        Ok(value)
    };
    let engine = TestEngine::builder()
        .mock(draw, draw_and_log)
        .configure(|engine| engine.replay_every_turn())
        .deny_unmocked()
        .deny_unawaited()
        .open()
        .await?;
    let values = engine.start(draws, STEPS).await?.await?;
    assert_eq!(values, *drawn.lock().unwrap());
    assert!(engine.calls(draw).into_iter().eq(0..STEPS));
    Ok(())
}

#[tokio::test]
async fn a_worker_that_dies_behind_any_commit_leaves_a_run_that_another_finishes() -> Result<()> {
    let engine = || TestEngine::builder().mock(draw, |number| Ok(u64::from(number) + 100)).deny_unawaited();
    let explored = explore(draws, STEPS).engine(engine).await?;
    assert!(explored.crashes > u64::from(STEPS), "a crash behind each result");
    assert!(explored.one()?.into_iter().eq((0..u64::from(STEPS)).map(|number| number + 100)));
    Ok(())
}
