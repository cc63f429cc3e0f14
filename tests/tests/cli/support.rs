//! The program under test, and the stores that it is given.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Waits for a future, for a limited time.
pub async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("it does not come to its end")
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

    /// Executes the command line of a program with workflows.
    pub fn own(&self, line: &str) -> Ended {
        let store = ["--store", &self.url].map(str::to_owned);
        program(env!("CARGO_BIN_EXE_own_command_line"), self, store.into_iter().chain(words(line)), "")
    }

    /// What a sequence of command lines prints, as text for a snapshot.
    pub fn transcript(&self, lines: &[&str]) -> String {
        let of = |line: &&str| {
            let Ended { code, out, err } = self.run(line);
            let err = if err.is_empty() { err } else { format!("--- standard error\n{err}") };
            format!("$ workflow {line}\n{out}{err}--- exit code {code}\n")
        };
        lines.iter().map(of).collect::<Vec<_>>().join("\n")
    }
}

/// Words that are separated by blanks, or quoted.
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

/// How a program has ended, and what it has printed.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// The document that was printed.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What was printed, if all went well.
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
    let mut stdin = child.stdin.take().expect("it has an input");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}
