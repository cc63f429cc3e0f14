//! Changes of runs with a verified head: they are written by the statement of the rows, unless others are concerned.

use workflow_runtime::store::{Answer, CreateAnswer, RowChange, RunKey, Status, Turn, TurnAnswer, Write};

use crate::fixture::*;

const COMMITTED: Answer = Answer::Turn(TurnAnswer::Committed);

/// Creates a run, whose head is then verified.
async fn created(fx: &Fixture, id: &str) -> RunKey {
    fx.create(new_run(id, taken_by(ADA))).await
}

fn end(key: RunKey) -> Turn {
    let change = RowChange { completed_at: Some(7), ..change(Status::Completed, None) };
    Turn { row: Some(row(1, 2)), change: Some(change), ..turn(key) }
}

/// Commits a turn in each kind of group that has a statement for it: alone, beside a row, beside a new run. `prepare` is
/// called with the key of the run before its turn. Calls `check` after that with the answers for the turn, and the run's id.
async fn in_each_group(
    fx: &Fixture,
    next: impl Fn(RunKey) -> Turn,
    prepare: impl AsyncFn(RunKey),
    check: impl AsyncFn(&Answer, &str, RunKey),
) {
    for (id, beside) in [("alone", None), ("beside a row", Some(true)), ("beside a new run", Some(false))] {
        let key = created(fx, id).await;
        let other = match beside {
            Some(true) => {
                let key = created(fx, "has a row").await;
                Some(Write::Turn(Turn { row: Some(row(1, 2)), ..turn(key) }))
            }
            Some(false) => Some(Write::Create(new_run("new", taken_by(ADA)))),
            None => None,
        };
        prepare(key).await;
        let group: Vec<Write> = std::iter::once(Write::Turn(next(key))).chain(other).collect();
        let answers = fx.group(&group).await;
        check(&answers[0], id, key).await;
        if let Some(beside) = answers.get(1) {
            let written = matches!(beside, Answer::Create(CreateAnswer::Created(_))) || *beside == COMMITTED;
            assert!(written, "{id}: {beside:?}");
        }
        assert_eq!(fx.group(&group).await, answers, "sent again {id}");
    }
}

pub async fn a_change_is_written_with_its_row(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let all = RowChange {
        status: Status::Stuck,
        wake_at: None,
        started_at: Some(2),
        completed_at: Some(3),
        stuck: Some("s".into()),
        error: Some(error(Some(4))),
        refused_by: Some("b".into()),
    };
    let next = |key| Turn { row: Some(row(1, 2)), change: Some(all.clone()), ..turn(key) };
    let check = async |answer: &Answer, id: &str, key| {
        assert_eq!((answer, fx.journal(key).await), (&COMMITTED, vec![row(0, 1), row(1, 2)]), "{id}");
        let run = fx.run(id).await;
        assert_eq!((run.status, run.wake_at, run.started_at), (Status::Stuck, None, Some(2)), "{id}");
        assert_eq!(
            (run.completed_at, run.stuck.as_deref(), run.error),
            (Some(3), Some("s"), Some(error(Some(4)))),
            "{id}"
        );
        assert_eq!((run.refused_by.as_deref(), run.fence.owner), (Some("b"), ADA), "{id}");
    };
    in_each_group(&fx, next, async |_| {}, check).await;
}

pub async fn rows_follow_a_change_that_is_no_end(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let next = |key| Turn { row: Some(row(1, 2)), change: Some(change(Status::Running, Some(5))), ..turn(key) };
    let check = async |answer: &Answer, id: &str, key| {
        assert_eq!(*answer, COMMITTED, "{id}");
        let again = RowChange { started_at: Some(9), ..change(Status::Suspended, Some(6)) };
        for (index, change) in [(2, None), (3, Some(again)), (4, None)] {
            let turn = Turn { row: Some(row(index, index.into())), change, ..turn(key) };
            assert_eq!(fx.turn(turn).await, TurnAnswer::Committed, "{id}: {index}");
        }
        let run = fx.run(id).await;
        assert_eq!((run.status, run.wake_at, run.started_at), (Status::Suspended, Some(6), Some(9)), "{id}");
    };
    let sent_again = Turn { row: Some(row(1, 3)), ..next(created(&fx, "other").await) };
    in_each_group(&fx, next, async |_| {}, check).await;
    assert_eq!(fx.turn(sent_again.clone()).await, TurnAnswer::Committed);
    assert_eq!(fx.turn(Turn { row: Some(row(1, 4)), ..sent_again }).await, TurnAnswer::Fenced, "another row is there");
}

pub async fn an_end_that_concerns_others_reaches_them(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let database = fx.database().await;
    // As another process does, after the head is verified.
    let token = "INSERT INTO tokens (token, run, op, type_name, once, state) VALUES ('t' || $1::bigint, $1, 1, 'x', true, 'open')";
    let concern = async |key: RunKey| {
        assert_eq!(database.execute("UPDATE runs SET tied = true WHERE key = $1", &[&key]).await.unwrap(), 1);
        assert_eq!(database.execute(token, &[&key]).await.unwrap(), 1);
    };
    let check = async |answer: &Answer, id: &str, key: RunKey| {
        assert_eq!(*answer, COMMITTED, "{id}");
        let state: String =
            database.query_one("SELECT state FROM tokens WHERE run = $1", &[&key]).await.unwrap().get(0);
        assert_eq!((state.as_str(), fx.run(id).await.status), ("finished", Status::Completed), "{id}");
    };
    in_each_group(&fx, end, concern, check).await;
}

pub async fn an_end_that_is_awaited_is_announced(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let database = fx.database().await;
    for column in ["awaited", "followed", "traced"] {
        let set = format!("UPDATE runs SET {column} = true WHERE key = $1");
        let is_set = format!("SELECT {column} FROM runs WHERE key = $1");
        let key = created(&fx, column).await;
        let beside = [created(&fx, &format!("{column} too")).await, created(&fx, &format!("not {column}")).await];
        for key in [key, beside[0]] {
            assert_eq!(database.execute(&set, &[&key]).await.unwrap(), 1);
        }
        assert_eq!(fx.turn(end(key)).await, TurnAnswer::Committed);
        assert_eq!(fx.group(&beside.map(end)).await, [TurnAnswer::Committed; 2]);
        for key in [key, beside[0], beside[1]] {
            let is_set: bool = database.query_one(&is_set, &[&key]).await.unwrap().get(0);
            assert!(!is_set, "the statement that announces the end resets the column {column}");
            assert_eq!(fx.journal(key).await.len(), 2);
        }
    }
}

/// The update waits for the lock of the run, and then sees what was written under it.
pub async fn an_end_sees_what_was_written_under_the_lock_of_its_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let (mut other, database) = (fx.database().await, fx.database().await);
    let awaited = "UPDATE runs SET awaited = true WHERE key = $1";
    let taken = "UPDATE runs SET owner = 5, epoch = 2 WHERE key = $1";
    for (id, sql, answer) in [("awaited", awaited, TurnAnswer::Committed), ("taken", taken, TurnAnswer::Fenced)] {
        for beside in [false, true] {
            let key = created(&fx, &format!("{id} {beside}")).await;
            let holds = other.transaction().await.unwrap();
            assert_eq!(holds.execute(sql, &[&key]).await.unwrap(), 1);
            let mut group = vec![Write::Turn(end(key))];
            if beside {
                group.push(Write::Turn(end(created(&fx, &format!("beside {id}")).await)));
            }
            let store = fx.store.clone();
            let ending = tokio::spawn(async move { store.commit(&group).await });
            let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted
                             AND pg_backend_pid() <> pid AND pid IN (
                                 SELECT pid FROM pg_stat_activity WHERE query LIKE '%' || current_schema() || '%'))";
            while !database.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
                assert!(!ending.is_finished(), "the end does not wait for the lock");
            }
            holds.commit().await.unwrap();
            let answers = ending.await.unwrap().unwrap();
            assert_eq!(answers[0], Answer::Turn(answer), "{id} {beside}");
            assert!(answers[1..].iter().all(|answer| *answer == COMMITTED));
            let awaited: bool =
                database.query_one("SELECT awaited FROM runs WHERE key = $1", &[&key]).await.unwrap().get(0);
            assert!(!awaited, "the statement that announces the end resets it");
            assert_eq!(fx.journal(key).await.len(), if answer == TurnAnswer::Fenced { 1 } else { 2 });
        }
    }
}

pub async fn a_change_of_a_run_that_another_worker_holds_is_refused(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let database = fx.database().await;
    for column in ["owner", "epoch", "generation"] {
        let moved = format!("UPDATE runs SET {column} = {column} + 1 WHERE key = $1");
        let keys = [created(&fx, &format!("a {column}")).await, created(&fx, &format!("b {column}")).await];
        let alone = created(&fx, column).await;
        for key in [keys[1], alone] {
            assert_eq!(database.execute(&moved, &[&key]).await.unwrap(), 1);
        }
        assert_eq!(fx.turn(end(alone)).await, TurnAnswer::Fenced, "{column}");
        assert_eq!(fx.group(&keys.map(end)).await, [TurnAnswer::Committed, TurnAnswer::Fenced], "{column}");
        for (id, key) in [(column.to_owned(), alone), (format!("b {column}"), keys[1])] {
            assert_eq!((fx.run(&id).await.status, fx.journal(key).await.len()), (Status::Suspended, 1), "{column}");
        }
        assert_eq!(fx.run(&format!("a {column}")).await.status, Status::Completed);
    }
}

pub async fn a_worker_that_was_declared_dead_changes_nothing(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [created(&fx, "a").await, created(&fx, "b").await];
    let alone = created(&fx, "alone").await;
    // As a takeover does, before it has moved the runs.
    let database = fx.database().await;
    assert_eq!(database.execute("UPDATE workers SET round = 9223372036854775807", &[]).await.unwrap(), 1);
    let lost = "DELETE FROM journal WHERE idx = 0";
    assert_eq!(database.execute(lost, &[]).await.unwrap(), 3);
    assert_eq!(fx.turn(end(alone)).await, TurnAnswer::Fenced);
    assert_eq!(fx.group(&keys.map(end)).await, [TurnAnswer::Fenced, TurnAnswer::Fenced]);
    assert_eq!(fx.run("alone").await.status, Status::Suspended);
}

pub async fn an_end_in_doubt_is_recognised(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&timeout=1s&lease=10m");
    let _right = fx.execute(ADA).await;
    let mut database = fx.database().await;
    for ids in [&["a"][..], &["b", "c"]] {
        // After a doubt no head is verified: these are created after the one before.
        let mut group = Vec::new();
        for id in ids {
            group.push(end(created(&fx, id).await));
        }
        let holds = database.transaction().await.unwrap();
        holds.batch_execute("SELECT 1 FROM workers FOR UPDATE").await.unwrap();
        let writes: Vec<Write> = group.iter().cloned().map(Write::Turn).collect();
        let failed = fx.store.commit(&writes).await.unwrap_err();
        assert!(failed.in_doubt, "{failed:?}");
        holds.rollback().await.unwrap();
        for again in 0..2 {
            assert!(fx.group(&group).await.iter().all(|answer| *answer == TurnAnswer::Committed), "sent again {again}");
        }
        let other: Vec<Turn> = group.iter().map(|end| Turn { row: Some(row(1, 9)), ..end.clone() }).collect();
        assert!(fx.group(&other).await.iter().all(|answer| *answer == TurnAnswer::Fenced), "another turn is there");
        for turn in group {
            assert_eq!(fx.journal(turn.run).await, [row(0, 1), row(1, 2)]);
        }
    }
}

pub async fn a_change_that_the_database_refuses_writes_nothing_of_its_group(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let keys = [created(&fx, "a").await, created(&fx, "bad").await, created(&fx, "c").await];
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW WHEN (NEW.id = 'bad') EXECUTE FUNCTION refuse()";
    fx.database().await.batch_execute(refuse).await.unwrap();
    let group = [Turn { change: None, ..end(keys[0]) }, end(keys[1]), end(keys[2])];
    let refused = async |turns: &[Turn]| {
        let writes: Vec<Write> = turns.iter().cloned().map(Write::Turn).collect();
        let failed = fx.store.commit(&writes).await.unwrap_err();
        assert!(failed.refused && !failed.in_doubt && failed.committed.is_empty(), "{failed:?}");
    };
    refused(&group).await;
    for key in keys {
        assert_eq!(fx.journal(key).await.len(), 1);
    }
    // As its halves are.
    assert_eq!(fx.group(&group[..1]).await, [TurnAnswer::Committed]);
    refused(&group[1..]).await;
    refused(&group[1..2]).await;
    assert_eq!(fx.group(&group[2..]).await, [TurnAnswer::Committed]);
    assert_eq!((fx.run("bad").await.status, fx.run("c").await.status), (Status::Suspended, Status::Completed));
}

/// The planner would scan the table of runs if it had to find the changed ones by the conditions on them. By the statistics of the
/// server: a connection reports what it has done when it does something later.
pub async fn changes_look_runs_up_by_their_keys(fx: Fixture) {
    const OTHERS: i64 = 1_500;
    const ROUNDS: i64 = 20;
    let _right = fx.execute(ADA).await;
    // In a smaller table a scan costs less than the look-ups.
    let runs: Vec<_> = (0..OTHERS).map(|n| Write::Create(new_run(&format!("other {n}"), taken_by(ADA)))).collect();
    fx.group(&runs).await;
    for round in 0..ROUNDS {
        let keys = [created(&fx, &format!("{round} a")).await, created(&fx, &format!("{round} b")).await];
        let group = keys.map(|key| Write::Turn(end(key)));
        assert_eq!(fx.group(&group).await, [COMMITTED, COMMITTED]);
    }
    let database = fx.database().await;
    let sql = "SELECT seq_tup_read, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'runs' AND schemaname = current_schema()";
    let mut again = 0;
    let scanned = loop {
        let row = database.query_one(sql, &[]).await.unwrap();
        if row.get::<_, i64>(1) >= 2 * ROUNDS {
            break row.get::<_, i64>(0);
        }
        again += 1;
        created(&fx, &format!("again {again}")).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(scanned < 4 * OTHERS, "the changes of {ROUNDS} groups have scanned {scanned} rows");
}
