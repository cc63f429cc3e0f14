//! Child processes of the tests.

// Each test uses some of these functions.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far above the time of any of the programs, so that a hang is a failure and does not block the CI.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program to its end, successful or not.
pub fn output(command: &mut Command) -> Output {
    finish(spawn(command))
}

/// Starts a program whose output is read by the test.
pub fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a program.
pub fn finish(mut child: Child) -> Output {
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let out_of_patience = |_| panic!("a program took longer than {PATIENCE:?}");
    let stdout = stdout.recv_timeout(PATIENCE).unwrap_or_else(out_of_patience);
    let stderr = stderr.recv_timeout(PATIENCE).unwrap_or_else(out_of_patience);
    Output { status: child.wait().unwrap(), stdout, stderr }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    receiver
}

/// The first line that a program prints.
pub fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

/// The output of a program as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program until it has printed a line with `text`, then kills it. Returns all its lines.
pub fn kill_at(command: &mut Command, text: &str) -> Vec<String> {
    let mut child = spawn(command);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut lines: Vec<String> = Vec::new();
    while !lines.last().is_some_and(|line| line.contains(text)) {
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) => lines.push(line),
            Err(error) => {
                child.kill().unwrap();
                panic!("it did not print {text:?}: {error}, {lines:?}, {:?}", finish(child));
            }
        }
    }
    child.kill().unwrap();
    lines.extend(receiver);
    finish(child);
    lines
}

/// Runs a program to its successful end. Returns its lines.
pub fn lines(command: &mut Command) -> Vec<String> {
    let output = output(command);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}
