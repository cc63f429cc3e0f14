//! Programs that are killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Longer than any program here takes, on however slow a machine: passing it is a hang.
const PATIENCE: Duration = Duration::from_secs(120);

const SIGKILL: i32 = 9;

/// A program that runs. It is killed when this is dropped.
pub struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    /// What it has said so far.
    pub said: Vec<String>,
}

/// A program with its arguments, which runs until it is killed or ends.
pub fn command<A: AsRef<OsStr>>(program: impl AsRef<Path>, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args).env_remove("WORKFLOW_FAIL_POINT").env_remove("WORKFLOW_URL").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

impl Child {
    pub fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let stdout = process.stdout.take().expect("its output is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Child { process, lines, said: Vec::new() }
    }

    /// The rest of the first line that begins so and has not been waited for yet.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line);
                    if let Some(rest) = self.said.last().and_then(|line| line.strip_prefix(beginning)) {
                        return rest.trim_start().to_owned();
                    }
                }
                Err(end) => panic!("no line that begins with `{beginning}` ({end}); it said {:?}", self.said),
            }
        }
    }

    /// Reads what it says until it ends, or until the time is up: whether it ended.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// Kills it with SIGKILL, and reads what it said before.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.process.kill();
        self.end()
    }

    /// Stops it, until it is [told to go on](Child::go_on).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).expect("it takes signals");
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let mut stdin = self.process.stdin.as_ref().expect("its input is open");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("it takes its input");
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until it ends by itself.
    pub fn end(&mut self) -> ExitStatus {
        if !self.ends_within(PATIENCE) {
            let _ = self.process.kill();
            panic!("the program hangs; it said {:?}", self.said);
        }
        self.process.wait().expect("a child can be waited for")
    }

    /// Waits until it ends by itself, which must be well.
    pub fn end_well(&mut self) {
        let status = self.end();
        assert!(status.success(), "the program ended with {status}; it said {:?}", self.said);
    }

    /// The rests of the lines that begin so.
    pub fn said(&self, beginning: &str) -> Vec<&str> {
        self.said.iter().filter_map(|line| line.strip_prefix(beginning)).map(str::trim_start).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether that was a SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(SIGKILL)
}
