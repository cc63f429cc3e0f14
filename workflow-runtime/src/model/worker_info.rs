//! Workers and deployments.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Schema, rfc3339};
use crate::codec::schema::{Misfit, misfit};
use crate::codec::{self, Payload};
use crate::error::{Code, Error, Result};
use crate::text::excerpt;

/// A worker: an engine that executes the runs of a store, or is ready to. See [`Client::workers`](crate::Client::workers).
///
/// Its JSON has these fields and `"schema": 1`; times are RFC 3339 with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// What it is: `engine`. Later versions may list other kinds.
    pub kind: String,
    /// The name of its machine.
    pub host: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// The id of its [deployment](crate::Builder::deployment).
    pub deployment: Option<String>,
    /// When it was opened.
    #[serde(with = "rfc3339")]
    pub started_at: SystemTime,
    /// Whether it is alive: on PostgreSQL its lease has not ended, on SQLite its process exists. A worker that is not alive is
    /// listed until another one is opened.
    pub is_alive: bool,
    /// Whether its deployment is [drained](crate::Client::drain): it takes no runs but those that are bound to it.
    pub is_draining: bool,
    /// Whether it executes. On SQLite and in memory one worker does, and the others take over when it is gone.
    pub executes: bool,
    /// The queues that it serves.
    pub queues: Vec<String>,
    /// How many attempts of async steps it executes at the same time: see [`Builder::concurrency`](crate::Builder::concurrency).
    /// `None` if it is of a version that does not publish this.
    pub concurrency: Option<usize>,
    /// The same for blocking steps: see [`Builder::blocking_concurrency`](crate::Builder::blocking_concurrency).
    pub blocking_concurrency: Option<usize>,
    /// How many steps of each queue it executes at the same time: see [`Builder::queue`](crate::Builder::queue).
    pub queue_concurrency: BTreeMap<String, usize>,
    /// The number of the engine, by which runs name their owner.
    #[cfg(feature = "web")]
    #[serde(skip)]
    pub(crate) owner: u64,
    pub(crate) schema: Schema,
}

/// A deployment: builds that count as the same version of a program. See [`Client::deployments`](crate::Client::deployments).
///
/// Its JSON has these fields and `"schema": 1`; times are RFC 3339 with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeploymentInfo {
    /// Its [id](crate::Builder::deployment).
    pub id: String,
    /// When one of its workers was last opened.
    #[serde(with = "rfc3339")]
    pub published_at: SystemTime,
    /// When one of its workers was opened while no other one was alive.
    #[serde(with = "rfc3339::option")]
    pub activated_at: Option<SystemTime>,
    /// Whether it is [drained](crate::Client::drain): it takes no runs but those that are bound to it.
    pub is_draining: bool,
    /// Whether it was [promoted](crate::Client::promote).
    pub is_promoted: bool,
    /// How many of its workers are alive.
    pub workers: usize,
    /// How many unfinished runs are [bound](crate::Start::deployment) to it.
    pub runs: u64,
    /// What the build of the worker that was opened last has.
    pub catalogue: Catalogue,
    pub(crate) schema: Schema,
}

/// What a build has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Catalogue {
    /// The workflows, by id.
    #[serde(default)]
    pub workflows: Vec<CatalogueWorkflow>,
    /// The steps, by id.
    #[serde(default)]
    pub steps: Vec<CatalogueStep>,
    /// The queues that steps have.
    #[serde(default)]
    pub queues: Vec<String>,
    /// The JSON Schemas of payloads by the names of their types, with the feature `schema`: see the macro `payload!`.
    #[serde(default)]
    pub payloads: Vec<(String, Value)>,
}

/// A workflow of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CatalogueWorkflow {
    /// Its id.
    pub id: String,
    /// Its former ids.
    #[serde(default)]
    pub was: Vec<String>,
    /// Whether its runs are bound to the deployment that starts them.
    #[serde(default)]
    pub pinned: bool,
    /// Changes with the code of the function.
    pub fingerprint: String,
    /// The file in which it is defined, as the compiler names it.
    pub file: String,
    /// The line of its name.
    pub line: u32,
    /// The names of its arguments, in their order, each with the JSON Schema of its type, with the feature `schema`, if the
    /// type has one.
    #[serde(default)]
    pub arguments: Vec<(String, Option<Value>)>,
    /// The JSON Schema of its result, with the feature `schema`, if the type has one.
    #[serde(default)]
    pub result_schema: Option<Value>,
}

impl CatalogueWorkflow {
    /// Refuses arguments that the workflow cannot take, by their number and by the schemas that its build has published.
    pub(crate) fn check(&self, args: &Payload) -> Result<()> {
        let given: Value = codec::decode("the arguments", args)?;
        let given = match (&self.arguments[..], given) {
            ([], Value::Null) => return Ok(()),
            ([_], only) => vec![only],
            ([_, _, ..], Value::Array(several)) if several.len() == self.arguments.len() => several,
            (names, _) => {
                let names: Vec<&str> = names.iter().map(|(name, _)| &**name).collect();
                let expected = match names[..] {
                    [] => "none: null".to_owned(),
                    _ => format!("an object with {}, or an array of {} values", names.join(", "), names.len()),
                };
                return Err(self.refused().expected(expected).found(excerpt(args.as_str())));
            }
        };
        fit(&self.arguments, &given, || self.refused())
    }

    fn refused(&self) -> Error {
        let text = format!("the arguments of workflow `{}` are not valid", self.id);
        Error::coded(Code::InvalidArguments, text).into_fatal()
    }
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CatalogueStep {
    /// Its id.
    pub id: String,
    /// Changes with the code of the function.
    pub fingerprint: String,
    /// The file in which it is defined, as the compiler names it.
    pub file: String,
    /// The line of its name.
    pub line: u32,
    /// The queue whose workers execute it, if it has one.
    #[serde(default)]
    pub queue: Option<String>,
    /// The names of its arguments, in their order, each with the JSON Schema of its type, with the feature `schema`, if the
    /// type has one. Resources and transactions are no arguments.
    #[serde(default)]
    pub arguments: Vec<(String, Option<Value>)>,
    /// The JSON Schema of its result, with the feature `schema`, if the type has one.
    #[serde(default)]
    pub result_schema: Option<Value>,
}

impl CatalogueStep {
    /// Refuses arguments, a tuple of them, that the step cannot take.
    pub(crate) fn check(&self, args: &Payload) -> Result<()> {
        let refused = || {
            let text = format!("the input does not fit the arguments of step `{}`", self.id);
            Error::coded(Code::InvalidArguments, text).into_fatal()
        };
        let given = match codec::decode("the input", args)? {
            Value::Array(given) => given,
            Value::Null => Vec::new(),
            other => vec![other],
        };
        if given.len() != self.arguments.len() {
            let names: Vec<&str> = self.arguments.iter().map(|(name, _)| &**name).collect();
            let expected = format!("a tuple of {} arguments: {}", names.len(), names.join(", "));
            return Err(refused().expected(expected).found(excerpt(args.as_str())));
        }
        fit(&self.arguments, &given, refused)
    }
}

/// Refuses the first value that does not fit the schema of its argument.
fn fit(arguments: &[(String, Option<Value>)], given: &[Value], refused: impl Fn() -> Error) -> Result<()> {
    for ((name, schema), given) in arguments.iter().zip(given) {
        if let Some(Misfit { path, expected, found }) = schema.as_ref().and_then(|schema| misfit(schema, given, name)) {
            return Err(refused().expected(format!("at {path}: {expected}")).found(found));
        }
    }
    Ok(())
}
