//! The limit of runs that one retry continues.

use futures::future::join_all;
use workflow_runtime::testing::TestEngine;
use workflow_runtime::{Code, Result, Run, Status, workflow};

use super::repair_children::{mend, state_of, works};
use crate::support::{Lab, soon};

#[workflow]
async fn breaks(number: usize) -> Result<String> {
    works(format!("broken {}", number.min(1))).await
}

#[workflow]
async fn breaks_many(count: usize) -> Result<usize> {
    let done = join_all((0..count).map(breaks)).await;
    Ok(done.into_iter().collect::<Result<Vec<_>>>()?.len())
}

case! {
    async fn a_tree_that_is_too_large_to_retry_is_refused() {
        let lab = Lab::new();
        let engine = TestEngine::builder().resource(lab.clone()).open().await.unwrap();
        let run = engine.start(breaks_many, 1_000).await.unwrap();
        assert!(soon(&run).await.is_err());
        ["broken 0", "broken 1"].iter().for_each(|name| mend(&lab, name));
        let error = run.retry().await.unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{error:?}");
        assert!(format!("{error:?}").contains("retry its children first"), "{error:?}");
        assert_eq!(state_of(&run).await, (Status::Failed, 0));
        let child: Run<String> = engine.get_run(run.children().await.unwrap()[0].clone());
        child.retry().await.unwrap();
        soon(&child).await.unwrap();
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 1_000);
        assert_eq!(lab.count("broken 0") + lab.count("broken 1"), 2_000);
    }
}
