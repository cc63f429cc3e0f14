//! A log of executions that survives a crash.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use workflow_runtime::step_info;

/// A log in which steps record their executions.
pub struct Log {
    life: String,
    place: Place,
    tokens: AtomicU64,
}

enum Place {
    /// Each line is one write to a file opened for appending, so a kill leaves only complete lines.
    File(File),
    Memory(Arc<Mutex<Vec<Execution>>>),
}

/// An attempt of a step that began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Execution {
    /// The process or engine that executed it, or the token of the execution ([`Log::sign`]).
    pub life: String,
    /// The run's id.
    pub run: String,
    /// The [`operation`].
    pub op: u64,
    /// The attempt's number.
    pub attempt: u32,
    /// The step's id.
    pub step: String,
}

/// A number that identifies an operation of a generation.
pub fn operation(generation: u64, op: u64) -> u64 {
    generation * 1_000_000 + op
}

impl Log {
    /// A log in a file that other processes append to, too.
    ///
    /// # Panics
    ///
    /// If the file cannot be opened.
    pub fn file(path: impl AsRef<Path>, life: impl Into<String>) -> Self {
        let file = OpenOptions::new().append(true).create(true).open(path).expect("the log opens");
        Log { life: life.into(), place: Place::File(file), tokens: AtomicU64::new(0) }
    }

    /// A log in memory.
    pub fn memory(executions: Arc<Mutex<Vec<Execution>>>, life: impl Into<String>) -> Self {
        Log { life: life.into(), place: Place::Memory(executions), tokens: AtomicU64::new(0) }
    }

    /// Records the calling attempt: its number.
    ///
    /// # Panics
    ///
    /// If the caller is no step of a run.
    pub fn note(&self) -> u32 {
        self.note_as(self.life.clone(), None)
    }

    /// Records the calling attempt of a run in this generation, for runs that may be retried: the number of the
    /// attempt.
    ///
    /// # Panics
    ///
    /// If the caller is no step of a run.
    pub fn note_in(&self, generation: u64) -> u32 {
        self.note_as(self.life.clone(), Some(generation))
    }

    /// Records the calling attempt under a unique token: the token.
    ///
    /// # Panics
    ///
    /// If the caller is no step of a run.
    pub fn sign(&self) -> String {
        let token = format!("{}#{}", self.life, self.tokens.fetch_add(1, Ordering::Relaxed));
        self.note_as(token.clone(), None);
        token
    }

    /// Records an execution. Without `generation`, the generation comes from the idempotency key, which is right for a
    /// run that is never retried.
    fn note_as(&self, life: String, generation: Option<u64>) -> u32 {
        let info = step_info().expect("the caller is a step of a run");
        let mut parts = info.idempotency_key.rsplitn(4, '/');
        let (Some(op), Some(_unwindings), Some(of_key)) = (parts.next(), parts.next(), parts.next()) else {
            panic!("the key is run, generation, unwindings and operation");
        };
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let execution = Execution {
            life,
            run: info.run,
            op: operation(generation.unwrap_or_else(|| number(of_key)), number(op)),
            attempt: info.attempt,
            step: info.step.rsplit("::").next().unwrap_or_default().to_owned(),
        };
        match &self.place {
            Place::File(file) => {
                let mut file: &File = file;
                file.write_all(execution.line().as_bytes()).expect("the log is written");
            }
            Place::Memory(executions) => executions.lock().unwrap_or_else(PoisonError::into_inner).push(execution),
        }
        info.attempt
    }
}

impl Execution {
    fn line(&self) -> String {
        format!("{} {} {} {} {}\n", self.life, self.run, self.op, self.attempt, self.step)
    }

    /// Reads a line of a log.
    pub fn parse(line: &str) -> Option<Self> {
        let [life, run, op, attempt, step] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        Some(Execution {
            life: life.to_owned(),
            run: run.to_owned(),
            op: op.parse().ok()?,
            attempt: attempt.parse().ok()?,
            step: step.to_owned(),
        })
    }
}
