//! Runs that require a deployment, and `Store::deploy`.

use workflow_runtime::store::{
    Claim, ClaimAnswer, CreateAnswer, Deploy, DeploymentRow, First, NEVER, NewRun, NewWorker, RunKey, Status, Turn,
};

use crate::fixture::*;

/// A run that requires a deployment and is due.
async fn bound(fx: &Fixture, id: &str, deployment: &str) -> RunKey {
    let run = new_run(id, First::Message(message("begin")));
    fx.create(NewRun { required_deployment: Some(deployment.into()), ..run }).await
}

/// The ids of the runs that a deployment claims.
async fn claimed(fx: &Fixture, deployment: &str) -> Vec<String> {
    let claim = Claim { deployment: deployment.into(), ..claim(ADA, NEVER - 1) };
    let ClaimAnswer::Claimed(runs) = fx.commit(claim).await else { panic!("not claimed") };
    runs.iter().map(|run| run.id.to_string()).collect()
}

async fn register(fx: &Fixture, owner: u64, deployment: &str) {
    let worker = NewWorker {
        owner,
        deployment: deployment.into(),
        serves: "{}".into(),
        catalogue: deployment.into(),
        digest: [deployment.len().try_into().unwrap(); 32],
        now: workflow_runtime::engine::Environment::now(&workflow_runtime::engine::System),
        since: None,
    };
    // A registration that is dropped is over.
    drop(fx.store.register(&worker).await.unwrap());
}

async fn deployment(fx: &Fixture, id: &str) -> Option<DeploymentRow> {
    fx.store.deployments().await.unwrap().into_iter().find(|row| &*row.id == id)
}

async fn deploy(fx: &Fixture, change: Deploy) -> u64 {
    fx.store.deploy(&change).await.unwrap()
}

fn drain(deployment: &str, on: bool) -> Deploy {
    Deploy::Drain { deployment: deployment.into(), on }
}

pub async fn a_run_that_requires_a_deployment_is_claimed_by_it_only(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, deployment) in [("blue", BLUE), ("green", GREEN)] {
        bound(&fx, id, deployment).await;
    }
    fx.parked("any", ORDERS, 500).await;
    let due = async |deployment| fx.store.claimable(deployment).await.unwrap().due.get(ORDERS).copied();
    assert_eq!((due(BLUE).await, due("red").await), (Some(0), Some(500)));
    assert_eq!(claimed(&fx, BLUE).await, ["blue", "any"]);
    assert_eq!((due(BLUE).await, due(GREEN).await), (None, Some(0)));
    assert_eq!(claimed(&fx, "red").await, [""; 0]);
    assert_eq!(claimed(&fx, GREEN).await, ["green"]);
    let later = fx.create(new_run("later", First::Later)).await;
    let begun =
        NewRun { required_deployment: Some(GREEN.into()), token: 7, ..new_run("later", First::Begin(message("b"))) };
    assert_eq!(fx.commit(begun).await, CreateAnswer::Created(later));
    assert_eq!(claimed(&fx, BLUE).await, [""; 0]);
    assert_eq!(claimed(&fx, GREEN).await, ["later"]);
}

pub async fn runs_are_released_from_a_deployment(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    register(&fx, ADA, BLUE).await;
    for id in ["a", "b", "c"] {
        bound(&fx, id, GREEN).await;
    }
    let first = taken_by(ADA);
    let ended = fx.create(NewRun { required_deployment: Some(GREEN.into()), ..new_run("ended", first) }).await;
    let end = workflow_runtime::store::RowChange { completed_at: Some(9), ..change(Status::Completed, None) };
    fx.turn(Turn { change: Some(end), ..turn(ended) }).await;
    register(&fx, ADA, GREEN).await;
    assert_eq!(deployment(&fx, GREEN).await.unwrap().required_by, 3);
    let release = Deploy::Release { deployment: GREEN.into(), limit: 2 };
    assert_eq!(deploy(&fx, Deploy::ReleaseRun { run: "c".into() }).await, 1);
    for run in ["c", "ended", "nothing"] {
        assert_eq!(deploy(&fx, Deploy::ReleaseRun { run: run.into() }).await, 0, "{run}");
    }
    assert_eq!(claimed(&fx, BLUE).await, ["c"]);
    assert_eq!((deploy(&fx, release.clone()).await, deploy(&fx, release).await), (2, 0));
    assert_eq!(fx.run("ended").await.required_deployment.as_deref(), Some(GREEN));
    assert_eq!(claimed(&fx, BLUE).await, ["a", "b"]);
}

pub async fn a_drained_deployment_claims_only_runs_that_require_it(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    register(&fx, ADA, BLUE).await;
    fx.parked("any", ORDERS, 0).await;
    bound(&fx, "blue", BLUE).await;
    assert_eq!(deploy(&fx, drain("unknown", true)).await, 0);
    assert_eq!(deploy(&fx, drain(BLUE, true)).await, 1);
    let claimable = fx.store.claimable(BLUE).await.unwrap();
    assert!(claimable.draining && !fx.store.claimable(GREEN).await.unwrap().draining);
    assert_eq!(claimed(&fx, BLUE).await, ["blue"]);
    assert_eq!(fx.store.claimable(BLUE).await.unwrap().due.len(), 0);
    // It is so still when the next worker of it is opened.
    register(&fx, ADA, GREEN).await;
    register(&fx, ADA, BLUE).await;
    assert!(deployment(&fx, BLUE).await.unwrap().draining);
    assert_eq!(claimed(&fx, BLUE).await, [""; 0]);
    assert_eq!(deploy(&fx, drain(BLUE, false)).await, 1);
    assert_eq!(claimed(&fx, BLUE).await, ["any"]);
}

pub async fn one_deployment_is_promoted(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    register(&fx, ADA, BLUE).await;
    bound(&fx, "keeps it", BLUE).await;
    register(&fx, ADA, GREEN).await;
    let promoted = async || {
        let rows = fx.store.deployments().await.unwrap();
        rows.into_iter().filter(|row| row.promoted).map(|row| row.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(promoted().await, [""; 0]);
    for id in [BLUE, GREEN] {
        assert!(deploy(&fx, Deploy::Promote { deployment: id.into() }).await > 0);
        assert_eq!(promoted().await, [id]);
    }
    assert_eq!(deploy(&fx, Deploy::Promote { deployment: "unknown".into() }).await, 0);
    assert_eq!(promoted().await, [GREEN]);
}

/// 100,000 due runs of a deployment without a worker, and a claim of another one: it reads only what it takes.
pub async fn a_claim_does_not_read_runs_that_are_bound_elsewhere(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let database = fx.database().await;
    let insert = "INSERT INTO runs (id, workflow, fingerprint, args_digest, token, created_at, generation, status, owner, epoch,
            wake_at, inbox_seq, recoveries, required_deployment)
        SELECT 'dead ' || n, $1, 'f', '\\x00', '\\x00', 0, 0, 'suspended', 0, 0, 0, 0, 0, 'dead' FROM generate_series(1, 100000) AS n";
    database.execute(insert, &[&ORDERS]).await.unwrap();
    database.batch_execute("ANALYZE runs").await.unwrap();
    for n in 0..3 {
        fx.parked(&format!("any {n}"), ORDERS, 5).await;
    }
    let sql = "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes
        WHERE indexrelname = 'runs_due' AND schemaname = current_schema()";
    let read = async || {
        let row = database.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    assert_eq!(claimed(&fx, BLUE).await.len(), 3);
    fx.store.claimable(BLUE).await.unwrap();
    // The server reports what a connection has done when it has been idle for a moment.
    let (mut scans, mut rows) = read().await;
    for _ in 0..600 {
        if scans > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        fx.store.claimable(BLUE).await.unwrap();
        (scans, rows) = read().await;
    }
    assert!(scans > 0, "the claims use the index");
    assert!(rows < 10_000, "{rows} entries of the index were read by {scans} scans");
}
