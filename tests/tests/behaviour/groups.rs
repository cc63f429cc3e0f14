//! How writes share commits.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use workflow_runtime::store::{Store, Write};
use workflow_runtime::{Engine, Result, Run, sleep, step, workflow};

use crate::support::{Faulty, Lab, When};

#[step]
async fn note(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    Ok(name)
}

#[workflow]
async fn notes(name: String) -> Result<String> {
    note(name).await
}

#[workflow]
async fn sleeps(_number: u32) -> Result<()> {
    sleep(Duration::from_secs(3_600)).await;
    Ok(())
}

/// An engine on a store that holds each group of new runs until the gate `commit` is open. What it sends by itself when it
/// begins is through.
async fn holding(store: Arc<dyn Store>, lab: &Lab) -> (Engine, Faulty) {
    let (faulty, held) = (Faulty::new(store), lab.clone());
    faulty.before(move |group| {
        if group.iter().any(|write| matches!(write, Write::Claim { .. })) {
            held.note("claim");
        }
        let creates = group.iter().all(|write| matches!(write, Write::Create(_)));
        let lab = held.clone();
        creates.then(|| {
            Box::pin(async move {
                lab.note("held");
                lab.pass_gate("commit").await;
            }) as _
        })
    });
    let engine = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone()).open().await.unwrap();
    lab.executed("claim", 1).await;
    (engine, faulty)
}

on_each_store! {
    async fn a_second_group_of_writes_is_under_way_beside_a_first(place: Place) {
        let lab = Lab::new();
        let (engine, _) = holding(place.store(), &lab).await;
        let first = tokio::spawn(engine.start(notes, "first".into()).into_future());
        lab.executed("held", 1).await;
        let starts = (0..300).map(|number| engine.start(notes, format!("other {number}")).into_future());
        let others = tokio::spawn(try_join_all(starts));
        lab.executed("held", 2).await;
        lab.open_gate("commit");
        first.await.unwrap().unwrap().await.unwrap();
        for run in others.await.unwrap().unwrap() {
            run.await.unwrap();
        }
    }

    async fn a_write_that_is_refused_is_no_error_of_those_that_came_with_it(place: Place) {
        let lab = Lab::new();
        let (engine, faulty) = holding(place.store(), &lab).await;
        faulty.plan(|group| {
            let bad = |write: &Write| matches!(write, Write::Create(new) if &*new.id == "bad");
            group.iter().any(bad).then_some(When::Refused)
        });
        let first = tokio::spawn(engine.start(notes, "first".into()).into_future());
        lab.executed("held", 1).await;
        let id = |number: usize| if number == 137 { "bad".to_owned() } else { format!("run-{number}") };
        let starts = (0..300).map(|number| engine.start(notes, id(number)).id(id(number)).into_future());
        let others = tokio::spawn(join_all(starts));
        lab.executed("held", 2).await;
        lab.open_gate("commit");
        first.await.unwrap().unwrap().await.unwrap();
        for (number, started) in others.await.unwrap().into_iter().enumerate() {
            match started {
                Ok(run) => assert_eq!(run.await.unwrap(), id(number)),
                Err(error) => assert_eq!((number, error.to_string().contains("on fire")), (137, true), "{error}"),
            }
        }
        assert_eq!(lab.count("bad"), 0);
    }

    async fn a_store_that_takes_nothing_is_not_asked_for_each_write(place: Place) {
        let lab = Lab::new();
        let (engine, faulty) = holding(place.store(), &lab).await;
        let first = tokio::spawn(engine.start(notes, "first".into()).into_future());
        lab.executed("held", 1).await;
        faulty.plan(|group| group.iter().any(|write| matches!(write, Write::Create(_))).then_some(When::Refused));
        let starts = (0..300).map(|number| engine.start(notes, format!("other {number}")).into_future());
        let others = tokio::spawn(join_all(starts));
        lab.executed("held", 2).await;
        let before = faulty.groups();
        lab.open_gate("commit");
        assert!(first.await.unwrap().is_err());
        assert!(others.await.unwrap().iter().all(Result::is_err));
        assert!(faulty.groups() - before < 100, "{} groups", faulty.groups() - before);
    }

    async fn a_write_that_may_depend_on_others_waits_for_them(place: Place) {
        let lab = Lab::new();
        let (engine, faulty) = holding(place.store(), &lab).await;
        lab.open_gate("commit");
        let runs = try_join_all((0..300).map(|number| engine.start(sleeps, number).into_future())).await.unwrap();
        let (held, opened) = (lab.clone(), Arc::new(AtomicBool::new(false)));
        let is_opened = opened.clone();
        faulty.before(move |group| {
            if group.iter().all(|write| matches!(write, Write::Create(_))) {
                let lab = held.clone();
                return Some(Box::pin(async move {
                    lab.note("first");
                    lab.pass_gate("again").await;
                }) as _);
            }
            if !is_opened.load(Ordering::SeqCst) && group.iter().any(|write| matches!(write, Write::Post { .. })) {
                held.note("beside");
            }
            None
        });
        let first = tokio::spawn(engine.start(notes, "first".into()).into_future());
        lab.executed("first", 1).await;
        let cancels: Vec<_> = runs.iter().map(|run| run.id().to_owned()).collect();
        let canceller = engine.clone();
        let cancels = tokio::spawn(async move {
            let runs = cancels.iter().map(|id| canceller.get_run(id));
            join_all(runs.map(|run: Run<()>| async move { run.cancel("enough").await })).await
        });
        // Time enough for what must not happen.
        for _ in 0..100_000 {
            tokio::task::yield_now().await;
        }
        opened.store(true, Ordering::SeqCst);
        lab.open_gate("again");
        first.await.unwrap().unwrap().await.unwrap();
        assert!(cancels.await.unwrap().iter().all(Result::is_ok));
        assert_eq!(lab.count("beside"), 0);
        for run in runs {
            assert!(run.await.is_err());
        }
    }
}
