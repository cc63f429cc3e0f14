//! Notices: records that callbacks are to be called for a status of a run. Engines claim them.

use std::sync::Arc;

use workflow_runtime::store::{
    Budget, ClaimNotices, ClaimNoticesAnswer, Clean, Effects, Notice, Noticed, ReturnNotice, Status, Turn,
};

use crate::fixture::*;

const CLAIM: u64 = 60_000;
const DAY: u64 = 24 * 3_600_000;

/// Creates a run that completes at this time and has a notice.
async fn completed(fx: &Fixture, id: &str, at: u64) {
    let key = fx.create(new_run(id, taken_by(ADA))).await;
    let effects = Some(Box::new(Effects { notify: Some((Status::Completed, at)), ..Effects::default() }));
    let change = Some(change(Status::Completed, None));
    fx.turn(Turn { row: Some(row(1, 2)), change, effects, ..turn(key) }).await;
}

fn claim_of(owner: u64, now: u64, limit: usize) -> ClaimNotices {
    ClaimNotices { owner, now, statuses: Arc::new([Status::Completed, Status::Stuck]), limit }
}

async fn claim(fx: &Fixture, owner: u64, now: u64, limit: usize) -> Vec<Notice> {
    match fx.commit(claim_of(owner, now, limit)).await {
        ClaimNoticesAnswer::Claimed(notices) => notices,
        ClaimNoticesAnswer::Fenced => panic!("the engine does not execute"),
    }
}

async fn ids(fx: &Fixture, owner: u64, now: u64) -> Vec<String> {
    claim(fx, owner, now, 10).await.iter().map(|notice| notice.run.id.to_string()).collect()
}

pub async fn a_claimed_notice_is_free_again_when_its_claim_expires(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, at) in [("first", 10), ("second", 20), ("third", 30)] {
        completed(&fx, id, at).await;
    }
    let one = claim(&fx, ADA, 100, 1).await;
    assert_eq!((&*one[0].run.id, one[0].status, one[0].tries), ("first", Status::Completed, 1));
    assert_eq!(
        ids(&fx, ADA, 101).await,
        ["second", "third"],
        "the notices that have been free for longest, without the claimed one"
    );
    assert!(ids(&fx, ADA, 102).await.is_empty());
    // Claimed notices are listed, too.
    assert_eq!(fx.store.notices(&[Status::Completed], 0, 10).await.unwrap().len(), 3);
    assert!(ids(&fx, ADA, 100 + CLAIM - 1).await.is_empty());
    let again = claim(&fx, ADA, 100 + CLAIM, 10).await;
    assert_eq!((again.len(), &*again[0].run.id, again[0].tries), (1, "first", 2));
    fx.commit(Noticed { sequence: again[0].sequence }).await;
    assert_eq!(ids(&fx, ADA, 102 + 3 * CLAIM).await, ["second", "third"]);
}

pub async fn a_claim_takes_notices_of_its_statuses_only(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    completed(&fx, "r", 10).await;
    let claim = ClaimNotices { statuses: Arc::new([Status::Failed, Status::Cancelled]), ..claim_of(ADA, 100, 10) };
    assert_eq!(fx.commit(claim).await, ClaimNoticesAnswer::Claimed(Vec::new()));
    assert_eq!(ids(&fx, ADA, 101).await, ["r"]);
}

pub async fn a_claim_of_notices_whose_answer_was_lost_is_answered_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    completed(&fx, "r", 10).await;
    assert_eq!(ids(&fx, ADA, 100).await, ["r"]);
    assert_eq!(ids(&fx, ADA, 100).await, ["r"], "the same claim");
    assert!(ids(&fx, ADA, 101).await.is_empty(), "another one");
}

pub async fn a_returned_notice_is_free_at_the_time_of_its_return(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    completed(&fx, "r", 10).await;
    let sequence = claim(&fx, ADA, 100, 10).await[0].sequence;
    fx.commit(ReturnNotice { sequence, owner: ADA, until: 500 }).await;
    assert!(ids(&fx, ADA, 499).await.is_empty());
    assert_eq!(claim(&fx, ADA, 500, 10).await[0].tries, 2);
    // Only the owner of the claim can return a notice.
    fx.commit(ReturnNotice { sequence, owner: BOB, until: 501 }).await;
    assert!(ids(&fx, ADA, 600).await.is_empty());
}

pub async fn a_notice_is_free_when_its_owner_has_lost_the_right_to_execute(fx: Fixture) {
    let right = fx.execute(ADA).await;
    completed(&fx, "r", 10).await;
    assert_eq!(ids(&fx, ADA, 100).await, ["r"]);
    right.give_up().await;
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.commit(claim_of(ADA, 101, 10)).await, ClaimNoticesAnswer::Fenced);
    assert_eq!(ids(&fx, BOB, 101).await, ["r"]);
    // The engine that has called the callbacks may still acknowledge the notice.
    let sequence = fx.store.notices(&[Status::Completed], 0, 1).await.unwrap()[0].sequence;
    fx.commit(ReturnNotice { sequence, owner: ADA, until: 102 }).await;
    assert!(ids(&fx, BOB, 110).await.is_empty());
    fx.commit(Noticed { sequence }).await;
    assert!(fx.store.notices(&[Status::Completed], 0, 1).await.unwrap().is_empty());
}

pub async fn unclaimed_notices_are_dropped_after_seven_days(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, at) in [("old", DAY), ("new", 2 * DAY), ("tried", DAY)] {
        completed(&fx, id, at).await;
    }
    let tried = claim(&fx, ADA, DAY, 10).await.iter().find(|notice| &*notice.run.id == "tried").unwrap().sequence;
    for notice in fx.store.notices(&[Status::Completed], 0, 10).await.unwrap() {
        let until = if notice.sequence == tried {
            3 * DAY
        } else if &*notice.run.id == "old" {
            DAY
        } else {
            2 * DAY
        };
        fx.commit(ReturnNotice { sequence: notice.sequence, owner: ADA, until }).await;
    }
    let clean = |now| Clean {
        expired: Vec::new(),
        now,
        messages_before: 0,
        runs: 10,
        most: Budget { rows: 100, bytes: 1 << 20 },
    };
    let left = async || {
        let notices = fx.store.notices(&[Status::Completed], 0, 10).await.unwrap();
        notices.iter().map(|notice| notice.run.id.to_string()).collect::<Vec<_>>()
    };
    fx.commit(clean(8 * DAY)).await;
    assert_eq!(left().await, ["old", "new", "tried"]);
    fx.commit(clean(8 * DAY + 1)).await;
    assert_eq!(left().await, ["new", "tried"]);
    fx.commit(clean(9 * DAY + 1)).await;
    assert_eq!(left().await, ["tried"], "a notice that was tried is kept longer");
    // The runs themselves stay.
    assert!(fx.store.run("old").await.unwrap().is_some());
}

pub async fn two_workers_claim_disjoint_notices(fx: Fixture) {
    let other = fx.another();
    let (right, _others) = (fx.execute(ADA).await, other.acquire(BOB).await.unwrap().unwrap());
    for number in 0..20 {
        completed(&fx, &format!("r{number}"), 10).await;
    }
    let mut claimed: Vec<String> = Vec::new();
    for now in 0..10 {
        let theirs = commit(&*other, claim_of(BOB, 100 + now, 2));
        let (ours, theirs) = tokio::join!(claim(&fx, ADA, 100 + now, 2), theirs);
        let ClaimNoticesAnswer::Claimed(theirs) = theirs else { panic!("the other engine does not execute") };
        claimed.extend(ours.iter().chain(&theirs).map(|notice| notice.run.id.to_string()));
    }
    claimed.sort_unstable();
    let number = claimed.len();
    claimed.dedup();
    assert_eq!((claimed.len(), number), (20, 20));
    // The other worker gets the notices of a worker that has stopped.
    right.give_up().await;
    let ClaimNoticesAnswer::Claimed(left) = commit(&*other, claim_of(BOB, 200, 100)).await else {
        panic!("the other engine does not execute")
    };
    assert!(!left.is_empty());
}
