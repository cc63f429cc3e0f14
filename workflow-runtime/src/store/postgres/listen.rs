//! Changes that other processes make: received by LISTEN, or polled for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Config};

use super::db::args;
use super::fault::{Fault, Result};
use super::read::get;
use super::shared::Shared;
use super::watching;

/// How long the store waits to receive its own notification.
const ECHO_TIMEOUT: Duration = Duration::from_secs(3);
/// The first and the longest pause between attempts to listen again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A connection that listens.
struct Listener {
    /// Closes the connection when it is dropped.
    client: Client,
    heard: mpsc::UnboundedReceiver<String>,
    /// Identifies the server that it listens to.
    server: Option<SystemTime>,
}

async fn connect(shared: &Shared, config: &Config) -> Result<Listener> {
    let tls = shared.db.options.tls()?;
    let connecting = tokio::time::timeout(shared.db.options.connect_timeout, config.connect(tls));
    let (client, mut connection) = connecting.await.map_err(|_| Fault::Late)??;
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message
                && sender.send(notification.payload().to_owned()).is_err()
            {
                return;
            }
        }
    });
    let sql = shared.db.with_schema("SELECT @server()");
    let asked = tokio::time::timeout(shared.db.options.timeout, client.query_typed(&sql, &[]));
    let answer = asked.await.map_err(|_| Fault::Late)??;
    let server = answer.first().map(|row| get(row, 0)).transpose()?.flatten();
    let listen = format!("LISTEN {}", super::db::quoted(&shared.db.options.schema));
    let listening = tokio::time::timeout(shared.db.options.timeout, client.batch_execute(&listen));
    listening.await.map_err(|_| Fault::Late)??;
    Ok(Listener { client, heard, server })
}

/// Whether a silent connection still works: one that was cut off looks like one on which no process sends any
/// notification.
async fn is_alive(shared: &Shared, ear: &Listener) -> bool {
    let answer = tokio::time::timeout(shared.db.options.connect_timeout, ear.client.simple_query(""));
    match answer.await {
        Ok(Ok(_)) => true,
        Ok(Err(_)) => false,
        Err(_) => {
            tracing::warn!("the connection that listens to the database does not answer; listening on a new one");
            false
        }
    }
}

/// Whether this store receives its own notification: behind a pooler no notification arrives.
async fn hears(shared: &Arc<Shared>, ear: &mut Listener) -> Result<bool> {
    let (channel, word) = (&shared.db.options.schema, format!("{} ?", shared.tag));
    shared.db.connect().await?.query("SELECT pg_notify($1, $2)", args![TEXT: channel, TEXT: word]).await?;
    let echo = async {
        while let Some(words) = ear.heard.recv().await {
            if words == word {
                return true;
            }
            hear(shared, &words);
        }
        false
    };
    Ok(tokio::time::timeout(ECHO_TIMEOUT, echo).await.unwrap_or(false))
}

fn hear(shared: &Arc<Shared>, words: &str) {
    if let Some((tag, words)) = words.split_once(' ')
        && *tag != *shared.tag
    {
        shared.signals.hear(words, |holder| shared.owners().contains(&holder));
        words.split(' ').for_each(|word| watching::hear(shared, word));
        let traced = words.split(' ').filter_map(|word| word.strip_prefix('t')?.split_once('.'));
        for (run, owner) in traced {
            let ours = owner.parse().is_ok_and(|owner| shared.owners().contains(&owner));
            if let (Ok(key), true) = (run.parse(), ours) {
                tokio::spawn(tell_after(Arc::downgrade(shared), shared.verified.forget(key), format!("a{run}")));
            }
        }
    }
}

/// Notifies followers that there may be rows, after the rows that were being appended without a notification.
async fn tell_after(shared: Weak<Shared>, appended: impl Future<Output = ()>, word: String) {
    appended.await;
    let mut pause = PAUSES.0;
    while let Some(shared) = shared.upgrade() {
        let (channel, words) = (&shared.db.options.schema, format!("{} {word}", shared.tag));
        let listening = async {
            let session = shared.db.connect().await?;
            session.query("SELECT pg_notify($1, $2)", args![TEXT: channel, TEXT: words]).await
        };
        let Err(fault) = listening.await else { return };
        tracing::warn!(?fault, "the followers of runs could not be notified of rows; trying again");
        drop(shared);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Starts to listen, and listens as long as the store is open. Polls for changes that cannot be received.
pub(super) async fn start(shared: &Arc<Shared>) {
    let Some(config) = shared.db.options.listen.clone() else { return };
    let first = listening(shared, &config, true).await;
    let listener = tokio::spawn(listen(Arc::downgrade(shared), config, first));
    *shared.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener.abort_handle());
}

/// `logs`: whether a failure is new.
async fn listening(shared: &Arc<Shared>, config: &Config, logs: bool) -> Option<Listener> {
    let ear = async {
        let mut ear = connect(shared, config).await?;
        Ok::<_, Fault>(hears(shared, &mut ear).await?.then_some(ear))
    };
    match ear.await {
        Ok(Some(ear)) => {
            shared.signals.listening.store(true, Ordering::Release);
            drop(shared.verified.set_heard(ear.server));
            Some(ear)
        }
        Ok(None) if logs => {
            let every = shared.db.options.poll;
            tracing::warn!(?every, "notifications of the database do not arrive here; changes are looked for");
            None
        }
        Err(fault) if logs && fault.is_of_standby() => {
            tracing::info!("the database is a standby, which can only be read; changes are looked for");
            None
        }
        Err(fault) if logs => {
            tracing::warn!(?fault, "the notifications of the database cannot be listened to; changes are looked for");
            None
        }
        Ok(None) | Err(_) => None,
    }
}

async fn listen(shared: Weak<Shared>, config: Config, first: Option<Listener>) {
    let (mut ear, mut pause) = (first, PAUSES.0);
    let mut logs = false;
    loop {
        while let Some(listening) = &mut ear {
            (pause, logs) = (PAUSES.0, true);
            let Some(every) = shared.upgrade().map(|shared| shared.db.options.poll) else { return };
            let words = tokio::select! {
                biased;
                words = listening.heard.recv() => words,
                () = tokio::time::sleep(every) => {
                    let Some(shared) = shared.upgrade() else { return };
                    if is_alive(&shared, listening).await {
                        continue;
                    }
                    None
                }
            };
            let Some(words) = words else { break };
            let Some(shared) = shared.upgrade() else { return };
            hear(&shared, &words);
        }
        {
            let Some(shared) = shared.upgrade() else { return };
            if shared.signals.listening.swap(false, Ordering::AcqRel) {
                let appended = shared.verified.set_heard(None);
                tokio::spawn(tell_after(Arc::downgrade(&shared), appended, "*".to_owned()));
            }
            shared.signals.anything();
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
        let Some(shared) = shared.upgrade() else { return };
        ear = listening(&shared, &config, logs).await;
        logs = false;
        // Notifications that were sent meanwhile were not received.
        shared.signals.anything();
    }
}
