//! H1, J15: who asks too often, or for too much at a time, is turned away, and others are not.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::child::Bank;
use crate::directory::Directory;
use crate::http::Client;
use crate::raw::Raw;
use crate::sse::EventStream;

const OPEN: &str = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;

fn bank(directory: &Directory, limits: &[&str]) -> Bank {
    let mut command = Bank::command(&directory.file("bank.db"));
    Bank::spawn(command.args(limits), &[]).unwrap()
}

/// A GET as raw bytes, hung up on after its answer.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bank\r\nconnection: close\r\n\r\n")
}

#[test]
fn who_asks_more_often_than_the_rate_is_told_when_to_come_again() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--rate", "4/h", "--burst", "5"]);
    let mut client = bank.client();
    assert_eq!(client.post("/accounts", OPEN, None).unwrap().status, 201);
    for _ in 0..4 {
        assert_eq!(client.get("/accounts/1/history").unwrap().status, 200);
    }
    for path in ["/accounts/1/history", "/accounts/1/balance"] {
        let mut raw = Raw::connect(bank.address());
        raw.send(get(path));
        let reply = raw.whole_reply();
        assert_eq!(reply.status, Some(429), "{reply:?}");
        assert!(reply.text.contains("rate_limited"), "{reply:?}");
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=900).contains(&seconds), "{reply:?}");
    }
    let refused = client.post("/accounts", &OPEN.replace('1', "2"), None).unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(bank.operator().get("/status").unwrap().body["log"]["head"], 1);
}

#[test]
fn a_rate_that_is_none_is_refused_by_name() {
    let directory = Directory::new();
    for wrong in ["10", "0/s", "ten/s"] {
        let mut command = Bank::command(&directory.file("bank.db"));
        let output = command.args(["--rate", wrong]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--rate") && said.contains(wrong), "{said}");
    }
}

#[test]
fn nobody_has_more_live_streams_than_are_theirs_and_one_that_ends_makes_room() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--streams-each", "2"]);
    assert_eq!(bank.client().post("/accounts", OPEN, None).unwrap().status, 201);
    let at = |path: &str| EventStream::open(bank.address(), path, None).unwrap();
    let open = || at("/accounts/1/events");
    let (first, second) = (open(), open());
    assert_eq!((first.status, second.status), (200, 200));
    let third = open();
    assert_eq!(third.status, 429);
    assert!(third.head.contains("retry-after: 1"), "{}", third.head);
    // What is wrong with a request is told all the same.
    let wrong = ["/accounts/%7F/events", "/accounts/nobody/events", "/accounts/1/events?after=9"];
    assert_eq!(wrong.map(|path| at(path).status), [400, 404, 400]);
    assert_eq!(at("/commands/nothing/events").status, 404);
    drop(first);
    while open().status != 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_peer_with_too_many_connections_is_hung_up_on() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--connections-each", "3"]);
    let live = |client: &mut Client| client.get("/health/live").unwrap().status;
    let mut crowd: Vec<Client> = (0..3).map(|_| bank.client()).collect();
    for client in &mut crowd {
        assert_eq!(live(client), 200);
    }
    let mut raw = Raw::connect(bank.address());
    raw.send("GET /health/live HTTP/1.1\r\nhost: bank\r\n\r\n");
    let reply = raw.whole_reply();
    assert_eq!((reply.status, reply.header("connection")), (Some(429), Some("close")));
    assert!(reply.text.contains("too_many_connections"), "{reply:?}");
    assert_eq!(live(&mut crowd[1]), 200, "who is there may go on");
    crowd.pop();
    while live(&mut bank.client()) != 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn when_all_connections_are_taken_others_wait_and_operators_do_not() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--connections", "4", "--workers", "1"]);
    let mut crowd: Vec<Client> = (0..4).map(|_| bank.client()).collect();
    for client in &mut crowd {
        assert_eq!(client.get("/health/live").unwrap().status, 200);
    }
    let mut waiting = bank.client().patience(Duration::from_millis(500)).unwrap();
    let error = waiting.get("/health/live").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert_eq!(bank.operator().get("/status").unwrap().status, 200);
    drop(crowd);
    let mut later = bank.client();
    assert_eq!(later.get("/health/live").unwrap().status, 200);
}

/// The resident memory of a process in KiB.
pub fn resident_kib(bank: &Bank) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bank.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Fifty clients, each with all that a body may hold: the first flood takes what the bank needs, the
/// ones after it no more. Who is turned away before the body is read is hung up on, and comes again.
#[test]
fn a_flood_takes_no_more_memory_the_longer_it_lasts() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--rate", "100/s"]);
    let body = format!(r#"{{"id":"1","owner":"{}","currency":"EUR"}}"#, "x".repeat(60_000));
    let turned_away = AtomicUsize::new(0);
    let one = || {
        for _ in 0..40 {
            let Ok(answer) = bank.client().post("/accounts", &body, None) else { continue };
            assert!(matches!(answer.status, 422 | 429), "{answer:?}");
            turned_away.fetch_add(usize::from(answer.status == 429), Ordering::Relaxed);
        }
    };
    let flood = || {
        std::thread::scope(|scope| (0..50).for_each(|_| drop(scope.spawn(one))));
        resident_kib(&bank)
    };
    let first = flood();
    for _ in 0..3 {
        flood();
    }
    let last = flood();
    assert!(turned_away.into_inner() > 100, "there was no flood");
    assert!(last < first + (16 << 10), "from {first} to {last} KiB");
}
