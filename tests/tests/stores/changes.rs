//! `Store::changed`.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use workflow_runtime::engine::System;
use workflow_runtime::store::{
    Answer, CreateAnswer, First, SendMessage, SendMessageAnswer, Status, Store, Turn, TurnAnswer, Write,
};

use crate::fixture::*;

/// Waits for a change. The timeout is longer than any machine needs: a missed change fails the test.
async fn noticed(store: Arc<dyn Store>) {
    tokio::time::timeout(Duration::from_secs(30), store.changed(&System)).await.expect("the change is noticed");
}

pub async fn changes_by_another_engine_are_noticed(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let client = fx.another();
    let writes = [
        Write::Create(new_run("new", First::Message(message("begin")))),
        SendMessage { run: "r".into(), message: message("one"), unstick: false }.into(),
        Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) }.into(),
    ];
    let done = [
        |answer| matches!(answer, Answer::Create(CreateAnswer::Created(_))),
        |answer| answer == Answer::SendMessage(SendMessageAnswer::Committed),
        |answer| answer == Answer::Turn(TurnAnswer::Committed),
    ];
    for (write, done) in writes.into_iter().zip(done) {
        let waiting = tokio::spawn(noticed(Arc::clone(&client)));
        tokio::task::yield_now().await;
        assert!(done(fx.commit::<Write>(write).await));
        waiting.await.unwrap();
    }
    assert!(client.changed(&System).now_or_never().is_none(), "each change is noticed once");
    assert_eq!(
        commit(&*client, SendMessage { run: "new".into(), message: message("two"), unstick: false }).await,
        SendMessageAnswer::Committed
    );
    noticed(fx.store).await;
}

pub async fn a_change_before_the_first_wait_is_noticed(fx: Fixture) {
    let client = fx.another();
    fx.create(new_run("r", First::Message(message("begin")))).await;
    noticed(Arc::clone(&client)).await;
    assert!(client.changed(&System).now_or_never().is_none());
}
