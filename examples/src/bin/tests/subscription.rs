use workflow_runtime::testing::{Builder, TestEngine, explore};

use super::*;

/// The first bill of a customer whose card is declined from the fourth month on.
fn first() -> Subscription {
    let (customer, card) = ("eve".into(), "old".into());
    Subscription { customer, cents: 900, card, month: 1, unpaid: 0, stage: Stage::Active }
}

fn engine() -> Builder {
    TestEngine::builder()
        .mock(charge, |(card, _cents, month)| Ok(card == "new" || month < 4))
        .configure(|engine| engine.suggest_continuing_after(10))
        .deny_unmocked()
        .deny_unawaited()
}

#[tokio::test]
async fn a_subscription_is_cancelled_in_its_third_unpaid_month() -> Result<()> {
    let ended = explore(subscription, first()).engine(engine).await?.one()?;
    assert_eq!(ended, Subscription { month: 6, unpaid: 3, stage: Stage::Cancelled, ..first() });
    Ok(())
}

#[tokio::test]
async fn a_new_card_is_charged_at_once_and_serves_for_years_in_short_journals() -> Result<()> {
    let engine = engine().open().await?;
    let run = engine.start(subscription, first()).id("eve").await?;
    let send = async |signal| engine.resume_hook("subscription-eve", &signal).await;
    engine.advance(3 * MONTH).await;
    assert_eq!(run.state::<Subscription>().await?.map(|now| now.stage), Some(Stage::PastDue));
    send(Signal::NewCard("new".into())).await?;
    for year in 1..=10 {
        send(Signal::ChangePlan { cents: 900 + year }).await?;
        engine.advance(12 * MONTH).await;
    }
    send(Signal::Cancel).await?;
    let ended = (&run).await?;
    assert_eq!((ended.stage, ended.month, ended.cents), (Stage::Cancelled, 124, 910));
    // A bill for each month, and one more for the new card.
    assert_eq!(engine.calls(charge).len(), 125);
    assert!(run.info().await?.generation > 20);
    Ok(())
}
