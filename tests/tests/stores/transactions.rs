//! What becomes of a commit that the database refuses, delays or answers late.

use std::time::Duration;

use workflow_runtime::store::{Post, PostAnswer, Status, Turn, TurnAnswer, Write};

use crate::fixture::*;

/// Makes the database roll back what writes to a journal, as it does after a conflict: all but each `passes`th time.
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

pub async fn what_the_database_rolls_back_is_sent_again(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    conflicts(&fx, 4).await;
    assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
    // And a transaction of several statements, all of it.
    let post = Post { run: "r".into(), letter: letter("x"), unstick: false };
    let next = Turn { row: Some(row(2, 3)), ..turn(key) };
    assert_eq!(fx.commit_both(post, next).await, (PostAnswer::Committed, TurnAnswer::Committed));
    assert_eq!((fx.journal(key).await.len(), fx.letters(key).await), (3, vec!["x".to_owned()]));
}

pub async fn what_it_rolls_back_again_and_again_is_an_error(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    conflicts(&fx, 1_000_000).await;
    let end = Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) };
    let failed = fx.store.commit(&[Write::Turn(end)]).await.unwrap_err();
    assert!(!failed.in_doubt && failed.error.to_string().contains("a conflict"), "{failed:?}");
    assert_eq!(fx.run("r").await.status, Status::Suspended);
}

pub async fn a_statement_that_takes_too_long_is_in_doubt(fx: Fixture) {
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
    assert_eq!(fx.group(&next).await, [TurnAnswer::Committed], "it is sent again, whatever became of the first");
    assert_eq!(fx.journal(key).await.len(), 2);
}

pub async fn a_change_without_a_row_is_never_a_statement_by_itself(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    // Nothing would tell one that is executed late from a later one. A transaction limits how long it may be idle.
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
    assert!(fx.store.commit(&[Write::Turn(with_row)]).await.is_err(), "one with a row is");
    assert_eq!(fx.turn(Turn { change: Some(wait), ..turn(key) }).await, TurnAnswer::Committed);
    assert_eq!(fx.run("r").await.wake_at, Some(77));
}

pub async fn statements_need_not_be_prepared(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&prepared=off");
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    fx.post("r", keyed("x", "k")).await;
    let end = Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) };
    assert_eq!(fx.turn(end).await, TurnAnswer::Committed);
    assert_eq!(fx.letters(key).await, ["x"]);
}

pub async fn a_process_that_falls_silent_in_a_transaction_keeps_no_run(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&timeout=10m&lease=2s");
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    // Several statements, so a transaction. It is polled until it has the lock of the run, and then no more.
    let post = Post { run: "r".into(), letter: letter("silent"), unstick: false };
    let group = [post.clone().into(), Turn { row: Some(row(1, 2)), ..turn(key) }.into()];
    let database = fx.database().await;
    let mut silent = fx.store.commit(&group);
    while !database.query("SELECT 1 FROM runs FOR UPDATE SKIP LOCKED", &[]).await.unwrap().is_empty() {
        let polled = futures::poll!(&mut silent);
        assert!(polled.is_pending(), "it was not stopped in time: {polled:?}");
    }
    let other = fx.another();
    let post = commit(&*other, Post { run: "r".into(), letter: letter("other"), unstick: false });
    let posted = tokio::time::timeout(Duration::from_secs(60), post).await;
    assert_eq!(posted.expect("the lock is given up in time"), PostAnswer::Committed);
    assert!(silent.await.is_err(), "what it had done is rolled back");
    assert_eq!(fx.letters(key).await, ["other"]);
}
