//! Runs that are created first and started later, and the options of a start.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::Arc;

use futures::future::join_all;
use workflow_runtime::store::Write;
use workflow_runtime::{Code, Error, IfExists, Result, Status, Waiting, hook, set_state, state, step, workflow};

use crate::support::{Faulty, Lab, When, soon};

#[step]
async fn noted(#[resource] lab: &Lab, what: String) -> Result<usize> {
    Ok(lab.note(&what))
}

#[step(retries = 0)]
async fn fails_at_first(#[resource] lab: &Lab, what: String) -> Result<usize> {
    lab.note(&what);
    match lab.note("fails at first") {
        1 => Err(Error::new("not yet")),
        times => Ok(times),
    }
}

#[workflow]
async fn fails_once(what: String) -> Result<usize> {
    fails_at_first(what).await
}

#[workflow]
async fn notes(what: String) -> Result<usize> {
    noted(what).await
}

fn check(cents: &u32, currency: &str) -> Result<()> {
    match (*cents, currency) {
        (0, _) => Err(Error::new("an order costs something")),
        (_, "EUR" | "USD") => Ok(()),
        _ => panic!("no such currency"),
    }
}

#[workflow(validate = check)]
async fn charges(cents: u32, currency: String) -> Result<String> {
    noted("charged".into()).await?;
    Ok(format!("{cents} {currency}"))
}

#[workflow]
async fn charges_as_a_child(cents: u32) -> Result<String> {
    match charges(cents, "EUR".into()).await {
        Ok(charged) => Ok(charged),
        Err(error) => Ok(error.code().to_string()),
    }
}

#[workflow]
async fn begins_with_state() -> Result<Option<u32>> {
    let first = state::<u32>()?;
    hook::<()>().token("go on with the state").await?;
    set_state(&(first.unwrap_or_default() + 1))?;
    Ok(first)
}

on_each_store! {
    async fn a_created_run_is_pending_and_is_started_once(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let created = engine.create_run(notes).id("created").await.unwrap();
        assert_eq!(created.id(), "created");
        let info = created.run().info().await.unwrap();
        assert_eq!((info.status, info.started_at), (Status::Pending, None));
        assert_eq!(info.reason, Some(Waiting::NotBegun));
        created.run().wake_up().await.unwrap();
        assert_eq!(created.run().status().await.unwrap(), Status::Pending);
        let run = created.start("once".into()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 1);
        for again in [created.start("once".into()).await, created.start("other".into()).await] {
            let error = again.unwrap_err();
            assert_eq!((error.code(), error.run_id()), (Code::AlreadyStarted, Some("created")), "{error:?}");
        }
        assert_eq!((lab.count("once"), lab.count("other")), (1, 0));
        let info = run.info().await.unwrap();
        assert!(info.created_at <= info.started_at.unwrap());
    }

    async fn a_created_run_gets_a_generated_id_by_default(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let (a, b) = (engine.create_run(notes).await.unwrap(), engine.create_run(notes).await.unwrap());
        assert_ne!(a.id(), b.id());
        soon(a.start("a".into()).await.unwrap()).await.unwrap();
        assert_eq!(b.run().status().await.unwrap(), Status::Pending);
        let error = engine.create_run(charges).id(a.id()).await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists, "{error:?}");
        assert_eq!(engine.create_run(notes).id(" \n").await.unwrap_err().code(), Code::InvalidName);
    }

    async fn another_process_starts_a_created_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let created = engine.create_run(notes).id("created").await.unwrap();
        let waits = tokio::spawn(created.run().into_future());
        let client = place.builder(&lab).connect().await.unwrap();
        let theirs = client.create_run(notes).id("created").await.unwrap();
        soon(theirs.start("theirs".into()).await.unwrap()).await.unwrap();
        assert_eq!(soon(waits).await.unwrap().unwrap(), 1);
        assert_eq!(created.start("ours".into()).await.unwrap_err().code(), Code::AlreadyStarted);
        assert_eq!(lab.count("ours"), 0);
    }

    async fn of_concurrent_starts_of_a_created_run_one_succeeds(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = place.builder(&lab).connect().await.unwrap();
        for round in 0..40 {
            let id = format!("round {round}");
            let ours = engine.create_run(notes).id(&id).await.unwrap();
            let theirs = client.create_run(notes).id(&id).await.unwrap();
            let starts = (0..4).map(|n| {
                let created = if n % 2 == 0 { ours.clone() } else { theirs.clone() };
                let start = created.start(format!("{id} by {n}"));
                tokio::spawn(start.into_future())
            });
            let started: Vec<_> = join_all(starts).await.into_iter().map(|start| start.unwrap()).collect();
            let refused = started.iter().filter_map(|start| start.as_ref().err());
            assert!(refused.clone().all(|error| error.code() == Code::AlreadyStarted), "{started:?}");
            assert_eq!(refused.count(), 3);
            assert_eq!(soon(ours.run()).await.unwrap(), 1);
            assert_eq!((0..4).map(|n| lab.count(&format!("{id} by {n}"))).sum::<usize>(), 1);
        }
    }

    async fn arguments_that_are_refused_leave_a_created_run_startable(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let created = engine.create_run(charges).await.unwrap();
        let error = created.start((0, "EUR".into())).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArguments);
        assert!(format!("{error:?}").contains("an order costs something"), "{error:?}");
        let error = created.start((1, "DM".into())).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArguments, "a check that panics: {error:?}");
        assert_eq!(created.run().status().await.unwrap(), Status::Pending);
        let run = created.start((1, "EUR".into())).attribute("kind", "order").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "1 EUR");
        assert_eq!(run.attributes().await.unwrap(), BTreeMap::from([("kind".to_owned(), "order".to_owned())]));
        assert_eq!(lab.count("charged"), 1);
    }

    async fn arguments_are_validated_wherever_a_workflow_is_started(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let refused = engine.start(charges, (0, "EUR".into())).id("refused").await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArguments);
        assert!(!engine.get_run::<(), Error>("refused").exists().await.unwrap());
        let child = engine.start(charges_as_a_child, 0).await.unwrap();
        assert_eq!(soon(&child).await.unwrap(), "invalid_arguments");
        assert_eq!(child.children().await.unwrap(), [""; 0]);
        let child = engine.start(charges_as_a_child, 5).await.unwrap();
        assert_eq!(soon(child).await.unwrap(), "5 EUR");
    }

    async fn a_created_run_that_is_cancelled_does_not_start(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let created = engine.create_run(notes).await.unwrap();
        assert!(soon(created.run().cancel("not needed")).await.unwrap());
        assert_eq!(created.run().status().await.unwrap(), Status::Cancelled);
        assert_eq!(soon(created.run()).await.unwrap_err().code(), Code::Cancelled);
        let error = created.start("late".into()).await.unwrap_err();
        assert_eq!((error.code(), lab.count("late")), (Code::Cancelled, 0), "{error:?}");
        assert!(soon(created.run().cancel("again")).await.unwrap());
    }

    async fn a_concurrent_cancel_and_start_lead_to_one_end(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for round in 0..40 {
            let created = engine.create_run(notes).id(format!("round {round}")).await.unwrap();
            let run = created.run();
            let start = tokio::spawn(created.start(round.to_string()).into_future());
            let cancelled = soon(run.cancel("at once")).await.unwrap();
            let started = start.await.unwrap();
            let ended = soon(&run).await;
            assert_eq!(cancelled, ended.is_err(), "{started:?} {ended:?}");
            if started.is_err() {
                assert!(cancelled);
                assert_eq!(lab.count(&round.to_string()), 0);
            }
        }
    }

    async fn a_created_run_outlives_the_engine(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let created = engine.create_run(notes).id("created").await.unwrap();
        drop(created);
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        let created = engine.create_run(notes).id("created").await.unwrap();
        assert_eq!(soon(created.start("later".into()).await.unwrap()).await.unwrap(), 1);
    }

    async fn a_plain_start_does_not_take_a_created_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let created = engine.create_run(notes).id("created").await.unwrap();
        let error = engine.start(notes, "plain".into()).id("created").await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists, "{error:?}");
        soon(created.start("begun".into()).await.unwrap()).await.unwrap();
        assert_eq!(lab.count("plain"), 0);
        // A start whose arguments need no value, `()`, does not take the run either.
        let created = engine.create_run(begins_with_state).id("no arguments").await.unwrap();
        let error = engine.start(begins_with_state, ()).id("no arguments").await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists, "{error:?}");
        assert_eq!(created.run().status().await.unwrap(), Status::Pending);
    }

    async fn if_exists_decides_what_happens_with_an_existing_id(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(begins_with_state, ()).id("r").await.unwrap();
        let start = |policy| engine.start(begins_with_state, ()).id("r").if_exists(policy);
        assert_eq!(start(IfExists::Reuse).await.unwrap().id(), "r");
        assert_eq!(start(IfExists::ReuseUnfinished).await.unwrap().id(), "r");
        let error = start(IfExists::Reject).await.unwrap_err();
        assert_eq!((error.code(), error.run_id()), (Code::RunExists, Some("r")), "{error:?}");
        engine.resume_hook("go on with the state", &()).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!(start(IfExists::Reuse).await.unwrap().id(), "r");
        let error = start(IfExists::ReuseUnfinished).await.unwrap_err();
        assert_eq!(error.code(), Code::RunExists, "{error:?}");
        let fresh = engine.start(notes, "fresh".into()).id("fresh").if_exists(IfExists::Reject).await.unwrap();
        assert_eq!(soon(fresh).await.unwrap(), 1);
    }

    async fn replace_failed_replaces_a_failed_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let start = |what: &str| engine.start(fails_once, what.to_owned()).id("r").if_exists(IfExists::ReplaceFailed);
        let failed = start("first").await.unwrap();
        assert!(soon(&failed).await.is_err());
        let replaced = start("second").await.unwrap();
        assert_eq!(soon(&replaced).await.unwrap(), 2);
        assert_eq!((replaced.info().await.unwrap().generation, replaced.steps().await.unwrap().len()), (0, 1));
        assert_eq!(start("second").await.unwrap().id(), "r", "a completed run is not replaced");
        assert_eq!(start("third").await.unwrap_err().code(), Code::RunExists);
        let starts = join_all((0..6).map(|_| engine.start(fails_once, "at once".into()).id("s").into_future())).await;
        assert!(starts.iter().all(|start| start.is_ok()), "{starts:?}");
    }

    async fn a_failed_run_stays_until_its_replacement_is_committed(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let engine = place.builder(&lab).store(Arc::new(faulty.clone())).open().await.unwrap();
        let start = |what: &str| engine.start(fails_once, what.to_owned()).id("r").if_exists(IfExists::ReplaceFailed);
        let failed = start("first").await.unwrap();
        assert!(soon(&failed).await.is_err());
        let creates = |group: &[Write]| {
            group.iter().any(|write| matches!(write, Write::Create(_) | Write::Replace(_)))
        };
        faulty.plan(move |group| creates(group).then_some(When::Refused));
        start("second").await.unwrap_err();
        assert_eq!(failed.status().await.unwrap(), Status::Failed);
        assert!(soon(&failed).await.is_err(), "the failed run is still readable");
        let mut doubts = [When::CommittedButInDoubt].into_iter();
        faulty.plan(move |group| creates(group).then(|| doubts.next()).flatten());
        assert_eq!(soon(start("second").await.unwrap()).await.unwrap(), 2);
        assert_eq!(lab.count("second"), 1, "{:?}", lab.notes());
    }
}
