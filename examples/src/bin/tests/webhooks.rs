use workflow_runtime::testing::{Builder, TestEngine, explore};

use super::*;

fn arguments() -> (Event, Vec<String>) {
    (Event { id: "event-1".into(), what: "order paid".into() }, SUBSCRIBERS.map(String::from).to_vec())
}

/// One subscriber accepts the event, one is down for 19 attempts, one does not exist any more.
fn engine() -> Builder {
    let answer = |(subscriber, _event): (String, Event)| {
        let attempt = step_info().map_or(0, |info| info.attempt);
        match subscriber.as_str() {
            "search" if attempt < 20 => Err(Error::new("search is down")),
            "old-shop" => Err(Error::fatal("old-shop refuses events")),
            _ => Ok(attempt),
        }
    };
    TestEngine::builder().mock(deliver, answer).deny_unmocked().deny_unawaited()
}

const RESULT: [&str; 3] = [
    "billing: delivered by attempt 1",
    "search: delivered by attempt 20",
    "old-shop: given up: old-shop refuses events",
];

#[tokio::test]
async fn a_subscriber_that_is_down_for_hours_gets_the_event_and_delays_no_other() -> Result<()> {
    let engine = engine().open().await?;
    let run = engine.start(pass_on, arguments()).await?;
    assert_eq!((&run).await?, RESULT);
    let steps = run.steps().await?;
    assert_eq!(steps.iter().map(|step| step.attempts).collect::<Vec<_>>(), [1, 20, 1]);
    Ok(())
}

#[tokio::test]
async fn an_event_that_is_received_twice_is_one_run() -> Result<()> {
    let engine = engine().open().await?;
    let receive = || async { engine.start(pass_on, arguments()).id("event-1").await?.await };
    assert_eq!((receive().await?, receive().await?.len()), (RESULT.map(String::from).to_vec(), 3));
    assert_eq!(engine.calls(deliver).len(), 1 + 20 + 1);
    Ok(())
}

#[tokio::test]
async fn neither_a_crash_nor_the_order_of_the_answers_changes_the_result() -> Result<()> {
    assert_eq!(explore(pass_on, arguments()).engine(engine).await?.one()?, RESULT);
    Ok(())
}
