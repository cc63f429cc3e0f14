//! Notifications between processes on one PostgreSQL database.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;
use workflow_runtime::engine::System;
use workflow_runtime::store::{
    AppendChunk, AppendChunkAnswer, CreateAnswer, Execution, First, Follow, Followed, NewChunk, SendMessage,
    SendMessageAnswer, Status, Store, Turn, TurnAnswer, Write,
};

use crate::fixture::*;

/// Listens for notifications, as another process does.
struct Listener {
    received: mpsc::UnboundedReceiver<String>,
    client: tokio_postgres::Client,
    channel: String,
}

impl Listener {
    async fn new(fx: &Fixture) -> Self {
        let url = fx.url.clone().unwrap();
        let channel = fx.schema();
        let url = workflow_harness::postgres::direct(&url);
        let (client, mut connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message {
                    let _ = sender.send(notification.payload().to_owned());
                }
            }
        });
        client.batch_execute(&format!("LISTEN {channel}")).await.unwrap();
        Listener { received, client, channel }
    }

    /// The notifications until now, without the tags of their senders.
    async fn notifications(&mut self) -> Vec<String> {
        self.client.batch_execute(&format!("NOTIFY {}, 'now'", self.channel)).await.unwrap();
        let mut notifications = Vec::new();
        loop {
            match self.received.recv().await.unwrap().as_str() {
                "now" => return notifications,
                words => notifications.push(words.split_once(' ').unwrap().1.to_owned()),
            }
        }
    }
}

async fn noticed(store: &dyn Store) {
    tokio::time::timeout(Duration::from_secs(30), store.changed(&System)).await.expect("the change is noticed");
}

pub async fn writes_that_concern_no_other_process_send_no_notification(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let mut listener = Listener::new(&fx).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let other = fx.create(new_run("other", taken_by(ADA))).await;
    fx.send("r", message("from here")).await;
    let messages = fx.inbox(key).await;
    let delivered = vec![messages[0].sequence];
    let turns = [
        Turn { row: Some(row(1, 2)), delivered, change: Some(change(Status::Suspended, Some(7))), ..turn(key) },
        Turn { row: Some(row(1, 3)), change: Some(change(Status::Completed, None)), ..turn(other) },
    ];
    assert_eq!(fx.group(&turns).await, [TurnAnswer::Committed, TurnAnswer::Committed]);
    fx.claim(ADA, 0).await;
    assert_eq!(listener.notifications().await, [""; 0]);
}

pub async fn a_group_sends_one_notification(fx: Fixture) {
    let other = fx.another();
    let _rights = (fx.execute(ADA).await, other.acquire(BOB).await.unwrap().unwrap());
    fx.create(new_run("ours", taken_by(ADA))).await;
    assert!(matches!(commit(&*other, new_run("theirs", taken_by(BOB))).await, CreateAnswer::Created(_)));
    let mut listener = Listener::new(&fx).await;
    let starts = (0..5).map(|n| new_run(&format!("n{n}"), First::Message(message("begin"))));
    fx.group(&starts.collect::<Vec<_>>()).await;
    assert_eq!(listener.notifications().await, ["d"]);
    let sent = |run: &str| SendMessage { run: run.into(), message: message("x"), unstick: false };
    let bob = format!("h{}", BOB.cast_signed());
    fx.group(&[sent("ours"), sent("theirs")]).await;
    assert_eq!(listener.notifications().await, [&*bob]);
    let start = new_run("n", First::Message(message("begin")));
    fx.group::<Write>(&[sent("theirs").into(), start.into(), sent("theirs").into()]).await;
    assert_eq!(listener.notifications().await, [format!("d {bob}")]);
}

pub async fn an_inbox_message_from_another_process_is_noticed_by_the_owner_only(fx: Fixture) {
    let (other, third) = (fx.another(), fx.another());
    let _rights = (fx.execute(ADA).await, other.acquire(BOB).await.unwrap().unwrap());
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let sent = SendMessage { run: "r".into(), message: message("x"), unstick: false };
    assert_eq!(commit(&*third, sent).await, SendMessageAnswer::Committed);
    noticed(&*fx.store).await;
    assert_eq!(fx.store.news(ADA).await.unwrap(), [key]);
    // The other worker notices only the new run.
    fx.create(new_run("new", First::Message(message("begin")))).await;
    noticed(&*other).await;
    assert!(other.changed(&System).now_or_never().is_none());
}

pub async fn subscribers_are_notified_of_the_end_of_a_run(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let client = fx.another();
    for (id, child) in [("plain", false), ("watched", true)] {
        let key = fx.create(new_run(id, taken_by(ADA))).await;
        if child {
            let effects = workflow_runtime::store::Effects {
                watches: vec![workflow_runtime::store::Watch {
                    run: id.into(),
                    op: 1,
                    token: None,
                    refusal: message("refused"),
                }],
                ..Default::default()
            };
            let parent = fx.create(new_run("parent", taken_by(ADA))).await;
            fx.turn(Turn { row: Some(row(1, 2)), effects: Some(Box::new(effects)), ..turn(parent) }).await;
        }
        let id: Arc<str> = id.into();
        let _following = client.follow(key, &id, Follow::End).await.unwrap().expect("a subscription");
        assert_eq!(client.followed(), Followed::Runs(vec![]));
        let end = Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(key) };
        let outcome = fx.turn(end).await;
        assert_eq!(outcome, if child { TurnAnswer::CommittedAndNotified } else { TurnAnswer::Committed });
        noticed(&*client).await;
        assert_eq!(client.followed(), Followed::Runs(vec![id]));
    }
}

pub async fn subscribers_are_notified_of_chunks(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let client = fx.another();
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let write = |id| {
        let execution = Execution { generation: 0, op: 1, step: "s".into(), attempt: 1, epoch: 1 };
        let chunk = NewChunk { stream: "numbers".into(), id, value: Some("1".into()) };
        AppendChunk { run: key, owner: ADA, execution, into: None, chunk, most: 10 }
    };
    let mut listener = Listener::new(&fx).await;
    assert_eq!(fx.commit(write(1)).await, AppendChunkAnswer::Committed);
    assert_eq!(listener.notifications().await, [""; 0]);
    let _following = client.follow(key, &"r".into(), Follow::Chunks).await.unwrap();
    assert_eq!(fx.commit(write(2)).await, AppendChunkAnswer::Committed);
    assert_eq!(listener.notifications().await, [format!("a{key}")]);
    noticed(&*client).await;
}

pub async fn a_new_child_run_is_announced_to_all_processes(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let mut listener = Listener::new(&fx).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let child = workflow_runtime::store::Child {
        new: new_run("child", First::Message(message("begin"))),
        op: Some(1),
        attach: None,
        confirmation: None,
        refusal: message("refused"),
    };
    let effects = workflow_runtime::store::Effects { children: vec![child], ..Default::default() };
    fx.turn(Turn { row: Some(row(1, 2)), effects: Some(Box::new(effects)), ..turn(key) }).await;
    assert_eq!(listener.notifications().await, ["d"]);
}

pub async fn a_new_subscriber_is_notified_of_possible_earlier_rows(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let client = fx.another();
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    // After this refusal the worker's head of the run is no longer verified.
    let again = Turn { row: Some(row(0, 9)), ..turn(key) };
    assert_eq!(fx.turn(Turn { change: Some(change(Status::Suspended, None)), ..again }).await, TurnAnswer::Fenced);
    let _following = client.follow(key, &"r".into(), Follow::Journal).await.unwrap();
    noticed(&*client).await;
    assert_eq!(client.followed(), Followed::Runs(vec!["r".into()]));
}

pub async fn a_worker_that_lost_its_listening_connection_notifies_of_possible_rows(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    fx.create(new_run("r", taken_by(ADA))).await;
    let listen = format!("LISTEN \"{}\"", fx.schema());
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $1";
    let database = fx.database().await;
    let owners = database.query("SELECT pid FROM pg_stat_activity WHERE query = $1", &[&listen]).await.unwrap();
    assert_eq!(owners.len(), 1);
    let cut = format!("{cut} AND pid = {}", owners[0].get::<_, i32>(0));
    let client = fx.another();
    assert_eq!(database.query(&cut, &[&listen]).await.unwrap().len(), 1);
    noticed(&*client).await;
    assert_eq!(client.followed(), Followed::Any);
}

pub async fn a_worker_that_does_not_listen_notifies_of_rows(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&listen=off");
    let _right = fx.execute(ADA).await;
    let client = fx.another();
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let mut listener = Listener::new(&fx).await;
    let _following = client.follow(key, &"r".into(), Follow::Journal).await.unwrap();
    assert_eq!(listener.notifications().await, [format!("t{key}.{}", ADA.cast_signed())]);
    for index in 1..4 {
        fx.turn(Turn { row: Some(row(index, index.into())), ..turn(key) }).await;
        assert_eq!(listener.notifications().await, [format!("a{key}")]);
    }
}

pub async fn a_store_that_does_not_listen_polls(fx: Fixture) {
    drop(fx);
    let fx = Fixture::postgres_with("&listen=off&poll=50ms");
    let client = fx.another();
    fx.create(new_run("new", First::Message(message("begin")))).await;
    noticed(&*client).await;
    assert_eq!(client.followed(), Followed::Any);
}

pub async fn subscribers_are_notified_of_journal_rows(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let client = fx.another();
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let mut listener = Listener::new(&fx).await;
    fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await;
    assert_eq!(listener.notifications().await, [""; 0]);
    let _following = client.follow(key, &"r".into(), Follow::Journal).await.unwrap();
    // The subscriber is notified because rows may have been appended before the worker knew of the subscription.
    noticed(&*client).await;
    assert_eq!(listener.notifications().await, [format!("t{key}.{}", ADA.cast_signed()), format!("a{key}")]);
    assert_eq!(client.followed(), Followed::Runs(vec!["r".into()]));
    let plain = Turn { row: Some(row(2, 3)), ..turn(key) };
    let changed = Turn { row: Some(row(3, 4)), change: Some(change(Status::Suspended, Some(9))), ..turn(key) };
    let chunks = vec![NewChunk { stream: "numbers".into(), id: 1, value: Some("1".into()) }];
    let more = Turn { row: Some(row(4, 5)), chunks, ..turn(key) };
    for turn in [plain, changed, more] {
        fx.turn(turn).await;
        assert_eq!(listener.notifications().await, [format!("a{key}")]);
    }
    noticed(&*client).await;
    assert_eq!(client.followed(), Followed::Runs(vec!["r".into()]));
    fx.turn(Turn { row: Some(row(5, 6)), change: Some(change(Status::Completed, None)), ..turn(key) }).await;
    assert_eq!(listener.notifications().await, [format!("a{key}")]);
}

pub async fn a_run_without_subscriptions_is_not_reported(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let client = fx.another();
    let (mut keys, mut following) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let id: Arc<str> = format!("r{number}").into();
        let key = fx.create(new_run(&id, taken_by(ADA))).await;
        keys.push(key);
        for what in [Follow::End, Follow::Chunks] {
            following.push((number, client.follow(key, &id, what).await.unwrap().expect("a subscription")));
        }
    }
    // Keep a single subscription to the last run.
    following.retain(|(number, _)| *number == 39);
    following.pop();
    let end = |key: &i64| Turn { row: Some(row(1, 2)), change: Some(change(Status::Completed, None)), ..turn(*key) };
    fx.group(&keys.iter().map(end).collect::<Vec<_>>()).await;
    noticed(&*client).await;
    assert_eq!(client.followed(), Followed::Runs(vec!["r39".into()]));
}
