//! A log of what was executed, which outlives the process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use workflow_runtime::step_info;

/// Where steps note that they are being executed.
pub struct Log {
    life: String,
    place: Place,
    tokens: AtomicU64,
}

enum Place {
    /// Each line is one write to a file that is opened for appending, so a kill leaves whole lines.
    File(File),
    Memory(Arc<Mutex<Vec<Execution>>>),
}

/// That an attempt of a step began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Execution {
    /// The process, or the engine, that executed it.
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

/// A number for an operation of a generation.
pub fn operation(generation: u64, op: u64) -> u64 {
    generation * 1_000_000 + op
}

impl Log {
    /// A log in a file that others append to as well.
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

    /// Notes the attempt that calls this: its number.
    ///
    /// # Panics
    ///
    /// If no step of a run does.
    pub fn note(&self) -> u32 {
        self.note_as(self.life.clone(), None)
    }

    /// Notes the attempt that calls this, of a run that may have been retried and is in this generation: its number.
    ///
    /// # Panics
    ///
    /// If no step of a run does.
    pub fn note_in(&self, generation: u64) -> u32 {
        self.note_as(self.life.clone(), Some(generation))
    }

    /// Notes the attempt that calls this under a name that no other has: the name.
    ///
    /// # Panics
    ///
    /// If no step of a run does.
    pub fn sign(&self) -> String {
        let token = format!("{}#{}", self.life, self.tokens.fetch_add(1, Ordering::Relaxed));
        self.note_as(token.clone(), None);
        token
    }

    /// A run that is never retried is in the generation that its keys have.
    fn note_as(&self, life: String, generation: Option<u64>) -> u32 {
        let info = step_info().expect("a step of a run notes it");
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
