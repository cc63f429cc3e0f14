//! Payloads whose Rust type the program does not have: they are checked against the JSON Schema that a deployment has published.

use serde_json::Value;

use crate::codec::schema::{Misfit, misfit};
use crate::engine::Client;
use crate::error::{Code, Error, Result};

/// Refuses a payload that does not fit the schema of its type. A type without a published schema has no check.
pub(crate) async fn check(client: &Client, what: &str, type_name: &str, payload: &Value) -> Result<()> {
    let mut deployments = client.deployments().await?;
    deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.published_at));
    let mut payloads = deployments.iter().flat_map(|deployment| &deployment.catalogue.payloads);
    let Some((_, schema)) = payloads.find(|(name, _)| *name == type_name) else { return Ok(()) };
    match misfit(schema, payload, "payload") {
        None => Ok(()),
        Some(Misfit { path, expected, found }) => {
            Err(Error::coded(Code::Payload, format!("the payload does not fit {what}"))
                .expected(format!("at {path}: {expected}"))
                .found(found)
                .help("correct the payload; `--unchecked` sends it if the type accepts more than its JSON Schema says")
                .into_fatal())
        }
    }
}
