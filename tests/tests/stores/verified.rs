//! Verified heads: runs whose last row a worker on PostgreSQL knows, and when it must not trust that knowledge.

use std::time::Duration;

use workflow_runtime::engine::System;
use workflow_runtime::store::{Answer, CreateAnswer, RunKey, Status, Turn, TurnAnswer, Write};

use crate::fixture::*;

/// Creates a run with a verified head.
async fn with_verified_head(fx: &Fixture, id: &str) -> RunKey {
    let key = fx.create(new_run(id, taken_by(ADA))).await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    key
}

async fn lose_the_last_row(fx: &Fixture) {
    let database = fx.database().await;
    let lost = database.execute("DELETE FROM journal AS lost WHERE idx = (SELECT max(idx) FROM journal)", &[]).await;
    assert_eq!(lost.unwrap(), 1);
}

fn next(key: RunKey) -> Turn {
    Turn { row: Some(row(2, 3)), ..turn(key) }
}

pub async fn a_worker_that_was_declared_dead_appends_nothing(fx: Fixture) {
    drop(fx);
    // The lease is so long that it is not renewed during the test.
    let fx = Fixture::postgres_with("&lease=10m");
    let _right = fx.execute(ADA).await;
    let (key, locked) = (with_verified_head(&fx, "r").await, with_verified_head(&fx, "locked").await);
    let mut database = fx.database().await;
    database.batch_execute("UPDATE workers SET expires_at = now() - interval '1 second'").await.unwrap();
    let another = fx.another();
    // Lock a run, so that the takeover cannot claim it: the dead worker's row stays as long as it owns a run.
    let holds = database.transaction().await.unwrap();
    holds.query("SELECT 1 FROM runs WHERE key = $1 FOR UPDATE", &[&locked]).await.unwrap();
    let _takes_over = another.acquire(BOB).await.unwrap().unwrap();
    holds.rollback().await.unwrap();
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Fenced);
    assert_eq!(fx.journal(key).await.len(), 2);
    let workers = database.query("SELECT owner FROM workers", &[]).await.unwrap().len();
    assert_eq!(workers, 2, "the row of the dead worker stays while it owns a run");
    // A late renewal does not revive the worker.
    let renewed = "UPDATE workers SET expires_at = now() + interval '1 hour' WHERE round < 9223372036854775807";
    assert_eq!(database.execute(renewed, &[]).await.unwrap(), 1);
}

pub async fn an_append_at_an_existing_index_is_refused_and_does_not_affect_its_group(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys =
        [with_verified_head(&fx, "a").await, with_verified_head(&fx, "b").await, with_verified_head(&fx, "c").await];
    let foreign = "INSERT INTO journal SELECT run, generation, 2, turn, format, checksum, body FROM journal
                   WHERE run = $1 AND idx = 1";
    assert_eq!(fx.database().await.execute(foreign, &[&keys[1]]).await.unwrap(), 1);
    let group: Vec<Turn> = keys.iter().map(|key| next(*key)).collect();
    assert_eq!(fx.group(&group).await, [TurnAnswer::Committed, TurnAnswer::Fenced, TurnAnswer::Committed]);
    assert_eq!(
        fx.group(&group).await,
        [TurnAnswer::Committed, TurnAnswer::Fenced, TurnAnswer::Committed],
        "sent again"
    );
    for key in keys {
        assert_eq!(fx.journal(key).await.len(), 3);
    }
}

pub async fn appends_and_other_turns_of_a_group_are_answered_separately(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys =
        [with_verified_head(&fx, "a").await, with_verified_head(&fx, "b").await, with_verified_head(&fx, "c").await];
    let end = Turn { change: Some(change(Status::Completed, None)), ..next(keys[1]) };
    let stale = Turn { row: Some(row(1, 9)), ..turn(keys[2]) };
    let group = [next(keys[0]), end, stale];
    assert_eq!(fx.group(&group).await, [TurnAnswer::Committed, TurnAnswer::Committed, TurnAnswer::Fenced]);
    assert_eq!(fx.run("b").await.status, Status::Completed);
    assert_eq!(fx.turn(next(keys[2])).await, TurnAnswer::Committed);
    assert_eq!(
        fx.group(&group).await,
        [TurnAnswer::Committed, TurnAnswer::Committed, TurnAnswer::Fenced],
        "sent again"
    );
    assert_eq!(fx.journal(keys[0]).await.len() + fx.journal(keys[1]).await.len(), 6);
}

pub async fn a_group_that_was_committed_in_part_can_be_sent_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [with_verified_head(&fx, "a").await, with_verified_head(&fx, "b").await];
    // The end of a run that has other rows needs a transaction of its own.
    let database = fx.database().await;
    assert_eq!(database.execute("UPDATE runs SET tied = true WHERE key = $1", &[&keys[1]]).await.unwrap(), 1);
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION refuse()";
    database.batch_execute(refuse).await.unwrap();
    let end = Turn { change: Some(change(Status::Completed, None)), ..next(keys[1]) };
    let group = [next(keys[0]), end];
    let failed = fx.store.commit(&group.clone().map(Write::Turn)).await.unwrap_err();
    assert!(!failed.in_doubt && failed.refused, "{failed:?}");
    assert_eq!(failed.committed, [(0, Answer::Turn(TurnAnswer::Committed))]);
    database.batch_execute("DROP TRIGGER refuse ON runs").await.unwrap();
    assert_eq!(fx.group(&group).await, [TurnAnswer::Committed, TurnAnswer::Committed]);
    for key in keys {
        assert_eq!(fx.journal(key).await.len(), 3);
    }
}

pub async fn new_runs_and_turns_of_a_group_are_one_transaction(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_verified_head(&fx, "a").await;
    let database = fx.database().await;
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON runs FOR EACH ROW WHEN (NEW.id = 'bad') EXECUTE FUNCTION refuse();
        CREATE TRIGGER refuse BEFORE INSERT ON journal FOR EACH ROW WHEN (NEW.idx = 3) EXECUTE FUNCTION refuse()";
    database.batch_execute(refuse).await.unwrap();
    let create = |id: &str| Write::Create(new_run(id, taken_by(ADA)));
    let failed = fx.store.commit(&[create("bad"), Write::Turn(next(key))]).await.unwrap_err();
    assert!(!failed.in_doubt && failed.refused, "{failed:?}");
    assert_eq!(failed.committed, []);
    assert_eq!((fx.journal(key).await.len(), fx.store.run("bad").await.unwrap()), (2, None));
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Committed, "sent again by itself");
    let refused = Turn { row: Some(row(3, 4)), ..turn(key) };
    let failed = fx.store.commit(&[Write::Turn(refused), create("good")]).await.unwrap_err();
    assert!(!failed.in_doubt && failed.refused, "{failed:?}");
    assert_eq!(failed.committed, []);
    assert_eq!((fx.journal(key).await.len(), fx.store.run("good").await.unwrap()), (3, None));
    assert!(matches!(fx.group(&[create("good")]).await[..], [Answer::Create(CreateAnswer::Created(_))]));
    assert_eq!(fx.run("good").await.status, Status::Suspended);
}

/// A statement of the group fails, since its row is there: the others may not be answered as if they were committed.
pub async fn new_runs_beside_a_row_that_is_there_are_created(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let create = |id: &str| Write::Create(new_run(id, taken_by(ADA)));
    let foreign = "INSERT INTO journal SELECT run, generation, 2, $2, format, checksum, body FROM journal
                   WHERE run = $1 AND idx = 1";
    for (name, is_end) in [("row", false), ("end", true)] {
        let key = with_verified_head(&fx, name).await;
        let there = 3_u128.to_be_bytes();
        assert_eq!(fx.database().await.execute(foreign, &[&key, &there.as_slice()]).await.unwrap(), 1);
        let change = is_end.then(|| change(Status::Completed, None));
        let group = [create(&format!("beside {name}")), Write::Turn(Turn { change, ..next(key) })];
        let answers = fx.group(&group).await;
        assert!(
            matches!(answers[..], [Answer::Create(CreateAnswer::Created(_)), Answer::Turn(TurnAnswer::Committed)]),
            "{answers:?}"
        );
        assert_eq!(fx.run(&format!("beside {name}")).await.status, Status::Suspended);
        assert_eq!(fx.journal(key).await.len(), 3);
    }
}

pub async fn an_end_returns_the_messages_that_the_run_has_not_received(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_verified_head(&fx, "r").await;
    fx.send("r", message("late")).await;
    let end = Turn { change: Some(change(Status::Completed, None)), ..next(key) };
    assert_eq!(fx.turn(end).await, TurnAnswer::Committed);
    let holders = "SELECT holder FROM inbox WHERE run = $1";
    let holder: i64 = fx.database().await.query_one(holders, &[&key]).await.unwrap().get(0);
    assert_eq!(holder, 0, "no worker looks for it any more");
}

pub async fn heads_are_not_trusted_without_synchronous_commit(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&options=-c%20synchronous_commit%3Doff");
    let _right = fx.execute(ADA).await;
    let key = with_verified_head(&fx, "r").await;
    lose_the_last_row(&fx).await;
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Fenced);
    assert_eq!(fx.journal(key).await.len(), 1);
}

pub async fn verified_heads_are_dropped_with_the_listening_connection(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = with_verified_head(&fx, "r").await;
    lose_the_last_row(&fx).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $1";
    let listen = format!("LISTEN \"{}\"", fx.schema());
    assert_eq!(fx.database().await.query(cut, &[&listen]).await.unwrap().len(), 1);
    let noticed = fx.store.changed(&System);
    tokio::time::timeout(Duration::from_secs(30), noticed).await.expect("the end of the connection is noticed");
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Fenced);
}

pub async fn a_commit_in_doubt_begins_another_round(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&timeout=1s&lease=10m");
    let _right = fx.execute(ADA).await;
    let key = with_verified_head(&fx, "r").await;
    let mut database = fx.database().await;
    let holds = database.transaction().await.unwrap();
    holds.batch_execute("SELECT 1 FROM workers FOR UPDATE").await.unwrap();
    let failed = fx.store.commit(&[Write::Turn(next(key))]).await.unwrap_err();
    assert!(failed.in_doubt, "{failed:?}");
    holds.rollback().await.unwrap();
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Committed);
    let round: i64 = database.query_one("SELECT round FROM workers", &[]).await.unwrap().get(0);
    assert_eq!((round, fx.journal(key).await.len()), (1, 3));
    // The next appends succeed, too.
    assert_eq!(fx.turn(Turn { row: Some(row(3, 4)), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.turn(Turn { row: Some(row(4, 5)), ..turn(key) }).await, TurnAnswer::Committed);
}
