//! Log lines about requests: one line for each request, whatever the request contains, and no
//! secret.

use std::fs::File;
use std::process::Stdio;

use serde_json::Value;

use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::raw::Raw;

/// A text in the place of every secret. The log must not contain it.
const SECRET: &str = "canary-4711";

/// Texts that would begin a new log line or colour the terminal, as a path and in JSON.
const IN_PATHS: &str = "%0d%0a2026-01-01T00:00:00Z%20ERROR%20forged%1b%5b31m";
const IN_JSON: &str = r#"\r\n2026-01-01T00:00:00Z ERROR forged\u001b[31m\u2028\u202e"#;

/// All log lines of the bank while it gets these requests, down to this level.
fn log_of(format: &str, level: &str) -> String {
    let directory = Directory::new();
    let file = directory.file("log");
    let mut command = BankProcess::command(&directory.file("bank.db"));
    command.args(["--log", format]).env("RUST_LOG", level);
    let bank =
        BankProcess::launch(command.stderr(Stdio::from(File::create(&file).unwrap()))).unwrap();
    let credentials = format!("authorization: Bearer {SECRET}\r\ncookie: session={SECRET}\r\n");
    let ids = "x-correlation-id: order-7 \"quoted\"\r\n\
               traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let ask = |line: &str, body: &str| {
        let mut raw = Raw::connect(bank.address());
        let length = body.len();
        raw.send(format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             idempotency-key: {SECRET}-{length}\r\n{credentials}{ids}content-length: {length}\r\n\r\n{body}"
        ));
        raw.whole_reply().status
    };
    let open = format!(r#"{{"id":"1","owner":"{SECRET}","currency":"EUR"}}"#);
    assert_eq!(ask("POST /accounts", &open), Some(201));
    assert_eq!(ask("POST /accounts", &open), Some(201));
    let coloured = format!(r#"{{"id":"2","owner":"{IN_JSON}","currency":"EUR"}}"#);
    assert_eq!(ask("POST /accounts", &coloured), Some(422));
    let forged = format!(r#"{{"id":"{IN_JSON}","owner":"Ada","currency":"EUR"}}"#);
    assert_eq!(ask("POST /accounts", &forged), Some(400));
    let unknown = format!(r#"{{"{IN_JSON}{SECRET}":1}}"#);
    assert_eq!(ask("POST /accounts", &unknown), Some(400));
    let no_account = ask(&format!("GET /accounts/{IN_PATHS}/balance"), "");
    assert!(matches!(no_account, Some(400 | 404)), "{no_account:?}");
    assert_eq!(ask(&format!("GET /{IN_PATHS}"), ""), Some(404));
    assert_eq!(ask(&format!("GET /accounts/1/history?limit={SECRET}{IN_PATHS}"), ""), Some(400));
    let mut raw = Raw::connect(bank.address());
    raw.send("GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-correlation-id: a\x1b[31m\r\n\r\n");
    assert_eq!(raw.whole_reply().status, Some(400));
    assert!(bank.terminate().success());
    let log = std::fs::read_to_string(file).unwrap();
    assert!(!log.contains(SECRET), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
    log
}

#[test]
fn each_line_is_an_object_and_each_request_has_one() {
    let log = log_of("json", "info");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    let of_request = |line: &&Value| line["target"] == "actum::requests";
    let requests: Vec<&Value> = lines.iter().filter(of_request).collect();
    let told = |route: Option<&str>, status: u16| {
        let is_it =
            |line: &&&Value| line["route"] == Value::from(route) && line["status"] == status;
        requests.iter().filter(is_it).count()
    };
    assert_eq!(told(Some("/accounts"), 201), 2, "{log}");
    assert_eq!(told(Some("/accounts"), 422), 1, "{log}");
    assert_eq!(told(Some("/accounts"), 400), 2, "{log}");
    assert_eq!(told(Some("/accounts/{id}/history"), 400), 1, "{log}");
    assert_eq!(requests.len(), 8, "{log}");
    for line in requests {
        assert_eq!(line["correlation_id"], "order-7 \"quoted\"");
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert!(line["ms"].is_number() && line["method"].is_string(), "{line}");
    }
}

#[test]
fn text_is_a_line_for_each_thing_said_and_none_is_forged() {
    let log = log_of("text", "info");
    assert!(log.lines().all(|line| line.starts_with("20")), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "{log}");
    let requests = log.lines().filter(|line| line.contains("actum::requests")).count();
    assert_eq!(requests, 8, "{log}");
}
