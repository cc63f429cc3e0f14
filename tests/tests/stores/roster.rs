//! `Store::register`: the list of workers, and the catalogues of their builds.

use workflow_runtime::store::{First, NewRun, NewWorker, WorkerRow};

use crate::fixture::*;

fn worker(owner: u64, deployment: &str, catalogue: &str) -> NewWorker {
    let mut digest = [0; 32];
    digest[..catalogue.len()].copy_from_slice(catalogue.as_bytes());
    let (deployment, catalogue) = (deployment.into(), catalogue.into());
    NewWorker { owner, deployment, serves: "all".into(), catalogue, digest, now: 1_000, since: None }
}

/// The listed workers: number, deployment, whether it is alive, and whether it executes.
async fn listed(fx: &Fixture) -> Vec<(u64, Option<String>, bool, bool)> {
    let row = |row: WorkerRow| (row.owner, row.deployment.map(|id| id.to_string()), row.is_alive, row.executes);
    fx.another().workers().await.unwrap().into_iter().map(row).collect()
}

/// The deployments with their catalogues.
async fn published(fx: &Fixture) -> Vec<(String, String)> {
    let mut deployments: Vec<_> = fx.another().deployments().await.unwrap().into_iter().collect();
    deployments.sort_by(|a, b| a.id.cmp(&b.id));
    deployments.into_iter().map(|row| (row.id.to_string(), row.catalogue.to_string())).collect()
}

fn of(deployments: &[(&str, &str)]) -> Vec<(String, String)> {
    deployments.iter().map(|(id, catalogue)| ((*id).to_owned(), (*catalogue).to_owned())).collect()
}

pub async fn a_worker_is_listed_until_it_leaves(fx: Fixture) {
    assert_eq!(listed(&fx).await, []);
    let right = fx.execute(ADA).await;
    let registration = fx.store.register(&worker(ADA, "v1", "one")).await.unwrap();
    assert_eq!(listed(&fx).await, [(ADA, Some("v1".to_owned()), true, true)]);
    let row = fx.another().workers().await.unwrap().remove(0);
    assert_eq!((row.pid, &*row.kind, row.draining), (Some(std::process::id()), "engine", false));
    assert_eq!(row.serves.as_deref(), Some("all"));
    // Register again with another deployment.
    drop(registration);
    let registration = fx.store.register(&worker(ADA, "v2", "two")).await.unwrap();
    assert_eq!(listed(&fx).await, [(ADA, Some("v2".to_owned()), true, true)]);
    if let Some(registration) = registration {
        registration.leave().await;
    }
    right.give_up().await;
    assert_eq!(listed(&fx).await, []);
}

pub async fn unused_catalogues_are_removed_by_the_next_worker(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let first = fx.store.register(&worker(ADA, "v1", "one")).await.unwrap();
    drop(first);
    // The same catalogue under another deployment.
    let second = fx.store.register(&worker(ADA, "v2", "one")).await.unwrap();
    assert_eq!(published(&fx).await, of(&[("v2", "one")]), "no worker has v1");
    drop(second);
    let third = fx.store.register(&worker(ADA, "v2", "two")).await.unwrap();
    assert_eq!(published(&fx).await, of(&[("v2", "two")]));
    drop(third);
    right.give_up().await;
    let right = fx.execute(BOB).await;
    let registration = fx.store.register(&worker(BOB, "v3", "three")).await.unwrap();
    assert!(published(&fx).await.contains(&("v3".to_owned(), "three".to_owned())));
    drop((registration, right));
}

pub async fn deployments_with_one_catalogue_share_a_copy(fx: Fixture) {
    let other = fx.another();
    let rights = (fx.store.acquire(ADA).await.unwrap(), other.acquire(BOB).await.unwrap());
    let first = fx.store.register(&worker(ADA, "v1", "one")).await.unwrap();
    let second = other.register(&worker(BOB, "v2", "one")).await.unwrap();
    assert_eq!(published(&fx).await, of(&[("v1", "one"), ("v2", "one")]));
    // The deployment that stores the copy publishes another catalogue.
    drop(first);
    let third = fx.store.register(&worker(ADA, "v1", "two")).await.unwrap();
    assert_eq!(published(&fx).await, of(&[("v1", "two"), ("v2", "one")]));
    drop(third);
    let fourth = fx.store.register(&worker(ADA, "v2", "one")).await.unwrap();
    assert_eq!(published(&fx).await, of(&[("v2", "one")]));
    drop((second, fourth, rights));
}

pub async fn an_engine_that_is_registered_again_does_not_make_its_deployment_the_latest(fx: Fixture) {
    // A run that requires it keeps the deployment while no worker has it.
    let run = new_run("bound", First::Message(message("begin")));
    fx.create(NewRun { required_deployment: Some("v1".into()), ..run }).await;
    drop(fx.store.register(&worker(ADA, "v1", "one")).await.unwrap());
    let right = fx.execute(BOB).await;
    let second = fx.store.register(&NewWorker { now: 2_000, ..worker(BOB, "v2", "two") }).await.unwrap();
    // The first engine has lost the right to execute, and has another number.
    let again = NewWorker { now: 3_000, since: Some(1_000), ..worker(ADA + 1, "v1", "one") };
    let first = fx.store.register(&again).await.unwrap();
    let deployments = fx.another().deployments().await.unwrap();
    let latest = deployments.iter().max_by_key(|deployment| deployment.activated_at).map(|deployment| &*deployment.id);
    assert_eq!((deployments.len(), latest), (2, Some("v2")));
    drop((first, second, right));
}
