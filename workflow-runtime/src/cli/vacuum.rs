//! `vacuum`: gives the free pages of a store back to the file system.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::report::{Outcome, Stop};
use super::store;
use crate::error::{Code, Error};
use crate::steering::text::bytes;

/// Give the free pages of a SQLite store back to the file system, while engines execute
#[derive(Args)]
pub(super) struct Vacuum {}

impl Vacuum {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let Some(store) = store::sqlite(&context.url()?)? else {
            let error = Error::coded(Code::Unsupported, "PostgreSQL gives free space back by itself");
            return Err(Stop::refused(error.help("see autovacuum; VACUUM FULL locks the tables while it runs")));
        };
        let before = store.sizes().await?;
        let after = store.vacuum().await?;
        let output = &mut context.output;
        if output.format().is_json() {
            output.document(json!({ "bytes_before": before.bytes, "bytes_after": after.bytes }))?;
        } else {
            output.line(format!("{} before, {} after", bytes(before.bytes), bytes(after.bytes)))?;
        }
        Ok(Exit::Ok)
    }
}
