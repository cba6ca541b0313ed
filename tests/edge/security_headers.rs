//! Security headers on every answer of the bank, and no permission for any other origin.

use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::raw::{Raw, Reply};

const JSON: &str = "content-type: application/json\r\n";
const OPEN: &str = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;

fn ask(address: &str, line: &str, headers: &str, body: &str) -> Reply {
    let mut raw = Raw::connect(address);
    let length = match body.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    raw.send(format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}{length}\r\n{body}"
    ));
    raw.whole_reply()
}

#[track_caller]
fn is_protected(reply: &Reply) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{reply:?}");
    }
    assert_eq!(reply.header("server"), None, "{reply:?}");
    assert_eq!(reply.header("strict-transport-security"), None, "not without TLS: {reply:?}");
    assert!(!reply.text.contains("access-control-"), "{reply:?}");
}

#[test]
fn every_answer_is_protected_errors_too() {
    let directory = Directory::new();
    let mut command = BankProcess::command(&directory.file("bank.db"));
    command.args(["--rate", "1/h", "--burst", "9", "--body-deadline-ms", "100"]);
    command.args(["--request-deadline-ms", "800"]);
    let bank = BankProcess::spawn(&mut command, &[]).unwrap();
    let public = bank.address();
    for (status, line, headers, body) in [
        (201, "POST /accounts", JSON, OPEN),
        (422, "POST /accounts", JSON, OPEN),
        (400, "POST /accounts", JSON, "{"),
        (415, "POST /accounts", "", "{}"),
        (
            413,
            "POST /accounts",
            "content-type: application/json\r\ncontent-length: 9999999\r\n",
            "",
        ),
        (408, "POST /accounts", "content-type: application/json\r\ncontent-length: 9\r\n", ""),
        (200, "GET /accounts/1/history", "", ""),
        (200, "HEAD /accounts/1/history", "", ""),
        (404, "GET /nowhere", "", ""),
        (405, "DELETE /accounts/1/history", "", ""),
        (504, "GET /accounts/1/balance?after=9&within=60000", "", ""),
        (405, "OPTIONS /accounts/1/history", "", ""),
        (405, "TRACE /accounts/1/history", "", ""),
        (429, "GET /accounts/1/history", "", ""),
    ] {
        let reply = ask(public, line, headers, body);
        assert_eq!(reply.status, Some(status), "{line}: {reply:?}");
        is_protected(&reply);
    }
    for path in ["/status", "/metrics", "/nowhere"] {
        is_protected(&ask(bank.operators(), &format!("GET {path}"), "", ""));
    }
}

#[test]
fn no_page_of_another_origin_may_ask() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    let from = "origin: https://elsewhere.example\r\n";
    let preflight = format!(
        "{from}access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n"
    );
    let reply = ask(bank.address(), "OPTIONS /accounts", &preflight, "");
    assert_eq!((reply.status, reply.header("allow")), (Some(405), Some("post")), "{reply:?}");
    is_protected(&reply);
    for origin in [from, "origin: null\r\n"] {
        is_protected(&ask(bank.address(), "POST /accounts", &format!("{origin}{JSON}"), OPEN));
        is_protected(&ask(bank.address(), "GET /accounts/1/history", origin, ""));
    }
    // A request that a form of such a page can send without a preflight is refused.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let headers = format!("{from}content-type: {kind}\r\n");
        assert_eq!(ask(bank.address(), "POST /accounts", &headers, OPEN).status, Some(403));
        let own = format!("content-type: {kind}\r\n");
        assert_eq!(ask(bank.address(), "POST /accounts", &own, OPEN).status, Some(415));
    }
}

#[test]
fn head_says_what_get_says_without_the_body() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    assert_eq!(ask(bank.address(), "POST /accounts", JSON, OPEN).status, Some(201));
    for path in ["/accounts/1/history", "/health/live", "/accounts/2/history"] {
        let [get, head] =
            ["GET", "HEAD"].map(|method| ask(bank.address(), &format!("{method} {path}"), "", ""));
        assert_eq!(get.status, head.status);
        assert_eq!(get.header("content-length"), head.header("content-length"), "{path}");
        let (_, body) = head.text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "", "{path}");
    }
}
