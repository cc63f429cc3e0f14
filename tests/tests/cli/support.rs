//! The programs under test, and their stores.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Waits for a future, for at most 60 seconds.
pub async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("the future is not ready in time")
}

/// A store of a test.
pub struct Place {
    pub directory: TempDir,
    pub url: String,
}

impl Place {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join("runs.db").display());
        Place { directory, url }
    }

    pub fn postgres() -> Self {
        Place { url: workflow_harness::postgres::url(), ..Self::sqlite() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Executes the command line on the store.
    pub fn run(&self, line: &str) -> Ended {
        self.run_with(line, "")
    }

    /// Executes the command line on the store, with this standard input.
    pub fn run_with(&self, line: &str, input: &str) -> Ended {
        let words = words(line);
        let store = ["--store", &self.url].map(str::to_owned);
        program(env!("CARGO_BIN_EXE_command_line"), self, store.into_iter().chain(words), input)
    }

    /// Executes the command line of the program with workflows on the store.
    pub fn own(&self, line: &str) -> Ended {
        let store = ["--store", &self.url].map(str::to_owned);
        program(env!("CARGO_BIN_EXE_own_command_line"), self, store.into_iter().chain(words(line)), "")
    }

    /// The output of a sequence of commands, as text for a snapshot.
    pub fn transcript(&self, lines: &[&str]) -> String {
        let of = |line: &&str| {
            let Ended { code, out, err } = self.run(line);
            let err = if err.is_empty() { err } else { format!("--- standard error\n{err}") };
            format!("$ workflow {line}\n{out}{err}--- exit code {code}\n")
        };
        lines.iter().map(of).collect::<Vec<_>>().join("\n")
    }
}

/// Splits a line into words, which are separated by blanks or quoted.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            letter => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The exit code and the output of a program.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Parses the standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The standard output. Panics unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }
}

fn program(path: &str, place: &Place, words: impl Iterator<Item = String>, input: &str) -> Ended {
    let mut command = Command::new(path);
    command.args(words).current_dir(place.directory.path()).env_remove("WORKFLOW_URL").env_remove("NO_COLOR");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("the program has a standard input");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is UTF-8");
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}
