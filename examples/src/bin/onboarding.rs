//! Onboarding by mail: a welcome, reminders until the user confirms the address, then a tip. The account of a user who
//! does not confirm is deleted.
//!
//! `cargo run --bin onboarding`: Ada confirms after a reminder, Bob never does. Kill the program at any moment and run
//! it again: each user gets the mails that are still due. `onboarding.db` has the runs; remove the file to start over.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use workflow_runtime::{Engine, Error, Result, hook, sleep, step, step_info, timeout, workflow};

/// A day of this demonstration. In production: 24 * 3600 s.
const DAY: Duration = Duration::from_millis(200);
const REMINDERS: u32 = 2;
const REMINDER: &str = "please confirm your address";

#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Confirmed { reminders: u32 },
    Deleted,
}

struct Mail {
    /// The same for all attempts to send the mail: a mail service that has seen the id does not send it again.
    id: String,
    to: String,
    subject: String,
}

/// Simulates the mail service. The function `users` receives the mails.
struct Mailer(mpsc::UnboundedSender<Mail>);

#[step(retries = 5, backoff = "1s..10m", timeout = "30s")]
async fn send(#[resource] mailer: &Mailer, to: String, subject: String) -> Result<()> {
    let id = step_info().ok_or_else(|| Error::fatal("mails are sent by runs"))?.idempotency_key;
    println!("mail to {to}: {subject}");
    Ok(mailer.0.send(Mail { id, to, subject })?)
}

#[step]
async fn delete_account(user: String) -> Result<()> {
    println!("account of {user} deleted");
    Ok(())
}

#[workflow]
async fn onboarding(user: String) -> Result<Outcome> {
    let mut confirmation = hook::<()>().token(format!("confirm-{user}")).open();
    send(user.clone(), "welcome".into()).await?;
    let mut reminders = 0;
    while timeout(3 * DAY, &mut confirmation).await.is_err() {
        if reminders == REMINDERS {
            delete_account(user).await?;
            return Ok(Outcome::Deleted);
        }
        reminders += 1;
        send(user.clone(), REMINDER.into()).await?;
    }
    sleep(DAY).await;
    send(user, "a tip for your first week".into()).await?;
    Ok(Outcome::Confirmed { reminders })
}

/// Simulates the users: Ada follows the link in the reminder.
async fn users(engine: &Engine, mut mails: mpsc::UnboundedReceiver<Mail>) -> Result<()> {
    while let Some(mail) = mails.recv().await {
        if mail.to == "ada" && mail.subject == REMINDER {
            println!("ada confirms");
            engine.resume_hook("confirm-ada", &()).idempotency_key(mail.id).await?;
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (mailer, mails) = mpsc::unbounded_channel();
    let engine = Engine::builder().url("sqlite:onboarding.db").resource(Mailer(mailer)).open().await?;
    let onboard = async |user: &str| {
        let run = engine.start(onboarding, user.to_owned()).id(format!("onboarding-{user}")).await?;
        println!("{user}: {:?}", run.await?);
        Ok::<_, Error>(())
    };
    let both = async { tokio::try_join!(onboard("ada"), onboard("bob")) };
    tokio::select! {
        ended = both => ended.map(drop)?,
        ended = users(&engine, mails) => ended?,
    }
    engine.shutdown().await
}

#[cfg(test)]
#[path = "tests/onboarding.rs"]
mod tests;
