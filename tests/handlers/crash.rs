//! Event handlers whose process dies: nothing is lost, and the order of each key holds.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::time::Duration;

use crate::support::directory::Directory;
use crate::support::place::{Place, on_both_places};
use crate::support::program::Program;
use crate::support::waiting::{PATIENCE, block_until, check};

/// Starts a `handler-process` that stores so many events.
fn start(url: &str, file: &str, events: u64, environment: &[(&str, &str)]) -> Program {
    let program = env!("CARGO_BIN_EXE_handler-process");
    Program::start(program, &[url, file, &events.to_string()], environment)
}

/// Number of the last event of each book. Fails if an event came before the one before it, or was
/// left out.
fn handled(file: &str) -> HashMap<String, u64> {
    let mut last: HashMap<String, u64> = HashMap::new();
    for line in read_to_string(file).unwrap_or_default().lines() {
        let (book, version) = line.split_once(' ').unwrap();
        let version: u64 = version.parse().unwrap();
        let last = last.entry(book.to_owned()).or_default();
        // Events that were handled and not saved come again, in order.
        assert!(version <= *last + 1, "{version} of {book} came after {last}");
        *last = version.max(*last);
    }
    last
}

/// Waits until that many events are handled.
fn wait_for(file: &str, events: u64) {
    let is_complete = |handled: &HashMap<_, _>| handled.values().sum::<u64>() == events;
    block_until(PATIENCE, || check(handled(file), is_complete));
}

/// Number of lines once nothing is added any more, because what was not saved comes again.
fn quiet(file: &str) -> usize {
    let count = || read_to_string(file).unwrap().lines().count();
    block_until(PATIENCE, || {
        let before = count();
        std::thread::sleep(Duration::from_millis(400));
        check(count(), |after| *after == before)
    })
}

async fn a_crash_at_each_step_of_a_handler_loses_nothing_and_keeps_the_order(place: Place) {
    let (directory, url) = (Directory::new(), place.url());
    let file = directory.file("handled");
    let mut lines = 0;
    for (point, pass) in [
        ("handler.handled", 1),
        ("handler.handled", 40),
        ("handler.before_checkpoint", 1),
        ("handler.before_checkpoint", 3),
        ("handler.after_checkpoint", 1),
        ("handler.after_checkpoint", 3),
    ] {
        let at = format!("{point}:{pass}");
        let crash_at = [("ACTUM_CRASH_AT", &*at)];
        start(&url, &file, 200, &crash_at).dies();
        let mut process = start(&url, &file, 0, &[]);
        assert!(process.says("written"));
        // The log alone knows how much was written before the crash.
        wait_for(&file, in_the_log(&place).await);
        let after = quiet(&file);
        process.stop();
        assert!(after > lines, "nothing was handled after {at}");
        lines = after;
        // Nothing comes again after an orderly stop.
        let mut process = start(&url, &file, 0, &[]);
        assert!(process.says("written"));
        assert_eq!(quiet(&file), lines, "repeated after {at}");
        process.stop();
    }
}

async fn in_the_log(place: &Place) -> u64 {
    let read = "SELECT count(*) FROM events";
    let log = place.log();
    let read = crate::support::child::rows(&log, read, "SELECT count(*) FROM actum.events");
    let rows: Vec<(i64,)> = read.await;
    rows[0].0.unsigned_abs()
}

/// Killed and replaced again and again, at any instant.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn two_processes_that_are_killed_hand_over_without_loss() {
    let (place, directory) = (Place::postgres().await, Directory::new());
    let (url, file) = (place.url(), directory.file("handled"));
    let started = || {
        let mut process = start(&url, &file, 2_000, &[]);
        assert!(process.says("started"));
        process
    };
    let mut processes = [started(), started()];
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(150 + 130 * round));
        // Dropping kills it with SIGKILL.
        processes[usize::try_from(round % 2).unwrap()] = started();
    }
    for process in &mut processes {
        assert!(process.says("written"));
    }
    wait_for(&file, in_the_log(&place).await);
    processes.into_iter().for_each(Program::stop);
}

on_both_places!(a_crash_at_each_step_of_a_handler_loses_nothing_and_keeps_the_order);
