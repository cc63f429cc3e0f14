//! `Write::RemoveGenerations`.

use workflow_runtime::store::{
    Binding, Budget, CleanAnswer, Continuation, Delete, DeleteAnswer, Effects, Fence, RemoveGenerations,
    RemoveGenerationsAnswer, RunKey, Status, Turn, TurnAnswer,
};

use super::removal::{MARK, clean, effects, end};
use crate::fixture::*;

/// Ends a generation of a run with the row of this index: the fence of the next generation.
async fn continued(fx: &Fixture, turn: Turn, index: u64) -> Fence {
    let start = keyed("start", &format!("start {} {}", turn.run, turn.generation));
    let next = Continuation { start, payloads: Vec::new(), forwards: Vec::new(), binding: Binding::Kept };
    let doing = effects(Effects { continuation: Some(next), ..Effects::default() });
    let last = Turn { row: Some(row(index, 1_000)), change: Some(change(Status::Running, Some(0))), ..turn };
    assert_eq!(fx.turn(Turn { effects: doing, ..last }).await, TurnAnswer::Committed);
    fx.claim(ADA, 1_000).await[0].fence
}

fn old(run: RunKey, from: u64, until: u64, most: Budget) -> RemoveGenerations {
    RemoveGenerations { run, from, until, first_event: 10 * until, continuations: until - from, most }
}

/// The first generation that is kept, its first event, and the number of continuations since.
async fn kept(fx: &Fixture, id: &str) -> (u64, u64, u64) {
    let row = fx.run(id).await;
    (row.first_generation, row.first_event, row.continuations)
}

pub async fn the_oldest_generations_of_a_run_are_removed_and_the_others_stay(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    assert_eq!(fx.store.continued(0, None, 10).await.unwrap(), []);
    let mut fence = continued(&fx, turn(key), 1).await;
    for generation in 1..4 {
        let turn = Turn { generation, fence, ..turn(key) };
        fx.turn(Turn { row: Some(row(0, 2)), ..turn.clone() }).await;
        fence = continued(&fx, turn, 1).await;
    }
    assert_eq!(kept(&fx, "r").await, (0, 0, 4));
    let lengths = async || {
        let mut lengths = Vec::new();
        for generation in 0..4 {
            lengths.push(fx.store.journal(key, generation, 0, 100).await.unwrap().len());
        }
        lengths
    };
    let removed = async |remove| fx.commit(remove).await == RemoveGenerationsAnswer::Committed;
    let ids = async |least, after| {
        let rows = fx.store.continued(least, after, 10).await.unwrap();
        rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(4, None).await, ["r"]);
    assert!(ids(5, None).await.is_empty() && ids(1, Some((4, key))).await.is_empty());
    for refused in [old(key, 1, 2, ALL), old(key, 0, 5, ALL), old(key + 1, 0, 1, ALL)] {
        assert!(!removed(refused.clone()).await, "{refused:?}");
    }
    assert_eq!((kept(&fx, "r").await, lengths().await), ((0, 0, 4), vec![2, 2, 2, 2]));

    assert!(removed(old(key, 0, 2, ALL)).await);
    assert!(!removed(old(key, 0, 2, ALL)).await, "the removal was sent again");
    assert_eq!((kept(&fx, "r").await, lengths().await), ((2, 20, 2), vec![0, 0, 2, 2]));
    assert_eq!(fx.journal(other).await.len(), 1);
    assert!(ids(3, None).await.is_empty());
    assert_eq!(ids(2, None).await, ["r"]);
    // The run continues as before.
    let turn = Turn { generation: 4, fence, ..turn(key) };
    assert_eq!(fx.turn(Turn { row: Some(row(0, 2)), ..turn.clone() }).await, TurnAnswer::Committed);
    assert!(removed(old(key, 2, 4, ALL)).await, "the current generation is not removed");
    assert_eq!((kept(&fx, "r").await, lengths().await), ((4, 40, 0), vec![0; 4]));
    assert_eq!(fx.store.journal(key, 4, 0, 10).await.unwrap().len(), 1);
    continued(&fx, turn, 1).await;
    assert_eq!(kept(&fx, "r").await, (4, 40, 1));
}

pub async fn the_rows_of_a_long_generation_are_removed_in_batches_or_with_its_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let before = fx.rows(MARK).await;
    let most = Budget { rows: 10, bytes: 1 << 20 };
    let mut runs = Vec::new();
    for id in ["continues", "is deleted"] {
        let key = fx.create(new_run(id, taken_by(ADA))).await;
        for index in 1..45 {
            fx.turn(Turn { row: Some(row(index, u128::from(index))), ..turn(key) }).await;
        }
        let fence = continued(&fx, turn(key), 45).await;
        assert_eq!(fx.commit(old(key, 0, 1, most)).await, RemoveGenerationsAnswer::Committed);
        assert_eq!(kept(&fx, id).await, (1, 10, 0));
        runs.push((key, fence));
    }
    let last = |(run, fence): (RunKey, Fence)| Turn {
        generation: 1,
        fence,
        row: Some(row(0, 3)),
        delivered: Vec::new(),
        ..end(run, Status::Completed, 5)
    };
    fx.turn(last(runs[1])).await;
    assert_eq!(
        fx.commit(Delete { run: runs[1].0, most, deletion_message: message("deletion_message") }).await,
        DeleteAnswer::Committed
    );
    let mut parts = 0;
    while fx.commit(clean(Vec::new(), 0, 5, most)).await == (CleanAnswer { more: true }) {
        parts += 1;
        assert!(parts < 50, "the cleaning does not end");
    }
    assert!(fx.directory.is_none() && fx.url.is_none() || (5..=9).contains(&parts), "{parts} parts");
    assert_eq!(fx.store.journal(runs[0].0, 0, 0, 100).await.unwrap().len(), 0);
    assert_eq!(fx.turn(last(runs[0])).await, TurnAnswer::Committed);
    assert_eq!(fx.commit(delete(runs[0].0)).await, DeleteAnswer::Committed);
    assert_eq!(fx.rows(MARK).await, before);
}

pub async fn recoveries_are_kept_when_old_generations_are_removed(fx: Fixture) {
    let right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let fence = continued(&fx, turn(key), 1).await;
    fx.turn(Turn { generation: 1, fence, row: Some(row(0, 2)), ..turn(key) }).await;
    drop(right);
    let _right = fx.execute(BOB).await;
    fx.claim(BOB, 2_000).await;
    assert_eq!(fx.run("r").await.recoveries, 1);
    assert_eq!(fx.commit(old(key, 0, 1, ALL)).await, RemoveGenerationsAnswer::Committed);
    assert_eq!(fx.run("r").await.recoveries, 1);
}
