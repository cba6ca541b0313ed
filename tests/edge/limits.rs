//! A client that sends too much, or too much at a time, is refused, and other clients are not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::raw::Raw;
use crate::support::sse::EventStream;

const OPEN: &str = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;

fn bank(directory: &Directory, limits: &[&str]) -> BankProcess {
    let mut command = BankProcess::command(&directory.file("bank.db"));
    BankProcess::spawn(command.args(limits), &[]).unwrap()
}

/// A GET as raw bytes, hung up on after its answer.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

#[test]
fn a_client_above_its_rate_limit_gets_retry_after() {
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
        let mut command = BankProcess::command(&directory.file("bank.db"));
        let output = command.args(["--rate", wrong]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--rate") && said.contains(wrong), "{said}");
    }
}

#[test]
fn live_streams_of_a_client_are_limited_and_one_that_ends_makes_room() {
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
    // Errors of the request itself have priority over the limit.
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
    raw.send("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
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
pub fn resident_kib(bank: &BankProcess) -> u64 {
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

/// A connection to the bank from this address of the machine.
fn connect_from(bank: &BankProcess, source: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    let to: SocketAddr = bank.address().parse().unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads one answer, which must be short, and returns its text.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with('}') {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "{text}");
        text.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    text.to_ascii_lowercase()
}

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Holds as many connections as the bank lets it, by a second head that does not end.
fn hold_by_half_heads(bank: &BankProcess, source: [u8; 4], tries: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..tries {
        let mut stream = connect_from(bank, source);
        stream.write_all(LIVE).unwrap();
        if !read_answer(&mut stream).contains("connection: close") {
            stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: loc").unwrap();
            held.push(stream);
        }
    }
    held
}

#[test]
fn unfinished_second_heads_of_a_few_peers_lock_nobody_out() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--connections", "64", "--workers", "1"]);
    let held: Vec<Vec<TcpStream>> =
        (2..7).map(|peer| hold_by_half_heads(&bank, [127, 0, 0, peer], 40)).collect();
    let counts: Vec<usize> = held.iter().map(Vec::len).collect();
    assert!(counts.iter().all(|count| *count >= 4), "each keeps some alive: {counts:?}");
    let mut next = connect_from(&bank, [127, 0, 0, 9]);
    next.write_all(LIVE).unwrap();
    assert!(read_answer(&mut next).starts_with("http/1.1 200"), "{counts:?}");
}

#[test]
fn a_full_listener_is_reported_and_malformed_requests_are_not() {
    let directory = Directory::new();
    let log = directory.file("log");
    let mut command = BankProcess::command(&directory.file("bank.db"));
    command.args(["--connections", "4", "--workers", "1"]).env_remove("RUST_LOG");
    let log_file = std::fs::File::create(&log).unwrap();
    let bank = BankProcess::launch(command.stderr(log_file)).unwrap();
    for malformed in ["GET / HTTP/9.9\r\n\r\n", "\0\r\n\r\n", "GET /\r\nhost: a\r\n\r\n", "x"] {
        for _ in 0..5 {
            let mut raw = Raw::connect(bank.address());
            raw.send(malformed);
        }
    }
    let read_log = || std::fs::read_to_string(&log).unwrap();
    let is_reported = |log: &str| log.contains("the public listener is full");
    let mut crowd: Vec<Client> = Vec::new();
    let began = Instant::now();
    while !is_reported(&read_log()) {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", read_log());
        if crowd.len() < 4 {
            let mut client = bank.client().patience(Duration::from_secs(2)).unwrap();
            if client.get("/health/live").is_ok() {
                crowd.push(client);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!read_log().contains("ERROR"), "{}", read_log());
}

#[test]
fn head_of_a_live_stream_ends_at_once_and_holds_no_place() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--streams-each", "1"]);
    assert_eq!(bank.client().post("/accounts", OPEN, None).unwrap().status, 201);
    for path in ["/accounts/1/events", "/accounts/1/events", "/accounts/1/history"] {
        let mut raw = Raw::connect(bank.address());
        raw.send(format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
        let reply = raw.whole_reply();
        assert_eq!(reply.status, Some(200), "{reply:?}");
        assert!(reply.text.ends_with("\r\n\r\n"), "there is no body: {reply:?}");
    }
    // Two requests on one connection: the second answer is not read as a body of the first.
    let mut raw = Raw::connect(bank.address());
    let head = "HEAD /accounts/1/events HTTP/1.1\r\nhost: localhost\r\n";
    raw.send(format!("{head}\r\n{head}connection: close\r\n\r\n"));
    assert_eq!(raw.whole_reply().answers(), 2);
    let stream = EventStream::open(bank.address(), "/accounts/1/events", None).unwrap();
    assert_eq!(stream.status, 200);
}

/// 300 connections that send as many requests as the bank takes, up to 3,000, and read nothing.
fn unread(bank: &BankProcess, path: &str) -> Vec<TcpStream> {
    let requests = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(3000);
    let connect = |_| {
        let mut stream = TcpStream::connect(bank.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(stream.write(requests.as_bytes()).unwrap() > 0);
        stream
    };
    (0..300).map(connect).collect()
}

/// Open files of the bank, which are connections for the most part.
fn files(bank: &BankProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", bank.id())).unwrap().count()
}

#[test]
fn a_client_that_reads_nothing_costs_little_and_not_for_long() {
    let directory = Directory::new();
    let bank = bank(&directory, &["--send-deadline-ms", "2000"]);
    let mut client = bank.client();
    assert_eq!(client.post("/accounts", OPEN, None).unwrap().status, 201);
    for _ in 0..400 {
        let credited = client.post("/accounts/1/credit", r#"{"amount":1}"#, None).unwrap();
        assert_eq!(credited.status, 200);
    }
    drop(client);
    let (memory, open) = (resident_kib(&bank), files(&bank));
    for path in ["/openapi.json", "/docs/page.js", "/accounts/1/history?limit=500"] {
        let held = unread(&bank, path);
        assert_eq!(bank.client().get("/health/live").unwrap().status, 200);
        let (mut grown, began) = (0, Instant::now());
        // The bank ends each of them although this end has read nothing.
        while files(&bank) > open + 10 {
            grown = grown.max(resident_kib(&bank).saturating_sub(memory));
            assert!(began.elapsed() < Duration::from_secs(60), "{path}: not ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(grown < 300 * 96, "{path}: {grown} KiB for {} connections", held.len());
    }
}
