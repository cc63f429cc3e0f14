//! The ids of suspensions when their run is retried: a question that the run still waits for keeps its id.

use workflow_runtime::{Code, Error, Result, Run, Suspended, step, suspend, workflow};

use crate::support::{Lab, soon};

/// Fails each time that its gate opens, until the test has noted `repaired`.
#[step(retries = 0)]
async fn breaks(#[resource] lab: &Lab) -> Result<()> {
    let number = lab.note("breaks");
    lab.pass_gate(&format!("breaks {number}")).await;
    if lab.count("repaired") == 0 { Err(Error::new("it is broken")) } else { Ok(()) }
}

#[step]
async fn asks_two() -> Result<Vec<u32>> {
    let first: u32 = suspend("first").label("first").await?;
    Ok(vec![first, suspend("second").label("second").await?])
}

#[workflow]
async fn asks_below() -> Result<Vec<u32>> {
    let own = async { suspend::<u32>("own").label("own").await };
    let ((), own, mut two) = tokio::try_join!(breaks(), own, asks_two())?;
    two.push(own);
    Ok(two)
}

#[workflow]
async fn asks_by_a_child() -> Result<Vec<u32>> {
    asks_below().await
}

/// The suspensions with these labels, which must be all that wait.
async fn waiting<T, E>(run: &Run<T, E>, labels: [&str; 2]) -> [Suspended; 2] {
    soon(async {
        loop {
            let mut waiting = run.suspended().await.unwrap();
            waiting.sort_by(|one, other| one.label.cmp(&other.label));
            if waiting.iter().map(|suspended| &*suspended.label).eq(labels) {
                return waiting.try_into().unwrap();
            }
            workflow_harness::pause().await;
        }
    })
    .await
}

/// Lets the step fail, and retries the run.
async fn fail_and_retry(lab: &Lab, run: &Run<Vec<u32>>, number: usize) {
    soon(lab.executed("breaks", number)).await;
    lab.open_gate(&format!("breaks {number}"));
    assert_eq!(soon(run).await.unwrap_err().to_string(), "it is broken");
    run.retry().await.unwrap();
    soon(lab.executed("breaks", number + 1)).await;
}

on_each_store! {
    async fn a_suspension_that_waits_keeps_its_id_over_retries(place: Place) {
        for below in [false, true] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let run = match below {
                false => engine.start(asks_below, ()).await.unwrap(),
                true => engine.get_run(engine.start(asks_by_a_child, ()).await.unwrap().id()),
            };
            let before = waiting(&run, ["first", "own"]).await;
            let asked: Run<Vec<u32>> = engine.get_run(before[0].run.clone());
            for number in 1..=2 {
                fail_and_retry(&lab, &run, number).await;
                assert_eq!(waiting(&run, ["first", "own"]).await, before, "after {number} retries");
            }
            let [first, own] = before;
            asked.resume(&1).of(&first.id).await.unwrap();
            let [own_now, second] = waiting(&run, ["own", "second"]).await;
            assert_eq!(own_now, own);
            assert_ne!(second.id, first.id);
            // The next engine reads the ids from the journal.
            let ids = (run.id().to_owned(), asked.id().to_owned());
            drop((engine, run, asked));
            let engine = place.open(&lab).await;
            let (run, asked): (Run<Vec<u32>>, Run<Vec<u32>>) = (engine.get_run(ids.0), engine.get_run(ids.1));
            fail_and_retry(&lab, &run, 4).await;
            assert_eq!(waiting(&run, ["own", "second"]).await, [own.clone(), second.clone()]);
            asked.resume(&1).of(&first.id).await.expect("a repetition of the answer");
            let error = asked.resume(&7).of(&first.id).await.unwrap_err();
            assert_eq!(error.code(), Code::AlreadyResumed, "{error:?}");
            assert_eq!(waiting(&run, ["own", "second"]).await, [own.clone(), second.clone()]);
            asked.resume(&2).of(&second.id).await.unwrap();
            asked.resume(&3).of(&own.id).await.unwrap();
            lab.note("repaired");
            lab.open_gate("breaks 5");
            assert_eq!(soon(&run).await.unwrap(), [1, 2, 3]);
        }
    }
}
