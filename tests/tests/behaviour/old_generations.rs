//! Ends of attempts that a run has not received in the generation that made the attempts. They wait in its inbox, and are for
//! no operation of a later generation, which counts its operations anew.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll};

use workflow_runtime::{
    Client, Code, Durable, Engine, Error, Result, Run, Status, finish, hook, run_id, step, suspend, workflow,
};

use crate::support::{Build, Lab, Place, build, soon};

/// The labs of the runs, for workflows that break.
static LABS: LazyLock<Mutex<HashMap<String, Lab>>> = LazyLock::new(Mutex::default);

/// Is ready once an attempt of the step has ended: its end is then among what the run has not received.
struct Ended {
    lab: Lab,
    times: usize,
}

impl Ended {
    fn of(id: &str) -> Self {
        let lab = LABS.lock().unwrap()[id].clone();
        let times = lab.note("broken");
        Ended { lab, times }
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.lab.open_gate("attempt");
        while self.lab.count("ended") < self.times {
            // Other tasks of this thread, as that of the attempt, continue elsewhere.
            tokio::task::block_in_place(std::thread::yield_now);
        }
        Poll::Ready(())
    }
}

impl Durable for Ended {}

/// Ends early, with the number of the attempt.
#[step]
async fn ends_early(#[resource] lab: &Lab, how: String) -> Result<u32> {
    let number = u32::try_from(lab.note("attempt"))?;
    lab.pass_gate("attempt").await;
    let answer = match how.as_str() {
        "suspends" => suspend::<u32>(&number).await,
        _ => finish(number).await,
    };
    lab.note("ended");
    answer
}

#[step]
async fn ends_late(#[resource] lab: &Lab) -> Result<u32> {
    lab.pass_gate("second generation").await;
    Ok(100)
}

#[step]
async fn only_in_the_other_build() -> Result<()> {
    Ok(())
}

/// Operation 0 is the hook, and operation 1 the step, in both generations.
#[workflow]
async fn goes_on(how: String, continues: bool, again: bool) -> Result<u32> {
    let id = run_id().unwrap_or_default();
    if build() == "other" {
        only_in_the_other_build().await?;
    }
    let goes = async {
        hook::<()>().token(format!("{id} {again}")).await?;
        if build() == "old" {
            Ended::of(&id).await;
            // Not a panic, which would drop the call of the step.
            finish("no number".to_owned()).await?;
        }
        if continues && !again {
            goes_on(how.clone(), continues, true).continue_as_new().await?;
        }
        Ok(())
    };
    let ends = async { if again { ends_late().await } else { ends_early(how.clone()).await } };
    let ((), number) = tokio::try_join!(goes, ends)?;
    Ok(number)
}

struct Left {
    client: Client,
    run: Run<u32>,
}

/// A run that is stuck in its first generation. Its inbox has the payload at which it broke, and the end of an attempt.
async fn stuck(place: &Place, lab: &Lab, id: &str, how: &str, continues: bool) -> Left {
    LABS.lock().unwrap().insert(id.to_owned(), lab.clone());
    let client = Engine::builder().store(place.store()).connect().await.unwrap();
    let old = Build::at(place, lab, "old").await;
    let run = client.start(goes_on, (how.to_owned(), continues, false)).id(id).await.unwrap();
    soon(lab.executed("attempt", 1)).await;
    client.resume_hook(format!("{id} false"), &()).await.unwrap();
    for times in 1.. {
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Stuck);
        old.has_stuck(times).await;
        if place.inbox(id).await == 2 {
            break;
        }
        // The end of the attempt came too late.
        run.retry().await.unwrap();
        soon(lab.executed("broken", times + 1)).await;
    }
    old.shut_down().await;
    assert_eq!(run.info().await.unwrap().generation, 0);
    Left { client, run }
}

/// Waits until a run has taken all messages from its inbox in this generation.
async fn read(place: &Place, run: &Run<u32>, generation: u64) {
    soon(async {
        while run.info().await.unwrap().generation < generation || place.inbox(run.id()).await > 0 {
            workflow_harness::pause().await;
        }
    })
    .await;
    assert_eq!(run.info().await.unwrap().generation, generation);
}

on_each_store! {
    async fn an_end_of_an_attempt_does_not_pass_to_the_next_generation(place: Place) {
        for how in ["suspends", "finishes"] {
            // Other stores have runs of the same kind, and `LABS` is shared.
            let (lab, id) = (Lab::new(), format!("{how} {}", uuid::Uuid::new_v4()));
            let Left { client, run } = stuck(&place, &lab, &id, how, true).await;
            let new = Build::at(&place, &lab, "new").await;
            read(&place, &run, 1).await;
            assert_eq!(run.suspended().await.unwrap(), [], "the step of the first generation {how}");
            assert!(!run.status().await.unwrap().is_terminal(), "the step of the first generation {how}");
            lab.open_gate("second generation");
            client.resume_hook(format!("{id} true"), &()).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), 100, "the step of the first generation {how}");
            assert_eq!(new.stuck(), 0);
            new.shut_down().await;
        }
    }

    async fn an_end_of_an_attempt_does_not_pass_to_the_generation_of_a_retry(place: Place) {
        for how in ["suspends", "finishes"] {
            let (lab, id) = (Lab::new(), format!("{how} {}", uuid::Uuid::new_v4()));
            let Left { client, run } = stuck(&place, &lab, &id, how, false).await;
            // This build cannot replay the run, so that the run does not receive what is in its inbox before it is cancelled.
            let other = Build::at(&place, &lab, "other").await;
            other.has_stuck(1).await;
            assert!(soon(run.cancel("enough")).await.unwrap());
            assert_eq!(run.status().await.unwrap(), Status::Cancelled);
            assert_eq!(place.inbox(&id).await, 2);
            other.shut_down().await;
            let before = lab.count("attempt");
            let new = Build::at(&place, &lab, "new").await;
            run.retry().await.unwrap();
            soon(lab.executed("attempt", before + 1)).await;
            let latest = u32::try_from(before + 1).unwrap();
            if how == "finishes" {
                assert_eq!(soon(&run).await.unwrap(), latest);
            } else {
                let asked = soon(async {
                    loop {
                        if let [asked] = &run.suspended().await.unwrap()[..] {
                            break asked.payload.clone();
                        }
                        workflow_harness::pause().await;
                    }
                });
                assert_eq!(asked.await, latest);
                run.resume(&7).await.unwrap();
                assert_eq!(soon(&run).await.unwrap(), 7);
            }
            let error = client.get_run::<u32, Error>(id.as_str()).retry().await.unwrap_err();
            assert_eq!(error.code(), Code::NotRepairable);
            assert_eq!(new.stuck(), 0);
            new.shut_down().await;
        }
    }
}
