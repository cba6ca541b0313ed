//! Many clients at once: each has its share of the live streams, and probes are always answered.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{Doorkeeper, lines, new_key};
use crate::support::child::BankProcess;

/// A bank that knows these keys.
fn bank(doorkeeper: &Doorkeeper, arguments: &[&str]) -> BankProcess {
    let mut command = BankProcess::command(&doorkeeper.directory.file("bank.db"));
    command.arg("--api-keys").arg(doorkeeper.keys_file()).args(arguments);
    BankProcess::spawn(&mut command, &[]).unwrap()
}

/// A connection with the head of its answer, whose body is not read.
fn open(bank: &BankProcess, path: &str, key: &str) -> (TcpStream, String) {
    let mut connection = TcpStream::connect(bank.address()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let authorization = format!("authorization: Bearer {key}");
    write!(connection, "GET {path} HTTP/1.1\r\nhost: bank\r\n{authorization}\r\n\r\n").unwrap();
    let (mut head, mut reader) = (String::new(), BufReader::new(&connection));
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    if head.contains("application/problem+json") {
        reader.read_line(&mut head).unwrap_or_default();
    }
    (connection, head)
}

#[test]
fn live_streams_are_shared_out_and_a_full_house_has_a_code_of_its_own() {
    let doorkeeper = Doorkeeper::new();
    let keys = ["a", "b", "c"].map(|name| new_key(name, &["accounts:read", "accounts:write"]));
    doorkeeper.write_keys(&lines(&keys.each_ref()));
    // Of eight free streams a quarter is less than the least share, which is four.
    let bank = bank(&doorkeeper, &["--streams", "8", "--streams-each", "100"]);
    let [a, b, c] = keys.each_ref().map(|key| key.key.expose());
    let opening = json!({ "id": "1", "owner": "ada", "currency": "EUR" }).to_string();
    assert_eq!(bank.client().by(a).post("/accounts", &opening, None).unwrap().status, 201);
    let events = "/accounts/1/events";
    let mut held = Vec::new();
    for key in [a, b] {
        for _ in 0..4 {
            let (stream, head) = open(&bank, events, key);
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            held.push(stream);
        }
        if key == a {
            let (_, head) = open(&bank, events, a);
            assert!(
                head.starts_with("HTTP/1.1 429") && head.contains("too_many_streams"),
                "{head}"
            );
        }
    }
    let (_, head) = open(&bank, events, c);
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("no_live_stream"), "{head}");
    assert!(head.contains("retry-after: 1"), "{head}");
    held.pop();
    while !open(&bank, events, c).1.starts_with("HTTP/1.1 200") {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_probe_is_answered_however_often_others_ask_from_its_address() {
    let doorkeeper = Doorkeeper::new();
    let bank = bank(&doorkeeper, &["--rate", "1/h", "--burst", "3"]);
    let mut proxy = bank.client();
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let mut wrong = bank.client().by("bank_wrong_key");
        statuses.push(wrong.get("/accounts/1/balance").unwrap().status);
        assert_eq!(proxy.get("/health/live").unwrap().status, 200);
        let ready = proxy.get("/health/ready").unwrap().status;
        assert!(matches!(ready, 200 | 503), "{ready}");
    }
    assert_eq!(statuses[..3], [401; 3]);
    assert_eq!(statuses[3..], [429; 37]);
    assert_eq!(proxy.get("/openapi.json").unwrap().status, 429, "what is no probe is counted");
}
