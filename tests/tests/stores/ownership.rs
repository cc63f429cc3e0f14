//! `Store::acquire`.

use workflow_runtime::store::{ClaimAnswer, Fence, ReleaseAnswer, Turn, TurnAnswer};

use crate::fixture::*;

pub async fn one_engine_executes_at_a_time(fx: Fixture) {
    let other = fx.another();
    let right = fx.execute(ADA).await;
    assert!(fx.store.acquire(BOB).await.unwrap().is_none());
    assert!(other.acquire(BOB).await.unwrap().is_none());
    assert!(other.acquire(ADA).await.unwrap().is_none(), "an engine with the same number is refused, too");
    fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.run("r").await.fence.owner, ADA, "a refused acquisition changes nothing");
    drop(right);
    let right = other.acquire(BOB).await.unwrap();
    assert!(right.is_some());
    assert!(fx.store.acquire(ADA).await.unwrap().is_none());
}

pub async fn writes_of_an_engine_that_lost_the_right_to_execute_are_refused(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    drop(right);
    assert_eq!(
        fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await,
        TurnAnswer::Committed,
        "no other engine has acquired the right yet"
    );
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.turn(Turn { row: Some(row(2, 3)), ..turn(key) }).await, TurnAnswer::Fenced);
    assert_eq!(fx.release(key, Fence { owner: ADA, epoch: 1 }, 0).await, ReleaseAnswer::Fenced);
    assert_eq!(fx.commit(claim(ADA, u64::MAX)).await, ClaimAnswer::Fenced);
    assert_eq!(fx.journal(key).await.len(), 2);
}

pub async fn an_engine_that_reacquires_the_right_to_execute_keeps_its_runs(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    drop(right);
    let _right = fx.execute(ADA).await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
}

pub async fn an_engine_writes_nothing_after_another_process_took_over(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    drop(right);
    let other = fx.another();
    let _right = other.acquire(BOB).await.unwrap().unwrap();
    assert_eq!(fx.turn(Turn { row: Some(row(2, 3)), ..turn(key) }).await, TurnAnswer::Fenced);
    assert_eq!(fx.journal(key).await.len(), 2);
}

pub async fn a_claim_fences_writes_under_the_previous_claim(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.release(key, Fence { owner: ADA, epoch: 1 }, 0).await, ReleaseAnswer::Committed);
    assert_eq!(fx.claim(ADA, u64::MAX).await.len(), 1);
    assert_eq!(fx.turn(Turn { row: Some(row(2, 3)), ..turn(key) }).await, TurnAnswer::Fenced);
    let next = Turn { row: Some(row(2, 3)), fence: Fence { owner: ADA, epoch: 2 }, ..turn(key) };
    assert_eq!(fx.turn(next).await, TurnAnswer::Committed);
}
