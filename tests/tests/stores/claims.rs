//! `Write::Claim`, `Write::Unstick` and `Store::claimable`.

use std::sync::Arc;

use workflow_runtime::store::{
    Claim, ClaimAnswer, Fence, First, NEVER, NewRun, Refused, ReleaseAnswer, RowChange, RunRow, Status, Turn,
    TurnAnswer, Unstick, Write,
};

use crate::fixture::*;

fn ids(runs: &[RunRow]) -> Vec<&str> {
    runs.iter().map(|run| &*run.id).collect()
}

pub async fn a_claim_takes_due_runs_of_known_workflows(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    fx.parked("due", ORDERS, 100).await;
    fx.parked("just due", REFUNDS, 200).await;
    fx.parked("not yet", ORDERS, 201).await;
    fx.parked("never", ORDERS, NEVER).await;
    fx.parked("unknown", "shop::other", 100).await;
    fx.create(new_run("held", taken_by(ADA))).await;
    let claimed = fx.claim(ADA, 200).await;
    assert_eq!(ids(&claimed), ["due", "just due"]);
    for run in claimed {
        assert_eq!((run.fence, run.recoveries), (Fence { owner: ADA, epoch: 2 }, 0));
        assert_eq!(fx.run(&run.id).await, run, "the claim returns the current row");
    }
    let nothing = Claim { workflows: Arc::new([]), limit: 10, ..claim(ADA, NEVER - 1) };
    assert_eq!(fx.commit(nothing).await, ClaimAnswer::Claimed(vec![]));
}

pub async fn a_claim_takes_the_longest_overdue_of_each_workflow_first_and_no_more_than_its_limit(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, workflow, wake_at) in
        [("d", ORDERS, 4), ("b", REFUNDS, 2), ("a", ORDERS, 1), ("c", ORDERS, 3), ("e", REFUNDS, 5)]
    {
        fx.parked(id, workflow, wake_at).await;
    }
    let mut taken = Vec::new();
    for _ in 0..4 {
        let claim = Claim { limit: 2, ..claim(ADA, 10) };
        let ClaimAnswer::Claimed(runs) = fx.commit(claim).await else { panic!("not claimed") };
        taken.push(runs.iter().map(|run| run.id.to_string()).collect::<String>());
    }
    assert_eq!(taken, ["ab", "ce", "d", ""], "the next of each workflow");
}

pub async fn a_claimed_run_is_not_claimed_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.parked("r", ORDERS, 0).await;
    assert_eq!(fx.claim(ADA, 1).await.len(), 1);
    assert_eq!(fx.claim(ADA, 1).await, []);
    assert_eq!(
        fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await,
        TurnAnswer::Fenced,
        "the epoch is no longer current"
    );
    let fence = Fence { owner: ADA, epoch: 2 };
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), fence, ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.release(key, fence, 0).await, ReleaseAnswer::Committed);
    assert_eq!(fx.claim(ADA, 1).await[0].fence, Fence { owner: ADA, epoch: 3 });
}

pub async fn a_claim_that_is_sent_again_after_a_doubt_returns_the_owned_runs(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    fx.parked("a", ORDERS, 1).await;
    fx.parked("b", ORDERS, 2).await;
    let first = fx.claim(ADA, 1).await;
    let ended = fx.create(new_run("ended", taken_by(ADA))).await;
    fx.turn(Turn { change: Some(change(Status::Completed, None)), ..turn(ended) }).await;
    let again = Claim { limit: 1, again: true, ..claim(ADA, 2) };
    let ClaimAnswer::Claimed(runs) = fx.commit(again).await else { panic!("not claimed") };
    assert_eq!(ids(&runs), ["a", "b"]);
    assert_eq!(runs[0], first[0], "an owned run keeps its epoch");
    assert_eq!(runs[1].fence, Fence { owner: ADA, epoch: 2 });
}

pub async fn only_the_executing_engine_claims(fx: Fixture) {
    fx.create(new_run("r", First::Message(message("begin")))).await;
    assert_eq!(fx.commit(claim(ADA, 1)).await, ClaimAnswer::Fenced);
    let _right = fx.execute(ADA).await;
    assert_eq!(fx.commit(claim(BOB, 1)).await, ClaimAnswer::Fenced);
    assert_eq!(fx.claim(ADA, 1).await.len(), 1);
}

pub async fn finished_and_stuck_runs_are_not_claimed(fx: Fixture) {
    let right = fx.execute(ADA).await;
    for status in [Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck] {
        let key = fx.create(new_run(status.as_str(), taken_by(ADA))).await;
        fx.turn(Turn { change: Some(change(status, None)), ..turn(key) }).await;
        fx.send(status.as_str(), message("late")).await;
    }
    assert_eq!(fx.claim(ADA, NEVER).await, []);
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.claim(BOB, NEVER).await, [], "they are not claimed from a dead engine either");
}

pub async fn a_stuck_run_becomes_due_for_another_build(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, by) in [("one", "build 1"), ("two", "build 2")] {
        let key = fx.create(new_run(id, taken_by(ADA))).await;
        let stuck =
            RowChange { stuck: Some("panicked".into()), refused_by: Some(by.into()), ..change(Status::Stuck, None) };
        fx.turn(Turn { change: Some(stuck), ..turn(key) }).await;
    }
    let refused = |by: &str, stuck| Refused { by: by.into(), workflow: ORDERS.into(), stuck };
    let claimable = fx.store.claimable(BLUE).await.unwrap();
    assert_eq!(claimable.refused, [refused("build 1", true), refused("build 2", true)]);
    let running = fx.create(new_run("running", taken_by(ADA))).await;
    let before = fx.run("running").await;
    let unstick = Unstick { refused: Arc::new(["build 1".into()]), workflows: workflows(), deployment: BLUE.into() };
    fx.commit(Unstick { workflows: Arc::new([REFUNDS]), ..unstick.clone() }).await;
    assert_eq!(fx.run("one").await.status, Status::Stuck, "the run is of another workflow");
    fx.commit(unstick.clone()).await;
    assert_eq!(fx.run("two").await.status, Status::Stuck);
    assert_eq!(fx.run("running").await, before);
    let one = fx.run("one").await;
    assert_eq!((one.status, one.wake_at, one.stuck.as_deref()), (Status::Running, Some(0), None));
    assert_eq!((one.recoveries, one.fence.owner), (0, 0));
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(one.key) }).await, TurnAnswer::Fenced);
    assert_eq!(one.refused_by.as_deref(), Some("build 1"));
    assert_eq!(fx.claim(ADA, 0).await, [], "the build that refused the run does not claim it");
    let takes = Claim { refused: Arc::new(["build 1".into()]), ..claim(ADA, 0) };
    let ClaimAnswer::Claimed(claimed) = fx.commit(takes).await else { panic!("not claimed") };
    assert_eq!(ids(&claimed), ["one"]);
    assert_eq!((claimed[0].fence.epoch, claimed[0].recoveries), (2, 0));
    fx.commit(unstick).await;
    assert_eq!(fx.run("one").await, claimed[0], "a run that is not stuck does not change");
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(running) }).await, TurnAnswer::Committed);
}

pub async fn a_run_that_a_build_has_refused_is_left_to_other_builds(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.parked("other", ORDERS, 0).await;
    fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await;
    let refused = |by: &str| RowChange { refused_by: Some(by.into()), ..change(Status::Suspended, Some(0)) };
    let refusal = Turn { row: Some(row(2, 3)), change: Some(refused("a 1")), ..turn(key) };
    assert_eq!(fx.turn(refusal).await, TurnAnswer::Committed);
    let left = fx.run("r").await;
    assert_eq!((left.fence.owner, left.wake_at, left.refused_by.as_deref()), (0, Some(0), Some("a 1")));
    assert_eq!(fx.turn(Turn { row: Some(row(3, 4)), ..turn(key) }).await, TurnAnswer::Fenced);
    assert_eq!(fx.turn(Turn { change: Some(refused("a 1")), ..turn(key) }).await, TurnAnswer::Fenced);
    let claimable = fx.store.claimable(BLUE).await.unwrap();
    assert_eq!(claimable.refused, [Refused { by: "a 1".into(), workflow: ORDERS.into(), stuck: false }]);
    assert_eq!(ids(&fx.claim(ADA, 10).await), ["other"]);
    assert_eq!(next_due(&*fx.store).await, None);
    let takes = |by: &[&str]| Claim { refused: by.iter().map(|by| (*by).into()).collect(), ..claim(ADA, 10) };
    assert_eq!(fx.commit(takes(&["b 1"])).await, ClaimAnswer::Claimed(vec![]));
    let ClaimAnswer::Claimed(claimed) = fx.commit(takes(&["b 1", "a 1"])).await else { panic!("not claimed") };
    assert_eq!(ids(&claimed), ["r"]);
    assert_eq!(claimed[0].fence, Fence { owner: ADA, epoch: 2 });
    // After the death of its owner the run is still refused by the build.
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(fx.claim(BOB, 10).await.iter().filter(|run| &*run.id == "r").count(), 0);
    let takes = Claim { owner: BOB, ..takes(&["a 1"]) };
    let ClaimAnswer::Claimed(claimed) = fx.commit(takes).await else { panic!("not claimed") };
    assert_eq!(claimed[0].fence, Fence { owner: BOB, epoch: 3 });
    let fence = claimed[0].fence;
    let goes_on = change(Status::Suspended, Some(NEVER));
    let turn = Turn { row: Some(row(3, 4)), change: Some(goes_on), fence, ..turn(key) };
    assert_eq!(fx.turn(turn).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await.refused_by, None);
    assert_eq!(fx.store.claimable(BLUE).await.unwrap().refused, []);
}

pub async fn the_next_due_time_is_that_of_the_earliest_claimable_run(fx: Fixture) {
    let next = async || next_due(&*fx.store).await;
    let right = fx.execute(ADA).await;
    assert_eq!(next().await, None);
    fx.parked("unknown", "shop::other", 1).await;
    assert_eq!(next().await, None);
    fx.parked("never", ORDERS, NEVER).await;
    assert_eq!(next().await, Some(NEVER));
    fx.parked("later", ORDERS, 300).await;
    assert_eq!(next().await, Some(300));
    fx.parked("sooner", REFUNDS, 200).await;
    assert_eq!(next().await, Some(200));
    assert_eq!(fx.claim(ADA, 200).await.len(), 1);
    assert_eq!(next().await, Some(300), "an owned run is not claimable");
    fx.send("never", message("wake")).await;
    assert_eq!(next().await, Some(0));
    fx.claim(ADA, 0).await;
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(next().await, Some(0), "the run of a dead engine is claimable");
}

pub async fn runs_of_an_engine_can_be_claimed_once_another_engine_executes(fx: Fixture) {
    let right = fx.execute(ADA).await;
    fx.create(new_run("r", taken_by(ADA))).await;
    drop(right);
    assert_eq!(next_due(&*fx.store).await, None);
    let _right = fx.execute(BOB).await;
    assert_eq!(next_due(&*fx.store).await, Some(10_000));
}

pub async fn unknown_workflows_are_listed_once(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let unknown = async |now| {
        let claimable = fx.store.claimable(BLUE).await.unwrap().due;
        let due = claimable.into_iter().filter(|(workflow, at)| *at <= now && !workflows().contains(&&**workflow));
        due.map(|(workflow, _)| workflow.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(unknown(NEVER).await, [""; 0]);
    for (id, workflow, wake_at) in
        [("1", ORDERS, 1), ("2", "x::b", 10), ("3", "x::b", 5), ("4", "x::a", 10), ("5", "x::late", 11), ("6", "", 9)]
    {
        fx.parked(id, workflow, wake_at).await;
    }
    let held = First::Turn { owner: ADA, row: row(0, 1), change: change(Status::Running, Some(0)) };
    fx.create(NewRun { workflow: "x::held".into(), ..new_run("7", held) }).await;
    assert_eq!(unknown(4).await, [""; 0]);
    assert_eq!(unknown(5).await, ["x::b"]);
    assert_eq!(unknown(10).await, ["", "x::a", "x::b"]);
    drop(right);
    let _right = fx.execute(BOB).await;
    assert_eq!(unknown(10).await, ["", "x::a", "x::b", "x::held"]);
    let group: Vec<_> = (0..110)
        .map(|n| NewRun {
            workflow: format!("y::{n}").into(),
            ..new_run(&format!("y{n}"), First::Message(message("b")))
        })
        .map(Write::Create)
        .collect();
    fx.group(&group).await;
    assert_eq!(unknown(10).await.len(), 114);
}

pub async fn each_workflow_gets_a_share_of_a_claim(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for number in 0..30 {
        fx.parked(&format!("order {number:02}"), ORDERS, number).await;
    }
    for number in 0..3 {
        fx.parked(&format!("refund {number}"), REFUNDS, 50 + number).await;
    }
    let claim = Claim { limit: 8, ..claim(ADA, 100) };
    let ClaimAnswer::Claimed(runs) = fx.commit(claim).await else { panic!("not claimed") };
    let mut ids: Vec<&str> = runs.iter().map(|run| &*run.id).collect();
    ids.sort_unstable();
    let orders = ["order 00", "order 01", "order 02", "order 03", "order 04"];
    assert_eq!(ids, [&orders[..], &["refund 0", "refund 1", "refund 2"]].concat());
}

pub async fn refused_runs_can_be_claimed_only_if_they_require_the_deployment(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    for (id, required) in [("any", None), ("blue", Some(BLUE)), ("green", Some(GREEN))] {
        let new = new_run(id, taken_by(ADA));
        let key = fx.create(NewRun { required_deployment: required.map(Into::into), ..new }).await;
        let refused = RowChange { refused_by: Some("a 1".into()), ..change(Status::Suspended, Some(0)) };
        fx.turn(Turn { row: Some(row(1, 2)), change: Some(refused), ..turn(key) }).await;
    }
    let by = |by: &str| -> Arc<[Arc<str>]> { Arc::new([by.into()]) };
    let claimed = async |claim: Claim| {
        let ClaimAnswer::Claimed(claimed) = fx.commit(claim).await else { panic!("not claimed") };
        claimed.iter().map(|run| run.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(claimed(Claim { refused_bound: by("b 1"), ..claim(ADA, 10) }).await, [""; 0]);
    assert_eq!(claimed(Claim { refused_bound: by("a 1"), ..claim(ADA, 10) }).await, ["blue"]);
    assert_eq!(claimed(Claim { refused: by("a 1"), ..claim(ADA, 10) }).await, ["any"]);
}
