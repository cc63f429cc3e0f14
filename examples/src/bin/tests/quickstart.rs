use workflow_runtime::testing::{Builder, TestEngine, explore, fail_first};
use workflow_runtime::{Error, Status};

use super::*;

fn engine() -> Builder {
    TestEngine::builder()
        .mock(charge, |(order, cents)| Ok(format!("receipt-{order}-{cents}")))
        .deny_unmocked()
        .deny_unawaited()
}

#[tokio::test]
async fn the_receipt_is_there_after_three_seconds_that_nobody_waits_for() -> Result<()> {
    let engine = engine().open().await?;
    let run = engine.start(checkout, (1, 4200)).id("order-1").await?;
    engine.advance(Duration::from_secs(2)).await;
    assert_eq!((run.status().await?, engine.calls(charge)), (Status::Suspended, vec![(1, 4200)]));
    engine.advance(Duration::from_secs(1)).await;
    assert_eq!(run.status().await?, Status::Completed);
    assert_eq!(run.await?, "receipt-1-4200");
    Ok(())
}

#[tokio::test]
async fn a_charge_that_fails_at_first_is_repeated() -> Result<()> {
    let flaky = fail_first(2, || Error::new("the bank is closed"), |(order, _)| Ok(format!("receipt of {order}")));
    let engine = engine().mock(charge, flaky).open().await?;
    assert_eq!(engine.start(checkout, (1, 4200)).await?.await?, "receipt of 1");
    assert_eq!(engine.calls(charge), [(1, 4200); 3]);
    Ok(())
}

#[tokio::test]
async fn a_crash_changes_nothing_and_charges_nobody_twice() -> Result<()> {
    let explored = explore(checkout, (1, 4200)).engine(engine).await?;
    assert!(explored.crashes > 0);
    assert_eq!(explored.one()?, "receipt-1-4200");
    Ok(())
}
