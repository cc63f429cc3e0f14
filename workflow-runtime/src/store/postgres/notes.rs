//! What others are told of a commit, in one notification at the most.

use std::collections::BTreeSet;

use super::db::{Session, args};
use super::fault::Result;
use crate::store::{DEAD, RunKey};

/// Longer ones PostgreSQL refuses (8,000 bytes). One that would be longer says that anything may have changed.
const NAMED_MAX: usize = 300;

/// Who has to act.
#[derive(Default)]
pub(super) struct Notes {
    /// A run is due that nobody holds, or will be sooner than was known.
    pub due: bool,
    /// The holders of runs that have got letters.
    pub holders: BTreeSet<i64>,
    /// Runs whose end, or whose chunks, somebody waits for.
    pub awaited: BTreeSet<RunKey>,
}

impl Notes {
    /// A letter has come for a run with this holder.
    pub fn letter(&mut self, holder: i64) {
        match holder {
            0 | FREE => self.due = true,
            holder => drop(self.holders.insert(holder)),
        }
    }

    /// The text, if there is anything to tell to others than `ours`.
    fn text(&self, tag: &str, ours: &[i64]) -> Option<String> {
        let holders: Vec<_> = self.holders.iter().filter(|holder| !ours.contains(holder)).collect();
        if !self.due && holders.is_empty() && self.awaited.is_empty() {
            return None;
        }
        if holders.len() + self.awaited.len() > NAMED_MAX {
            return Some(format!("{tag} *"));
        }
        let mut text = tag.to_owned();
        if self.due {
            text.push_str(" d");
        }
        holders.iter().for_each(|holder| text.push_str(&format!(" h{holder}")));
        self.awaited.iter().for_each(|run| text.push_str(&format!(" a{run}")));
        Some(text)
    }

    /// Tells it when the transaction commits.
    pub async fn send(&self, session: &Session<'_>, tag: &str, ours: &[i64]) -> Result<()> {
        if let Some(text) = self.text(tag, ours) {
            let channel = &session.db.options.schema;
            session.query("SELECT pg_notify($1, $2)", args![TEXT: channel, TEXT: text]).await?;
        }
        Ok(())
    }
}

/// The holder of runs whose worker died.
pub(super) const FREE: i64 = DEAD.cast_signed();
