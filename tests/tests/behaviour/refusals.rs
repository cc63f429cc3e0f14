//! Runs that one build cannot continue and another one can.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use workflow_runtime::store::Store;
use workflow_runtime::{Client, Code, Engine, Result, Status, hook, step, workflow};

use crate::support::{Build, Lab, ManualClock, Place, ServerClock, build, ghost, soon};

#[step]
async fn refusals_first(#[resource] lab: &Lab, id: String) -> Result<()> {
    lab.note(&format!("first {id}"));
    Ok(())
}

#[step]
async fn refusals_added(#[resource] lab: &Lab, id: String) -> Result<()> {
    lab.note(&format!("added {id}"));
    Ok(())
}

/// The build "new" has a step more.
#[workflow]
async fn waits(id: String) -> Result<String> {
    refusals_first(id.clone()).await?;
    if build().starts_with("new") {
        refusals_added(id.clone()).await?;
    }
    for n in 0..3 {
        hook::<u32>().token(format!("{id} {n}")).await?;
    }
    Ok(build())
}

async fn client(place: &Place) -> Client {
    Engine::builder().store(place.store()).connect().await.unwrap()
}

/// Starts a run and waits until it waits for its first hook.
async fn parked(place: &Place, client: &Client, id: &str) {
    let start = client.start(waits, id.to_owned()).id(id);
    // Payloads may arrive before the run has reached their hooks.
    start.opens(format!("{id} 1")).opens(format!("{id} 2")).await.unwrap();
    suspended(place, id).await;
}

async fn suspended(place: &Place, id: &str) {
    let store = place.store();
    soon(async {
        loop {
            let row = store.run(id).await.unwrap().unwrap();
            if row.status == Status::Suspended && row.fence.owner == 0 && row.wake_at != Some(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The id of the workflow of these tests.
async fn workflow_of(client: &Client) -> String {
    client.get_run::<String, workflow_runtime::Error>("r").info().await.unwrap().workflow
}

async fn status(client: &Client, id: &str, status: Status) {
    soon(async {
        while client.get_run::<String, workflow_runtime::Error>(id).status().await.unwrap() != status {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn refusers(store: &dyn Store, id: &str) -> Vec<String> {
    let by = store.run(id).await.unwrap().unwrap().refused_by;
    by.iter().flat_map(|by| by.lines()).map(|by| by.split(' ').next().unwrap().to_owned()).collect()
}

on_each_store! {
    async fn a_run_that_one_build_cannot_continue_is_stuck_until_another_one_opens(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let new = Build::at(&place, &lab, "new").await;
        parked(&place, &client, "r").await;
        new.shut_down().await;
        let old = Build::at(&place, &lab, "old").await;
        client.resume_hook("r 0", &1_u32).await.unwrap();
        let run = client.get_run::<String, workflow_runtime::Error>("r");
        let error = soon(&run).await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert!(format!("{error:?}").contains("refusals_added"), "{error:?}");
        old.has_stuck(1).await;
        assert_eq!(refusers(&*place.store(), "r").await, ["old"]);
        old.shut_down().await;
        // The same build does not try again.
        let old = Build::at(&place, &lab, "old").await;
        assert_eq!(run.status().await.unwrap(), Status::Stuck);
        old.shut_down().await;
        let new = Build::at(&place, &lab, "new").await;
        client.resume_hook("r 1", &1_u32).await.unwrap();
        client.resume_hook("r 2", &1_u32).await.unwrap();
        assert!(soon(&run).await.unwrap().starts_with("new"));
        assert_eq!(new.stuck(), 0);
        assert_eq!((lab.count("first r"), lab.count("added r")), (1, 1));
        assert_eq!(refusers(&*place.store(), "r").await, [""; 0]);
    }

    async fn a_run_that_a_build_has_refused_can_be_retried_and_cancelled(place: Place) {
        let (lab, client) = (Lab::new(), client(&place).await);
        let new = Build::at(&place, &lab, "new").await;
        for id in ["retried", "cancelled"] {
            parked(&place, &client, id).await;
        }
        new.shut_down().await;
        let old = Build::at(&place, &lab, "old").await;
        for (stuck, id) in [(1, "retried"), (2, "cancelled")] {
            client.resume_hook(format!("{id} 0"), &1_u32).await.unwrap();
            status(&client, id, Status::Stuck).await;
            old.has_stuck(stuck).await;
        }
        let run = |id: &str| client.get_run::<String, workflow_runtime::Error>(id.to_owned());
        run("retried").retry().await.unwrap();
        old.has_stuck(3).await;
        assert!(soon(run("cancelled").cancel("no more")).await.unwrap());
        assert_eq!(run("cancelled").status().await.unwrap(), Status::Cancelled);
    }
}

case! {
    #[postgres]
    async fn with_an_old_and_a_new_build_alive_each_run_ends_with_the_one_that_it_fits() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let client = client(&place).await;
        let mut ids = Vec::new();
        // The runs of each build are parked while only that one is alive.
        for name in ["old", "new"] {
            let build = Build::at(&place, &lab, name).await;
            for n in 0..20 {
                let id = format!("{name} {n}");
                parked(&place, &client, &id).await;
                ids.push(id);
            }
            build.shut_down().await;
        }
        let (old, new) = (Build::at(&place, &lab, "old").await, Build::at(&place, &lab, "new").await);
        for n in 0..3 {
            let resumed = ids.iter().map(|id| client.resume_hook(format!("{id} {n}"), &1_u32).into_future());
            assert!(join_all(resumed).await.iter().all(Result::is_ok));
        }
        for id in &ids {
            let ended = soon(client.get_run::<String, workflow_runtime::Error>(id.as_str())).await.unwrap();
            assert_eq!(ended.split(' ').next(), id.split(' ').next(), "{id} ended with {ended}");
            assert_eq!(lab.count(&format!("first {id}")), 1);
        }
        assert_eq!((old.stuck(), new.stuck()), (0, 0));
    }
}

case! {
    #[postgres]
    async fn a_run_is_stuck_once_all_builds_that_are_alive_have_refused_it() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let client = client(&place).await;
        let new = Build::at(&place, &lab, "new").await;
        parked(&place, &client, "r").await;
        new.shut_down().await;
        let (one, two) = (Build::at(&place, &lab, "old-1").await, Build::at(&place, &lab, "old-2").await);
        client.resume_hook("r 0", &1_u32).await.unwrap();
        status(&client, "r", Status::Stuck).await;
        assert_eq!(refusers(&*place.store(), "r").await, ["old-1", "old-2"]);
        soon(async {
            while one.stuck() + two.stuck() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        // While both are alive, a build that fits takes it, and keeps it.
        let new = Build::at(&place, &lab, "new").await;
        for n in 1..3 {
            client.resume_hook(format!("r {n}"), &1_u32).await.unwrap();
        }
        let ended = soon(client.get_run::<String, workflow_runtime::Error>("r")).await.unwrap();
        assert!(ended.starts_with("new"), "{ended}");
        let stuck = [&one, &two, &new].map(|build| build.stuck());
        assert_eq!(stuck.iter().sum::<usize>(), 1);
    }
}

case! {
    #[postgres]
    async fn a_refused_run_is_stuck_when_the_build_that_might_take_it_has_gone() {
        let (place, lab) = (Place::postgres().with("lease=10m"), Lab::new());
        let (client, clock) = (client(&place).await, ManualClock::right());
        let new = Build::at(&place, &lab, "new").await;
        parked(&place, &client, "r").await;
        new.shut_down().await;
        let right = ghost(&place, &workflow_of(&client).await, 7, "ghost").await;
        let builder = place.builder(&lab).store(Arc::new(ServerClock::new(place.store(), None)));
        let old = Build::open("old", builder.environment(Arc::new(clock.clone()))).await;
        client.resume_hook("r 0", &1_u32).await.unwrap();
        let store = place.store();
        soon(async {
            while refusers(&*store, "r").await != ["old"] {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let left = store.run("r").await.unwrap().unwrap();
        assert_eq!((left.status, left.wake_at, left.fence.owner), (Status::Suspended, Some(0), 0));
        right.give_up().await;
        soon(async {
            while old.stuck() == 0 {
                clock.pass(61_000);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(store.run("r").await.unwrap().unwrap().status, Status::Stuck);
        assert_eq!(refusers(&*store, "r").await, ["old"]);
    }
}

case! {
    #[postgres]
    async fn a_bound_run_is_stuck_once_the_builds_of_its_deployment_have_refused_it_whoever_else_is_alive() {
        let (place, lab) = (Place::postgres().with("lease=10m"), Lab::new());
        let (client, clock) = (client(&place).await, ManualClock::right());
        let new = Build::of("v1", "new", place.builder(&lab)).await;
        parked(&place, &client, "r").await;
        let bound = client.start(waits, "bound".to_owned()).id("bound").deployment("v1");
        bound.opens("bound 1").opens("bound 2").await.unwrap();
        suspended(&place, "bound").await;
        new.shut_down().await;
        let workflow = workflow_of(&client).await;
        // Another build of the deployment that might take it, and one of another deployment that has the workflow.
        let (same, _other) = (ghost(&place, &workflow, 7, "v1").await, ghost(&place, &workflow, 8, "v2").await);
        let builder = place.builder(&lab).store(Arc::new(ServerClock::new(place.store(), None)));
        let old = Build::of("v1", "old", builder.environment(Arc::new(clock.clone()))).await;
        let store = place.store();
        for id in ["r", "bound"] {
            client.resume_hook(format!("{id} 0"), &1_u32).await.unwrap();
            soon(async {
                while refusers(&*store, id).await != ["v1"] {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        let left = async |id: &str| {
            let row = store.run(id).await.unwrap().unwrap();
            (row.status, row.wake_at, row.fence.owner)
        };
        assert_eq!(left("bound").await, (Status::Suspended, Some(0), 0));
        same.give_up().await;
        soon(async {
            while old.stuck() == 0 {
                clock.pass(61_000);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(store.run("bound").await.unwrap().unwrap().status, Status::Stuck);
        // The other deployment may still take the one that is not bound.
        assert_eq!(left("r").await, (Status::Suspended, Some(0), 0));
        // A build is known by its limit of recoveries, too: in one process it has no other name.
        let new = Build::of("v1", "new", place.builder(&lab).recoveries(9)).await;
        for n in 1..3 {
            client.resume_hook(format!("bound {n}"), &1_u32).await.unwrap();
        }
        let ended = soon(client.get_run::<String, workflow_runtime::Error>("bound")).await;
        assert!(ended.is_ok_and(|ended| ended.starts_with("new")));
        new.shut_down().await;
    }
}
