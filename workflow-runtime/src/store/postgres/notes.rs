//! The notification of a commit to other processes, one at most.

use std::collections::BTreeSet;

use super::db::{Session, args};
use super::fault::Result;
use crate::store::{DEAD, RunKey};

/// The most names in a notification (PostgreSQL allows 8,000 bytes). With more, it reports that anything may have
/// changed.
const NAMED_MAX: usize = 300;

/// The changes of a commit that concern other processes.
#[derive(Default)]
pub(super) struct Notes {
    /// A run without a holder is due, or becomes due sooner than was known.
    pub due: bool,
    /// The holders of runs that have received messages.
    pub holders: BTreeSet<i64>,
    /// Runs whose end, chunks or rows another process waits for.
    pub awaited: BTreeSet<RunKey>,
}

impl Notes {
    /// Records that a run with this holder has received a message.
    pub fn message(&mut self, holder: i64) {
        match holder {
            0 | FREE => self.due = true,
            holder => drop(self.holders.insert(holder)),
        }
    }

    /// The text of the notification, if there is one to send. Leaves out the holders in `ours`.
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

    /// Sends the notification, which the database delivers when the transaction commits.
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
