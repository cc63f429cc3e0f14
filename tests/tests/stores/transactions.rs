//! Commits that PostgreSQL rolls back, refuses or delays.

use std::time::Duration;

use workflow_runtime::store::{SendMessage, SendMessageAnswer, Status, Turn, TurnAnswer, Write};

use crate::fixture::*;

/// Makes the database roll back appends to the journal with a serialization error; every `passes`th append succeeds.
async fn conflicts(fx: &Fixture, passes: u32) {
    let trigger = format!(
        "CREATE SEQUENCE attempts;
         CREATE FUNCTION conflicts() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('attempts') % {passes} <> 0 THEN
                 RAISE EXCEPTION 'a conflict' USING ERRCODE = '40001';
             END IF;
             RETURN NEW;
         END $$;
         ALTER FUNCTION conflicts() SET search_path = {schema};
         CREATE TRIGGER conflicts BEFORE INSERT ON journal EXECUTE FUNCTION conflicts()",
        schema = fx.schema()
    );
    fx.database().await.batch_execute(&trigger).await.unwrap();
}

pub async fn a_rolled_back_commit_is_sent_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    conflicts(&fx, 4).await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    // A transaction of several statements is sent again as a whole.
    let sent = SendMessage { run: "r".into(), message: message("x"), unstick: false };
    let next = Turn { row: Some(row(2, 3)), ..turn(key) };
    assert_eq!(fx.commit_both(sent, next).await, (SendMessageAnswer::Committed, TurnAnswer::Committed));
    assert_eq!((fx.journal(key).await.len(), fx.messages(key).await), (3, vec!["x".to_owned()]));
}

pub async fn a_commit_that_is_rolled_back_repeatedly_is_an_error(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    conflicts(&fx, 1_000_000).await;
    let end = Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) };
    let failed = fx.store.commit(&[Write::Turn(end)]).await.unwrap_err();
    assert!(!failed.in_doubt && failed.error.to_string().contains("a conflict"), "{failed:?}");
    assert_eq!(fx.run("r").await.status, Status::Suspended);
}

pub async fn a_commit_that_times_out_is_in_doubt(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&timeout=1s&lease=10m");
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let mut database = fx.database().await;
    let holds = database.transaction().await.unwrap();
    holds.batch_execute("SELECT 1 FROM runs FOR UPDATE; SELECT 1 FROM workers FOR UPDATE").await.unwrap();
    let next = [Turn { row: Some(row(1, 2)), ..turn(key) }];
    let failed = fx.store.commit(&next.clone().map(Write::Turn)).await.unwrap_err();
    assert!(failed.in_doubt && failed.error.to_string().contains("in time"), "{failed:?}");
    holds.rollback().await.unwrap();
    assert_eq!(
        fx.group(&next).await,
        [TurnAnswer::Committed],
        "the turn is committed, whether or not the first commit was"
    );
    assert_eq!(fx.journal(key).await.len(), 2);
}

pub async fn a_change_without_a_row_is_committed_in_a_transaction(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    // A single statement without a row could be executed late, and nothing would distinguish it from a later one. A
    // transaction is recognised here by its limit on idle time.
    let refuse = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('idle_in_transaction_session_timeout') = '0' THEN
                RAISE EXCEPTION 'by itself' USING ERRCODE = '53100';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION refuse()";
    fx.database().await.batch_execute(refuse).await.unwrap();
    let wait = change(Status::Suspended, Some(77));
    let with_row = Turn { row: Some(row(1, 2)), change: Some(wait.clone()), ..turn(key) };
    assert!(fx.store.commit(&[Write::Turn(with_row)]).await.is_err(), "a change with a row is a single statement");
    assert_eq!(fx.turn(Turn { change: Some(wait), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await.wake_at, Some(77));
}

pub async fn statements_need_not_be_prepared(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&prepared=off");
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.send("r", keyed("x", "k")).await;
    let end = Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) };
    assert_eq!(fx.turn(end).await, TurnAnswer::Committed);
    assert_eq!(fx.messages(key).await, ["x"]);
}

pub async fn a_process_that_stalls_in_a_transaction_does_not_keep_its_locks(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&timeout=10m&lease=2s");
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    // Two writes of different kinds make a transaction. The test polls it until it has locked the run, and then stops
    // polling.
    let sent = SendMessage { run: "r".into(), message: message("silent"), unstick: false };
    let group = [sent.clone().into(), Turn { row: Some(row(1, 2)), ..turn(key) }.into()];
    let database = fx.database().await;
    let mut silent = fx.store.commit(&group);
    while !database.query("SELECT 1 FROM runs FOR UPDATE SKIP LOCKED", &[]).await.unwrap().is_empty() {
        let polled = futures::poll!(&mut silent);
        assert!(polled.is_pending(), "the commit ended before it was stopped: {polled:?}");
    }
    let other = fx.another();
    let sent = commit(&*other, SendMessage { run: "r".into(), message: message("other"), unstick: false });
    let posted = tokio::time::timeout(Duration::from_secs(60), sent).await;
    assert_eq!(posted.expect("the lock is released in time"), SendMessageAnswer::Committed);
    assert!(silent.await.is_err(), "the stalled transaction is rolled back");
    assert_eq!(fx.messages(key).await, ["other"]);
}
