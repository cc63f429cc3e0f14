use workflow_runtime::testing::{Builder, TestEngine, explore};

use super::*;

fn arguments() -> (String, String, u32) {
    ("order-1".into(), "book".into(), 4200)
}

fn entry(what: What) -> impl Fn((String, u32)) -> Result<Entry> + Send + Sync + 'static {
    move |(order, cents)| Ok(Entry { key: "key".into(), what, order, cents })
}

fn engine() -> Builder {
    TestEngine::builder()
        .mock(charge, entry(What::Charge))
        .mock(refund, entry(What::Refund))
        .mock(ship, entry(What::Ship))
        .deny_unmocked()
        .deny_unawaited()
}

#[tokio::test]
async fn a_week_without_an_answer_refunds_the_payment() -> Result<()> {
    let engine = engine().open().await?;
    let run = engine.start(order, arguments()).await?;
    assert_eq!((&run).await.unwrap_err().to_string(), "nobody has approved it in time");
    assert_eq!(engine.calls(refund), [("order-1".to_owned(), 4200)]);
    assert!(engine.calls(ship).is_empty());
    let state: Option<Order> = run.state().await?;
    assert!(matches!(state.map(|order| order.stage), Some(Stage::Refunded)));
    Ok(())
}

#[tokio::test]
async fn a_declined_card_asks_nobody() -> Result<()> {
    let engine = engine().mock(charge, |_| Err(Error::fatal("the card was declined"))).open().await?;
    assert_eq!(engine.start(order, arguments()).await?.await.unwrap_err().to_string(), "the card was declined");
    assert!(engine.calls(refund).is_empty());
    Ok(())
}

#[tokio::test]
async fn no_crash_changes_the_end_of_an_order() -> Result<()> {
    let explored = explore(order, arguments()).engine(engine).await?;
    assert_eq!(explored.one().unwrap_err().to_string(), "nobody has approved it in time");
    Ok(())
}
