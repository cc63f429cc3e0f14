//! Chunks of steps that fail, or that keep running after a failure of their run.

use futures::TryStreamExt;
use workflow_runtime::{Chunk, Error, Result, Run, step, workflow, writer};

use crate::support::{Lab, recorded, soon};

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[step(retries = 0)]
async fn fails() -> Result<()> {
    Err(Error::fatal("out of stock"))
}

#[step(retries = 0)]
async fn charges(#[resource] lab: &Lab) -> Result<String> {
    let log = writer::<u32>("log");
    log.write(&1).await?;
    lab.note("charge");
    lab.pass_gate("charge").await;
    log.write(&2).await?;
    Ok("receipt".into())
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[step(retries = 0)]
async fn closes_and_fails() -> Result<()> {
    let log = writer::<u32>("log");
    log.write(&1).await?;
    log.close().await?;
    fails().await
}

#[workflow]
async fn fails_while_it_charges() -> Result<()> {
    let fails = async {
        gated("other".into()).await?;
        fails().await
    };
    tokio::try_join!(charges().rollback(undoes), fails).map(drop)
}

#[workflow]
async fn writes_where_a_step_has_failed(and_goes_on: bool) -> Result<()> {
    closes_and_fails().await.unwrap_err();
    writer::<u32>("log").write(&2).await?;
    if and_goes_on {
        gated("open".into()).await?;
    }
    Ok(())
}

/// The chunks of the log, each with whether it is discarded.
async fn log(run: &Run<()>) -> Vec<(u32, bool)> {
    let chunks: Vec<Chunk<u32>> = soon(run.stream("log").try_collect()).await.unwrap();
    chunks.into_iter().map(|chunk| (chunk.value, chunk.discarded)).collect()
}

on_each_store! {
    async fn a_step_that_must_finish_to_be_undone_continues_to_write(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_while_it_charges, ()).id("r").await.unwrap();
        soon(lab.executed("charge", 1)).await;
        lab.open_gate("other");
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("charge");
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(lab.count("undoes receipt"), 1);
        assert_eq!(log(&run).await, [(1, false), (2, false)]);
    }

    async fn a_stream_closed_by_a_failed_step_is_open_in_the_turn_of_the_failure(place: Place) {
        let lab = Lab::new();
        lab.open_gate("open");
        let engine = place.open(&lab).await;
        for and_goes_on in [true, false] {
            let run = engine.start(writes_where_a_step_has_failed, and_goes_on).await.unwrap();
            soon(&run).await.unwrap();
            assert_eq!(log(&run).await, [(1, true), (2, false)]);
        }
    }
}
