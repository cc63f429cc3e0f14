//! Types of payloads, results and errors whose code panics, or which no longer decode their own values.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Deserializer, Serialize};
use workflow_runtime::{Code, Error, Failure, Result, Run, Status, hook, step, workflow};

use crate::support::{Lab, Place, recorded, soon};

#[step(retries = 0)]
async fn does(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.pass_gate(&name).await;
    Ok(())
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[step(retries = 0)]
async fn cannot_undo(_name: String) -> Result<()> {
    Err(Error::fatal("it cannot be undone"))
}

#[derive(Serialize)]
struct Touchy(u32);

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        assert!(number != 13, "it is unlucky");
        Ok(Touchy(number))
    }
}

#[workflow]
async fn takes_what_is_touchy() -> Result<u32> {
    gated("before".into()).await?;
    Ok(hook::<Touchy>().token("t").await?.0)
}

/// An error type that panics if a failed rollback is added.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stubborn(String);

impl From<Error> for Stubborn {
    fn from(error: Error) -> Self {
        Stubborn(error.to_string())
    }
}

impl Failure for Stubborn {
    fn rollback_failed(self, rollback: &Error) -> Self {
        panic!("there is no place for {rollback}")
    }
}

#[workflow]
async fn fails_stubbornly() -> Result<(), Stubborn> {
    does("a".into()).rollback(undoes).await?;
    does("b".into()).rollback(cannot_undo).await?;
    Err(Stubborn("out of stock".into()))
}

/// An error type that panics if it is created for a cancel.
#[derive(Debug, Serialize, Deserialize)]
struct Strict(String);

impl From<Error> for Strict {
    fn from(error: Error) -> Self {
        assert!(error.code() != Code::Cancelled, "this step cannot be cancelled");
        Strict(error.to_string())
    }
}

impl Failure for Strict {}

#[step(retries = 1000, backoff = "3600s..3600s")]
async fn never_works() -> Result<String, Strict> {
    Err(Strict("no".into()))
}

#[workflow]
async fn tries_for_ever() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    let _ = never_works().rollback(undoes).await;
    Ok(())
}

/// Whether this build fails to read receipts.
static CHANGED: AtomicBool = AtomicBool::new(false);

#[derive(Serialize)]
struct Receipt(String);

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        if CHANGED.load(Ordering::SeqCst) {
            Err(serde::de::Error::custom("the type has changed"))
        } else {
            Ok(Receipt(id))
        }
    }
}

#[step(retries = 0)]
async fn charges() -> Result<Receipt> {
    Ok(Receipt("receipt".into()))
}

#[step(retries = 0)]
async fn refunds(#[resource] lab: &Lab, receipt: Receipt) -> Result<()> {
    lab.note(&format!("refunds {}", receipt.0));
    Ok(())
}

#[workflow]
async fn charges_and_fails() -> Result<()> {
    charges().rollback(refunds).await?;
    hook::<u32>().token("t").await?;
    Err(Error::fatal("out of stock"))
}

on_each_store! {
    async fn a_payload_whose_type_panics_stays_unread_and_the_hook_open(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(takes_what_is_touchy, ()).id("r").opens("t").await.unwrap();
        engine.resume_hook("t", &13).await.unwrap();
        lab.open_gate("before");
        recorded(&place, "r", "hook").await;
        let error = engine.resume_hook("t", &13).await.unwrap_err();
        assert!(error.code() == Code::Panic && error.to_string().contains("unlucky"), "{error:?}");
        engine.resume_hook("t", &1).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 1);
        assert_eq!(place.inbox("r").await, 1, "the payload is unread");
    }

    async fn an_error_that_panics_when_a_rollback_fails_is_returned_unchanged(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_stubbornly, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err(), Stubborn("out of stock".into()));
        assert_eq!(lab.notes(), ["does a", "does b", "undoes a"]);
        assert_eq!(run.status().await.unwrap(), Status::Failed);
    }

    async fn an_error_that_panics_when_its_step_is_dropped_does_not_prevent_the_cancel(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(tries_for_ever, ()).id("r").await.unwrap();
        recorded(&place, "r", "not_before").await;
        assert!(soon(run.cancel("enough")).await.unwrap());
        assert_eq!(lab.notes(), ["does a", "undoes a"]);
    }
}

case! {
    #[threads]
    async fn a_run_whose_rollback_cannot_read_its_result_waits_for_a_build_that_can() {
        let (lab, place) = (Lab::new(), Place::memory());
        let engine = place.builder(&lab).open().await.unwrap();
        let run: Run<()> = engine.start(charges_and_fails, ()).id("r").await.unwrap();
        recorded(&place, "r", "hook").await;
        CHANGED.store(true, Ordering::SeqCst);
        engine.resume_hook("t", &1).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Stuck);
        assert_eq!((run.status().await.unwrap(), lab.count("refunds receipt")), (Status::Stuck, 0));
        CHANGED.store(false, Ordering::SeqCst);
        // The failure of the workflow was not recorded, so the run can still be cancelled.
        assert!(soon(run.cancel("enough")).await.unwrap());
        assert_eq!((run.status().await.unwrap(), lab.count("refunds receipt")), (Status::Cancelled, 1));
    }
}
