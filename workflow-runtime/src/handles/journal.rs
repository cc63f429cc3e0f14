//! Journals that were exported from a store to files, which other builds and tests replay.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::codec::Payload;
use crate::engine::check::check_recorded;
use crate::error::{Code, Error, Result};
use crate::replay::{Event, TurnRecord};

/// The version of the JSON of a [`Journal`].
const SCHEMA: u32 = 1;

/// An exported journal: that of a run's current generation, and the events in the run's inbox. See [`Run::export`].
///
/// It is written to a file as JSON, by `to_string` or any format of serde, and read by `parse` or serde. It holds the
/// arguments, results and payloads of the run, unless they were [redacted](Journal::redact).
///
/// ```
/// # use workflow_runtime::{Engine, Journal, Result, workflow};
/// # #[workflow] async fn order(id: u64) -> Result<u64> { Ok(id) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(order, 7).id("order-7").await?;
/// let text = run.export().await?.to_string(); // for a file
///
/// let journal: Journal = text.parse()?; // later, by another build
/// assert_eq!(journal.run_id(), "order-7");
/// journal.check()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    schema: u32,
    /// The highest format of its rows.
    format: u32,
    run: String,
    workflow: String,
    generation: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
    turns: Vec<TurnRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inbox: Vec<Arrived>,
}

/// An event in the inbox of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Arrived {
    at: u64,
    event: Event,
}

impl Journal {
    /// The id of the run.
    pub fn run_id(&self) -> &str {
        &self.run
    }

    /// The id of the workflow that the run was started with.
    pub fn workflow(&self) -> &str {
        &self.workflow
    }

    /// Passes each argument, result, error and payload of the journal, the reasons of cancels and the values of attributes to a
    /// function, which may change them, for example to remove personal data. Keys, tokens, the names of streams and the ids of
    /// runs do not change.
    ///
    /// A value has to keep its type, and equal values have to stay equal, or the journal no longer replays.
    ///
    /// # Errors
    ///
    /// [`Code::Payload`] if a value is not JSON.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Journal, Result, workflow};
    /// # #[workflow] async fn greet(name: String) -> Result<String> { Ok(name) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let mut journal = engine.start(greet, "Ada".to_owned()).await?.export().await?;
    /// journal.redact(|value| {
    ///     if value.is_string() {
    ///         *value = "redacted".into();
    ///     }
    /// })?;
    /// assert!(!journal.to_string().contains("Ada"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn redact(&mut self, mut redact: impl FnMut(&mut serde_json::Value)) -> Result<()> {
        let mut failed = None;
        let mut change = |payload: &mut Payload| {
            if let Err(error) = payload.change(&mut redact) {
                failed.get_or_insert(error);
            }
        };
        for turn in &mut self.turns {
            turn.each_payload(&mut change);
        }
        for arrived in &mut self.inbox {
            arrived.event.each_payload(&mut change);
        }
        self.redacted = true;
        failed.map_or(Ok(()), Err)
    }

    /// Replays the journal with this build, as [`Runs::check`](crate::Runs::check) does for the runs of a store: no step is
    /// executed.
    ///
    /// # Errors
    ///
    /// The error with which the run would become stuck, or its step would fail; [`Code::NotRegistered`] if this build lacks
    /// the workflow. The error of a redacted journal says that it was redacted.
    pub fn check(&self) -> Result<()> {
        let inbox = self.inbox.iter().map(|arrived| (arrived.at, arrived.event.clone())).collect();
        let id = Arc::from(&*self.run);
        check_recorded(&self.workflow, &id, self.generation, self.turns.clone(), inbox).map_err(|error| {
            match self.redacted {
                true => error.because("the journal was redacted: a changed value may be the reason"),
                false => error,
            }
        })
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Journal {
    type Err = Error;

    /// # Errors
    ///
    /// [`Code::Damaged`] if the text is not an exported journal, [`Code::NewerFormat`] if a newer build has written it.
    fn from_str(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versions {
            schema: u32,
            format: u32,
        }
        let unreadable = |error: serde_json::Error| {
            Error::coded(Code::Damaged, "the text is no journal that `Run::export` has written").because(error)
        };
        let Versions { schema, format } = serde_json::from_str(text).map_err(unreadable)?;
        if schema > SCHEMA || format > TurnRecord::NEWEST_FORMAT {
            return Err(Error::coded(Code::NewerFormat, "a newer build has exported the journal")
                .expected(format!("schema {SCHEMA} and a format up to {}", TurnRecord::NEWEST_FORMAT))
                .found(format!("schema {schema} and format {format}"))
                .help("update workflow-runtime to the version that exported it, or a newer one"));
        }
        serde_json::from_str(text).map_err(unreadable)
    }
}

impl<T, E> Run<T, E> {
    /// Reads the journal of the run's current generation, to replay it elsewhere: in a test, or by another build.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`], or if the store cannot be read.
    pub async fn export(&self) -> Result<Journal> {
        let client = self.engine().await?;
        let recorded = client.inner().recorded(self.id()).await?;
        let events = recorded.inbox.iter().map(|(_, event)| event.format());
        Ok(Journal {
            schema: SCHEMA,
            format: recorded.turns.iter().map(TurnRecord::format).chain(events).max().unwrap_or(1),
            run: recorded.row.id.to_string(),
            workflow: recorded.row.workflow.to_string(),
            generation: recorded.row.generation,
            redacted: false,
            turns: recorded.turns,
            inbox: recorded.inbox.into_iter().map(|(at, event)| Arrived { at, event }).collect(),
        })
    }
}
