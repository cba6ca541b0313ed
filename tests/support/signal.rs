//! Signals to child processes, by name, without a program from the system.
//!
//! A bare Debian has no `kill`, which is in the package `procps`.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends the signal `SIG<name>` to a process that this one started and has not yet waited for.
pub fn send(process: u32, name: &str) {
    let signal: Signal = format!("SIG{name}").parse().expect("the signal has no such name");
    let id = i32::try_from(process).expect("a process id fits 31 bits");
    kill(Pid::from_raw(id), signal).expect("the process does not exist");
}
