//! A program of the tests as a child process that reports by lines on its standard output.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::waiting::{PATIENCE, block_until};

/// A child process, which is killed when this value is dropped.
pub struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a program with these arguments, and with variables of the environment.
    pub fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line of its output. Returns false if the process has ended instead.
    pub fn says(&mut self, line: &str) -> bool {
        self.lines.any(|said| said.is_ok_and(|said| said == line))
    }

    /// Waits until it has died. Its input stays open, so only a failpoint ends it.
    pub fn dies(mut self) {
        let ended = block_until(PATIENCE, || self.child.try_wait().unwrap().ok_or("alive"));
        assert!(!ended.success(), "it stopped in order");
    }

    /// Ends its input, and waits until it has stopped in order.
    pub fn stop(self) {
        assert!(self.ends(), "it did not stop in order");
    }

    /// Ends its input. Returns false if it has died, before or after that.
    pub fn ends(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
