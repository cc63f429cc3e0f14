//! Child processes that tests start, stop and kill.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Longer than any program here takes on a slow machine: a program that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

const SIGKILL: i32 = 9;

/// A running program. Dropping this value kills it.
pub struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    /// The lines of standard output that were read so far.
    pub said: Vec<String>,
}

/// A command that runs the program with these arguments, with piped input and output.
pub fn command<A: AsRef<OsStr>>(program: impl AsRef<Path>, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args).env_remove("WORKFLOW_FAIL_POINT").env_remove("WORKFLOW_URL").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

impl Child {
    pub fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let stdout = process.stdout.take().expect("the output is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Child { process, lines, said: Vec::new() }
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next line of output with this prefix: the rest of the line.
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
                Err(end) => panic!("no line begins with `{beginning}` ({end}); the program printed {:?}", self.said),
            }
        }
    }

    /// Reads its output until it exits or the time is up: whether it exited.
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

    /// Kills it with SIGKILL, and reads the output that it wrote before.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.process.kill();
        self.end()
    }

    /// Stops it with SIGSTOP until [`Child::resume`].
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).expect("the signal is sent");
    }

    /// Writes a line to its standard input.
    pub fn send(&mut self, line: &str) {
        let mut stdin = self.process.stdin.as_ref().expect("the input is open");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("the program reads its input");
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until it exits by itself.
    pub fn end(&mut self) -> ExitStatus {
        if !self.ends_within(PATIENCE) {
            let _ = self.process.kill();
            panic!("the program hangs; it printed {:?}", self.said);
        }
        self.process.wait().expect("a child can be waited for")
    }

    /// Waits until it exits by itself, and asserts that it succeeded.
    pub fn end_well(&mut self) {
        let status = self.end();
        assert!(status.success(), "the program exited with {status}; it printed {:?}", self.said);
    }

    /// The lines with this prefix, without the prefix.
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

/// Whether the process was killed with SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(SIGKILL)
}
