use workflow_runtime::testing::{Builder, TestEngine, explore, fail_first};

use super::*;

fn order() -> Order {
    Order { id: 7, card: "valid".into(), cents: 4200, country: "Norway".into() }
}

fn engine() -> Builder {
    TestEngine::builder()
        .mock(reserve, Ok)
        .mock(charge, |order| Ok(Payment { order: order.id, cents: order.cents }))
        .mock(release, |_| Ok(()))
        .mock(refund, |_| Ok(()))
        .mock(ship, |order| Ok(format!("parcel-{}", order.id)))
        .deny_unmocked()
        .deny_unawaited()
}

#[tokio::test]
async fn a_carrier_that_does_not_answer_is_asked_again() -> Result<()> {
    let ships = fail_first(3, || Error::new("no answer"), |order: Order| Ok(format!("parcel-{}", order.id)));
    let engine = engine().mock(ship, ships).open().await?;
    assert_eq!(engine.start(fulfil, order()).await?.await?, "parcel-7");
    assert_eq!((engine.calls(ship).len(), engine.calls(refund).len()), (4, 0));
    Ok(())
}

#[tokio::test]
async fn a_declined_card_releases_the_goods_and_refunds_nothing() -> Result<()> {
    let engine = engine().mock(charge, |_| Err(Error::fatal("the card was declined"))).open().await?;
    assert_eq!(engine.start(fulfil, order()).await?.await.unwrap_err().to_string(), "the card was declined");
    assert_eq!((engine.calls(charge).len(), engine.calls(release), engine.calls(refund).len()), (1, vec![7], 0));
    Ok(())
}

#[tokio::test]
async fn a_refund_is_tried_for_hours_while_the_bank_is_down() -> Result<()> {
    let engine = engine()
        .mock(ship, |_| Err(Error::fatal("no carrier delivers there")))
        .mock(refund, fail_first(10, || Error::new("the bank is down"), |_| Ok(())))
        .open()
        .await?;
    let run = engine.start(fulfil, order()).await?;
    assert_eq!((&run).await.unwrap_err().to_string(), "no carrier delivers there");
    assert_eq!(engine.calls(refund).len(), 11);
    // The last step that succeeded is undone first.
    let steps: Vec<_> =
        run.steps().await?.into_iter().map(|step| step.step.rsplit("::").next().map(str::to_owned)).collect();
    assert_eq!(steps.iter().flatten().collect::<Vec<_>>(), ["reserve", "charge", "ship", "refund", "release"]);
    Ok(())
}

#[tokio::test]
async fn no_crash_changes_the_end_of_an_order() -> Result<()> {
    assert_eq!(explore(fulfil, order()).engine(engine).await?.one()?, "parcel-7");
    let undone = explore(fulfil, order()).engine(|| engine().mock(ship, |_| Err(Error::fatal("no carrier")))).await?;
    assert_eq!(undone.one().unwrap_err().to_string(), "no carrier");
    Ok(())
}
