//! Recoveries: claims of runs from engines that died.

use std::sync::Arc;

use workflow_runtime::store::{
    Claim, ClaimAnswer, Fence, First, ReleaseAnswer, RowChange, RunKey, Status, Turn, TurnAnswer, Unstick,
};

use crate::fixture::*;

/// Creates a due run whose engine dies.
async fn orphan(fx: &Fixture, id: &str, wake_at: u64) -> RunKey {
    let right = fx.execute(ADA).await;
    let first = First::Turn { owner: ADA, row: row(0, 1), change: change(Status::Running, Some(wake_at)) };
    let key = fx.create(new_run(id, first)).await;
    drop(right);
    key
}

/// Lets the next engine claim the runs and die: the recoveries and the epoch of the first run.
async fn recover(fx: &Fixture, owner: u64) -> (u32, u64) {
    let _right = fx.execute(owner).await;
    let runs = fx.claim(owner, 0).await;
    assert_eq!(runs[0].fence.owner, owner);
    assert_eq!(fx.run(&runs[0].id).await, runs[0]);
    (runs[0].recoveries, runs[0].fence.epoch)
}

pub async fn claims_from_dead_engines_are_counted(fx: Fixture) {
    orphan(&fx, "r", 0).await;
    for engine in 1..=4_u32 {
        assert_eq!(recover(&fx, u64::from(engine)).await, (engine, u64::from(engine) + 1));
    }
}

pub async fn the_count_of_recoveries_is_reset_when_the_journal_grows(fx: Fixture) {
    let key = orphan(&fx, "r", 0).await;
    assert_eq!(recover(&fx, 1).await, (1, 2));
    assert_eq!(recover(&fx, 2).await, (2, 3));
    let right = fx.execute(3).await;
    let run = fx.claim(3, 0).await.remove(0);
    assert_eq!(run.recoveries, 3);
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), fence: run.fence, ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await.recoveries, 0);
    drop(right);
    assert_eq!(recover(&fx, 4).await, (1, 5));
    assert_eq!(recover(&fx, 5).await, (2, 6));
}

pub async fn the_claim_of_a_released_run_is_no_recovery(fx: Fixture) {
    let key = orphan(&fx, "r", 0).await;
    assert_eq!(recover(&fx, 1).await, (1, 2));
    let right = fx.execute(2).await;
    let run = fx.claim(2, 0).await.remove(0);
    assert_eq!(run.recoveries, 2);
    assert_eq!(fx.release(key, run.fence, 0).await, ReleaseAnswer::Committed);
    drop(right);
    assert_eq!(recover(&fx, 3).await, (2, 4), "the run has made no progress");
    assert_eq!(recover(&fx, 4).await, (3, 5));
}

pub async fn an_orphaned_run_keeps_its_due_time(fx: Fixture) {
    orphan(&fx, "r", 1_000).await;
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.claim(BOB, 999).await, []);
    assert_eq!(next_due(&*fx.store).await, Some(1_000));
    assert_eq!(fx.claim(BOB, 1_000).await[0].recoveries, 1);
}

pub async fn an_orphaned_run_with_inbox_messages_is_due_at_once(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.send("r", message("one")).await;
    // A turn that was under way when the inbox message arrived.
    fx.turn(Turn { row: Some(row(1, 2)), change: Some(change(Status::Suspended, Some(1_000))), ..turn(key) }).await;
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.claim(BOB, 0).await[0].fence, Fence { owner: BOB, epoch: 2 });
}

pub async fn the_count_of_recoveries_is_reset_when_a_stuck_run_becomes_due(fx: Fixture) {
    let key = orphan(&fx, "r", 0).await;
    assert_eq!(recover(&fx, 1).await, (1, 2));
    let right = fx.execute(2).await;
    let run = fx.claim(2, 0).await.remove(0);
    assert_eq!(run.recoveries, 2);
    let by: Arc<[Arc<str>]> = Arc::new(["build 1".into()]);
    let stuck = RowChange { refused_by: Some(by[0].clone()), ..change(Status::Stuck, None) };
    fx.turn(Turn { change: Some(stuck), fence: run.fence, ..turn(key) }).await;
    fx.commit(Unstick { refused: by.clone(), workflows: workflows(), deployment: BLUE.into() }).await;
    let ClaimAnswer::Claimed(runs) = fx.commit(Claim { refused: by, ..claim(2, 0) }).await else {
        panic!("not claimed")
    };
    assert_eq!(runs[0].recoveries, 0);
    let goes_on = change(Status::Running, Some(0));
    fx.turn(Turn { change: Some(goes_on), fence: runs[0].fence, ..turn(key) }).await;
    drop(right);
    assert_eq!(recover(&fx, 3).await, (1, 5));
}
