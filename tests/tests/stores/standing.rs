//! What a store on PostgreSQL knows of its runs, and when it must not trust it.

use std::time::Duration;

use workflow_runtime::engine::System;
use workflow_runtime::store::{RunKey, Status, Turn, TurnAnswer, Write};

use crate::fixture::*;

/// A run whose next row is appended by what the store knows of it.
async fn standing(fx: &Fixture, id: &str) -> RunKey {
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

pub async fn a_worker_that_was_taken_for_dead_appends_nothing(fx: Fixture) {
    drop(fx);
    // So long that nobody renews it meanwhile.
    let fx = Fixture::postgres_with("&lease=10m");
    let _right = fx.execute(ADA).await;
    let (key, locked) = (standing(&fx, "r").await, standing(&fx, "locked").await);
    let mut database = fx.database().await;
    database.batch_execute("UPDATE workers SET expires_at = now() - interval '1 second'").await.unwrap();
    let another = fx.another();
    // What the worker still holds keeps its row there.
    let holds = database.transaction().await.unwrap();
    holds.query("SELECT 1 FROM runs WHERE key = $1 FOR UPDATE", &[&locked]).await.unwrap();
    let _takes_over = another.acquire(BOB).await.unwrap().unwrap();
    holds.rollback().await.unwrap();
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Fenced);
    assert_eq!(fx.journal(key).await.len(), 2);
    let workers = database.query("SELECT owner FROM workers", &[]).await.unwrap().len();
    assert_eq!(workers, 2, "the dead one is there as long as something is its own");
    // A renewal that comes late does not make it live again.
    let renewed = "UPDATE workers SET expires_at = now() + interval '1 hour' WHERE round < 9223372036854775807";
    assert_eq!(database.execute(renewed, &[]).await.unwrap(), 1);
}

pub async fn a_row_in_the_way_is_seen_and_leaves_its_neighbours_alone(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [standing(&fx, "a").await, standing(&fx, "b").await, standing(&fx, "c").await];
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

pub async fn rows_and_other_turns_of_a_group_are_each_what_they_are(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [standing(&fx, "a").await, standing(&fx, "b").await, standing(&fx, "c").await];
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

pub async fn a_part_of_a_group_that_is_refused_is_sent_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [standing(&fx, "a").await, standing(&fx, "b").await];
    let database = fx.database().await;
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON runs EXECUTE FUNCTION refuse()";
    database.batch_execute(refuse).await.unwrap();
    let end = Turn { change: Some(change(Status::Completed, None)), ..next(keys[1]) };
    let group = [next(keys[0]), end];
    let failed = fx.store.commit(&group.clone().map(Write::Turn)).await.unwrap_err();
    assert!(failed.in_doubt, "a part of it is committed: {failed:?}");
    database.batch_execute("DROP TRIGGER refuse ON runs").await.unwrap();
    assert_eq!(fx.group(&group).await, [TurnAnswer::Committed, TurnAnswer::Committed]);
    for key in keys {
        assert_eq!(fx.journal(key).await.len(), 3);
    }
}

pub async fn where_what_is_acknowledged_can_be_lost_each_run_is_looked_at(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&options=-c%20synchronous_commit%3Doff");
    let _right = fx.execute(ADA).await;
    let key = standing(&fx, "r").await;
    lose_the_last_row(&fx).await;
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Fenced);
    assert_eq!(fx.journal(key).await.len(), 1);
}

pub async fn what_is_known_is_forgotten_with_the_connection_that_listens(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = standing(&fx, "r").await;
    lose_the_last_row(&fx).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $1";
    let listen = format!("LISTEN \"{}\"", fx.schema());
    assert_eq!(fx.database().await.query(cut, &[&listen]).await.unwrap().len(), 1);
    let noticed = fx.store.changed(&System);
    tokio::time::timeout(Duration::from_secs(30), noticed).await.expect("the end of the connection is noticed");
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Fenced);
}

pub async fn after_a_doubt_another_round_begins(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&timeout=1s&lease=10m");
    let _right = fx.execute(ADA).await;
    let key = standing(&fx, "r").await;
    let mut database = fx.database().await;
    let holds = database.transaction().await.unwrap();
    holds.batch_execute("SELECT 1 FROM workers FOR UPDATE").await.unwrap();
    let failed = fx.store.commit(&[Write::Turn(next(key))]).await.unwrap_err();
    assert!(failed.in_doubt, "{failed:?}");
    holds.rollback().await.unwrap();
    assert_eq!(fx.turn(next(key)).await, TurnAnswer::Committed);
    let round: i64 = database.query_one("SELECT round FROM workers", &[]).await.unwrap().get(0);
    assert_eq!((round, fx.journal(key).await.len()), (1, 3));
    // And goes on as before.
    assert_eq!(fx.turn(Turn { row: Some(row(3, 4)), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.turn(Turn { row: Some(row(4, 5)), ..turn(key) }).await, TurnAnswer::Committed);
}
