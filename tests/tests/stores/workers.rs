//! Leases of workers on PostgreSQL, where any number of engines may execute.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use workflow_runtime::engine::System;
use workflow_runtime::store::{
    Claim, ClaimAnswer, CreateAnswer, Fence, First, PostgresStore, RunRow, Status, Store, Turn, TurnAnswer,
};

use crate::fixture::*;

/// Long enough for any machine to renew it in time.
const LEASE: &str = "&lease=1500ms";
const EVE: u64 = 0x0EE0_0000_0000_0003;
const LONG: &str = "&lease=10m";

/// Creates a run of a worker whose lease is never renewed, as if its process were killed.
fn dies(fx: &Fixture, owner: u64, id: &'static str) {
    let url = fx.url.clone().unwrap();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = PostgresStore::open(&url).await.unwrap();
            let right = store.acquire(owner).await.unwrap().unwrap();
            let first = First::Turn { owner, row: row(0, 1), change: change(Status::Running, Some(0)) };
            assert!(matches!(commit(&store, new_run(id, first)).await, CreateAnswer::Created(_)));
            std::mem::forget(right);
        });
        runtime.shutdown_background();
    });
    process.join().unwrap();
}

/// Claims until there is a run, and tries again after each change.
async fn claims(store: &dyn Store, owner: u64) -> Vec<RunRow> {
    let claims = async {
        loop {
            match commit(store, claim(owner, 0)).await {
                ClaimAnswer::Claimed(runs) if runs.is_empty() => store.changed(&System).await,
                ClaimAnswer::Claimed(runs) => return runs,
                other => panic!("not claimed: {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), claims).await.expect("a run can be claimed in time")
}

async fn disjoint(fx: Fixture) {
    let other = fx.another();
    let rights = (fx.execute(ADA).await, other.acquire(BOB).await.unwrap().unwrap());
    for number in 0..60 {
        fx.parked(&format!("r{number:02}"), ORDERS, number).await;
    }
    let take = async |store: Arc<dyn Store>, owner| {
        let mut taken = Vec::new();
        loop {
            let claim = Claim { limit: 7, ..claim(owner, 100) };
            let ClaimAnswer::Claimed(runs) = commit(&*store, claim).await else { panic!("not claimed") };
            taken.extend(runs);
            if next_due(&*store).await.is_none() {
                return taken;
            }
        }
    };
    let (ada, bob) = tokio::join!(take(fx.store.clone(), ADA), take(other.clone(), BOB));
    assert!(ada.iter().all(|run| run.fence == Fence { owner: ADA, epoch: 2 }));
    assert!(bob.iter().all(|run| run.fence == Fence { owner: BOB, epoch: 2 }));
    let mut all: Vec<_> = ada.iter().chain(&bob).map(|run| run.id.to_string()).collect();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), ada.len() + bob.len()), (60, 60));
    drop(rights);
}

pub async fn concurrent_workers_claim_disjoint_runs(fx: Fixture) {
    disjoint(fx).await;
}

pub async fn concurrent_workers_claim_disjoint_runs_without_skip_locked(fx: Fixture) {
    disjoint(Fixture::postgres_with("&skip_locked=off")).await;
    drop(fx);
}

pub async fn any_number_of_engines_execute(fx: Fixture) {
    let other = fx.another();
    let _rights = (fx.execute(ADA).await, other.acquire(BOB).await.unwrap().unwrap());
    let ada = fx.create(new_run("ada", taken_by(ADA))).await;
    let bobs = commit(&*other, new_run("bob", taken_by(BOB))).await;
    assert!(matches!(bobs, CreateAnswer::Created(_)));
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(ada) }).await, TurnAnswer::Committed);
}

pub async fn the_runs_of_a_dead_worker_are_claimed_by_others(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with(LEASE);
    dies(&fx, ADA, "r");
    let _right = fx.execute(BOB).await;
    let runs = claims(&*fx.store, BOB).await;
    assert_eq!((runs[0].fence, runs[0].recoveries), (Fence { owner: BOB, epoch: 2 }, 1));
    let late = Turn { row: Some(row(1, 2)), ..turn(runs[0].key) };
    assert_eq!(fx.turn(late).await, TurnAnswer::Fenced, "a late turn of the dead worker is refused");
    assert_eq!(fx.commit(claim(ADA, u64::MAX)).await, ClaimAnswer::Fenced);
    assert_eq!(fx.commit(new_run("late", taken_by(ADA))).await, CreateAnswer::Fenced);
}

pub async fn a_worker_records_its_host_and_process_id(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let rows = fx.database().await.query("SELECT host, pid FROM workers", &[]).await.unwrap();
    let workers: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(workers, [(host, i64::from(std::process::id()))]);
}

pub async fn a_locked_run_does_not_block_the_takeover_of_others(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with(LEASE);
    dies(&fx, ADA, "locked");
    dies(&fx, EVE, "free");
    // Simulates a process that stalled during a write.
    let mut database = fx.database().await;
    let silent = database.transaction().await.unwrap();
    silent.batch_execute("SELECT 1 FROM runs WHERE id = 'locked' FOR UPDATE").await.unwrap();
    let _right = fx.execute(BOB).await;
    let runs = claims(&*fx.store, BOB).await;
    assert_eq!(runs.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["free"]);
    silent.rollback().await.unwrap();
    assert_eq!(&*claims(&*fx.store, BOB).await[0].id, "locked");
}

pub async fn the_runs_of_a_lease_that_is_given_up_are_free_at_once(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with(LONG);
    let other = fx.another();
    let _bob = other.acquire(BOB).await.unwrap().unwrap();
    for (id, give_up) in [("dropped", false), ("given up", true)] {
        let right = fx.execute(ADA).await;
        let first = First::Turn { owner: ADA, row: row(0, 1), change: change(Status::Running, Some(0)) };
        let key = fx.create(new_run(id, first)).await;
        match give_up {
            true => right.give_up().await,
            false => drop(right),
        }
        assert_eq!(claims(&*other, BOB).await[0].key, key);
        assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Fenced);
    }
}

pub async fn a_lease_lasts_as_long_as_it_is_renewed(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with(LEASE);
    let other = fx.another();
    let rights = (fx.execute(ADA).await, other.acquire(BOB).await.unwrap().unwrap());
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let database = fx.database().await;
    let until = async || {
        let row = database.query_one("SELECT extract(epoch FROM min(expires_at))::float8 FROM workers", &[]).await;
        row.unwrap().get::<_, f64>(0)
    };
    let first = until().await;
    // Three times the duration of the lease.
    while until().await < first + 4.5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    assert!(rights.0.lost().now_or_never().is_none() && rights.1.lost().now_or_never().is_none());
}

pub async fn a_worker_that_was_declared_dead_loses_its_right_to_execute(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with(LEASE);
    let right = fx.execute(ADA).await;
    let lost = right.lost();
    fx.database().await.batch_execute("DELETE FROM workers").await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), lost).await.expect("the right is lost");
}

pub async fn a_worker_that_cannot_renew_its_lease_loses_its_right_before_it_ends(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with(LEASE);
    let right = fx.execute(ADA).await;
    let mut database = fx.database().await;
    let cut = database.transaction().await.unwrap();
    // No renewal succeeds from here on.
    cut.batch_execute("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let row =
        cut.query_one("SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM workers", &[]).await;
    let left = Duration::from_secs_f64(row.unwrap().get(0));
    tokio::time::timeout(left, right.lost()).await.expect("the right is lost before the lease ends");
    cut.rollback().await.unwrap();
}
