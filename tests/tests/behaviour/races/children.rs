//! The end of a child, concurrent with a cancel, a drop or the end of its parent.

use workflow_runtime::{Result, workflow};

use super::{Arena, Status, races, sometime};

#[workflow]
async fn child() -> Result<String> {
    sometime("child".into()).await
}

#[workflow]
async fn parent() -> Result<String> {
    child().await
}

#[workflow]
async fn loses_interest() -> Result<String> {
    let first = tokio::select! {
        child = child() => child?,
        other = sometime("other".into()) => other?,
    };
    sometime("behind".into()).await?;
    Ok(first)
}

#[workflow]
async fn abandons() -> Result<String> {
    child().abandon().await
}

/// The id of the run's child, if it has one.
async fn only_child(arena: &Arena, run: &str) -> Option<String> {
    let mut children = arena.outside.get_run::<String, workflow_runtime::Error>(run).children().await.unwrap();
    assert!(children.len() <= 1, "{children:?}");
    children.pop()
}

races! {
    in 2_000 orders:

    async fn the_end_of_a_child_against_the_cancel_of_its_parent(arena: Arena) -> [
        "both completed", "both cancelled", "the child completed", "before the child"
    ] {
        let run = arena.outside.start(parent, ()).id("run").await.unwrap();
        let cancelled = arena.cancel(&run).await;
        let story = arena.story("run").await;
        assert_eq!((story.status == Status::Cancelled, run.await.is_err()), (cancelled, cancelled));
        // A cancelled parent waits for the end of its child.
        let ended = story.of("ended").count();
        let Some(child) = only_child(&arena, "run").await else {
            assert_eq!((cancelled, ended), (true, 0));
            return "before the child";
        };
        assert_eq!(ended, 1);
        let child = arena.story(&child).await;
        match (cancelled, child.status) {
            (false, Status::Completed) => "both completed",
            (true, Status::Completed) => "the child completed",
            (true, Status::Cancelled) => "both cancelled",
            other => panic!("{other:?}"),
        }
    }

    async fn the_end_of_a_child_against_a_parent_that_drops_it(arena: Arena) -> ["awaited", "cancelled", "completed"] {
        let run = arena.outside.start(loses_interest, ()).id("run").await.unwrap();
        let story = arena.story("run").await;
        let got = run.await.unwrap();
        let ended = story.of("ended").count();
        assert_eq!((got == "child", story.issued("cancel").count()), (ended == 1, 1), "the loser is dropped");
        let child = arena.story(&only_child(&arena, "run").await.unwrap()).await;
        match (ended, child.status) {
            (1, Status::Completed) => "awaited",
            (0, Status::Cancelled) => "cancelled",
            (0, Status::Completed) => "completed",
            other => panic!("{other:?}"),
        }
    }

    async fn the_end_of_an_abandoned_child_against_the_cancel_of_its_parent(arena: Arena) -> [
        "both completed", "the child completed", "before the child"
    ] {
        let run = arena.outside.start(abandons, ()).id("run").await.unwrap();
        let cancelled = arena.cancel(&run).await;
        let story = arena.story("run").await;
        assert_eq!(story.status == Status::Cancelled, cancelled);
        let Some(child) = only_child(&arena, "run").await else {
            assert!(cancelled);
            return "before the child";
        };
        assert_eq!(arena.story(&child).await.status, Status::Completed);
        if cancelled { "the child completed" } else { "both completed" }
    }
}
