//! `send`: a payload for a hook.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::input;
use super::report::Outcome;
use crate::steering::payloads;
use crate::steering::time::duration;

/// Send a payload to a hook
#[derive(Args)]
pub(super) struct Send {
    /// The token of the hook
    token: String,
    /// The payload: JSON, @FILE, or - for the standard input
    #[arg(value_name = "JSON", default_value = "null", allow_hyphen_values = true)]
    payload: String,
    /// An idempotency key: a repeated delivery with the same key has no effect
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// If no hook has the token, hold the payload for one that is opened within this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    hold_for: Option<Duration>,
    /// Do not check the payload against the JSON Schema that a deployment has published
    #[arg(long)]
    unchecked: bool,
}

impl Send {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let payload = input::value(&self.payload)?;
        let client = context.client().await?;
        match client.get_hook(&self.token).await {
            Ok(hook) if !self.unchecked => {
                payloads::check(&client, &format!("the hook `{}`", self.token), &hook.type_name, &payload).await?;
            }
            // The payload may be held for a hook that does not exist yet.
            Ok(_) | Err(_) => {}
        }
        let mut send = client.resume_hook(&self.token, &payload);
        if let Some(key) = self.key {
            send = send.idempotency_key(key);
        }
        if let Some(time) = self.hold_for {
            send = send.hold_for(time);
        }
        send.await?;
        let output = &mut context.output;
        if output.format().is_json() {
            output.document(json!({ "token": self.token, "result": "accepted" }))?;
        } else {
            // A payload whose type has no published schema may not fit the hook, and stays unread then.
            output.line(format!("{}  accepted", output.text(&self.token)))?;
        }
        Ok(Exit::Ok)
    }
}
