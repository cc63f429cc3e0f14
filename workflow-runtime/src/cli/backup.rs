//! `backup`: a copy of the store.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::report::{Outcome, Stop};
use super::store;
use crate::error::{Code, Error};
use crate::steering::text::bytes;

/// Write a copy of a SQLite store to a new file, while engines execute
#[derive(Args)]
pub(super) struct Backup {
    /// The path of the copy
    file: PathBuf,
}

impl Backup {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let Some(store) = store::sqlite(&context.url()?)? else {
            let error = Error::coded(Code::Unsupported, "a database of PostgreSQL is copied by its own tools");
            return Err(Stop::refused(error.help(
                "use pg_dump for a copy of one moment, or base backups and WAL archiving to restore to any point in time",
            )));
        };
        store.backup(&self.file).await?;
        let size = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        let output = &mut context.output;
        let path = self.file.display().to_string();
        if output.format().is_json() {
            output.document(json!({ "file": path, "bytes": size }))?;
        } else {
            output.line(format!("{}  {}", output.text(&path), bytes(size)))?;
        }
        Ok(Exit::Ok)
    }
}
