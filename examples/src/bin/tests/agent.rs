use std::time::Duration;

use workflow_runtime::testing::{Builder, TestEngine, explore};

use super::*;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Mocked: the model without its stream of words, and tools that leave no line in a file.
fn engine() -> Builder {
    TestEngine::builder()
        .mock(think, |messages| Ok(model(&messages)?.1))
        .mock(call, |(tool, _)| Ok(if tool == "search" { "250".into() } else { "500".into() }))
        .deny_unmocked()
        .deny_unawaited()
}

#[tokio::test]
async fn nothing_is_booked_before_the_person_has_answered() -> Result<()> {
    for (yes, answer) in [(true, "a boat is booked for 500."), (false, "a boat is not booked.")] {
        let engine = engine().open().await?;
        let run = engine.start(agent, "a boat".into()).await?;
        engine.advance(MONTH).await;
        let questions: Vec<_> = run.suspended().await?.into_iter().map(|question| question.payload).collect();
        assert_eq!(questions, ["Book a boat for 500?"]);
        assert_eq!(run.state::<Progress>().await?.map(|state| state.doing), Some("asking".into()));
        run.resume(&yes).label("approval").await?;
        assert_eq!(run.await?, answer);
        let calls = [("search", "price of a boat"), ("multiply", "250 2")];
        assert_eq!(engine.calls(call), calls.map(|(tool, input)| (tool.to_owned(), input.to_owned())));
    }
    Ok(())
}

#[tokio::test]
async fn no_crash_changes_the_answer() -> Result<()> {
    let explored = explore(agent, "a boat".into()).engine(engine).with(async |_engine, run| {
        // The agent asks only later, and a run that continues after a crash may have the answer.
        while run.resume(&true).label("approval").await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    assert_eq!(explored.await?.one()?, "a boat is booked for 500.");
    Ok(())
}
