//! Clients that are slow, lie about their bodies, or send requests that two servers would read
//! differently, as raw bytes to the real bank.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};

use crate::edge::limits::resident_kib;
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::postgres::database;
use crate::support::raw::Raw;

const HEAD: &str =
    "POST /accounts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
const OPEN: &str = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;

/// A bank with these timeouts for a body and for a request.
fn bank(store: &str, body_ms: u64, request_ms: u64) -> BankProcess {
    let mut command = BankProcess::command(store);
    command.args(["--body-deadline-ms", &body_ms.to_string()]);
    command.args(["--request-deadline-ms", &request_ms.to_string()]);
    BankProcess::spawn(&mut command, &[]).unwrap()
}

fn patient(directory: &Directory) -> BankProcess {
    bank(&directory.file("bank.db"), 60_000, 60_000)
}

fn strict(directory: &Directory) -> BankProcess {
    bank(&directory.file("bank.db"), 200, 60_000)
}

#[test]
fn a_body_that_trickles_is_answered_408_and_hung_up_on() {
    let directory = Directory::new();
    let bank = strict(&directory);
    for framing in ["content-length: 60000\r\n\r\n", "transfer-encoding: chunked\r\n\r\nea60\r\n"] {
        let reply = Raw::connect(bank.address()).trickle(&format!("{HEAD}{framing}"), b' ');
        assert_eq!((reply.status, reply.answers()), (Some(408), 1), "{reply:?}");
        assert!(reply.text.contains("body_too_slow"), "{reply:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    }
    assert_eq!(bank.client().post("/accounts", OPEN, None).unwrap().status, 201);
}

#[test]
fn a_body_that_never_begins_is_answered_408_whatever_route_it_is_for() {
    let directory = Directory::new();
    let bank = strict(&directory);
    for path in ["/accounts", "/accounts/1/freeze"] {
        let mut raw = Raw::connect(bank.address());
        let head = HEAD.replace("/accounts", path);
        assert!(raw.send(format!("{head}content-length: 10\r\n\r\n")));
        let reply = raw.whole_reply();
        assert_eq!((reply.status, reply.header("connection")), (Some(408), Some("close")));
    }
}

#[test]
fn a_head_that_trickles_is_answered_408_and_hung_up_on() {
    let directory = Directory::new();
    let bank = patient(&directory);
    let reply = Raw::connect(bank.address()).trickle("GET /health/live HTTP/1.1\r\nx: ", b'x');
    assert_eq!((reply.status, reply.answers()), (Some(408), 1), "{reply:?}");
}

#[test]
fn a_body_without_end_is_refused_early_and_kept_nowhere() {
    let directory = Directory::new();
    let bank = patient(&directory);
    let before = resident_kib(&bank);
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..4 {
        let mut raw = Raw::connect(bank.address());
        assert!(raw.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n")));
        let mut sent = 0_u64;
        while raw.send(&chunk) {
            sent += chunk.len() as u64;
            assert!(sent < 8 << 30, "it is read on for ever");
        }
    }
    let mut raw = Raw::connect(bank.address());
    raw.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}"));
    let reply = raw.whole_reply();
    assert_eq!((reply.status, reply.answers()), (Some(413), 1), "{reply:?}");
    assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    let grown = resident_kib(&bank).saturating_sub(before);
    assert!(grown < 16 << 10, "grown by {grown} KiB");
}

#[test]
fn a_length_that_is_too_great_is_refused_before_the_body_comes() {
    let directory = Directory::new();
    let bank = patient(&directory);
    for length in ["65537", "9000000000", "18446744073709551615"] {
        let mut raw = Raw::connect(bank.address());
        assert!(raw.send(format!("{HEAD}content-length: {length}\r\n\r\n{{")));
        let reply = raw.whole_reply();
        assert_eq!(reply.status, Some(413), "{length}: {reply:?}");
    }
}

/// A header that is sent twice, or a length given in two ways, could let two servers see different
/// ends of a request.
#[test]
fn a_length_that_is_none_or_stands_beside_another_framing_is_refused() {
    let directory = Directory::new();
    let bank = patient(&directory);
    let smuggled = "0\r\n\r\nGET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let long = "x".repeat(100 << 10);
    for (headers, status) in [
        ("content-length: 5\r\ntransfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", 400),
        ("content-length: 5\r\ncontent-length: 6\r\n", 400),
        ("content-length: 5, 5\r\n", 400),
        ("content-length: -1\r\n", 400),
        ("content-length: +5\r\n", 400),
        ("content-length: 0x10\r\n", 400),
        ("content-length: five\r\n", 400),
        ("content-length: 18446744073709551616\r\n", 400),
        ("transfer-encoding: xchunked\r\n", 400),
        ("transfer-encoding: gzip, chunked\r\n", 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", 400),
        (" x: folded\r\n", 400),
        ("content-length : 5\r\n", 400),
    ] {
        let mut raw = Raw::connect(bank.address());
        raw.send(format!("{HEAD}{headers}\r\n{smuggled}"));
        let reply = raw.whole_reply();
        assert_eq!((reply.status, reply.answers()), (Some(status), 1), "{headers:?}: {reply:?}");
    }
    let mut raw = Raw::connect(bank.address());
    raw.send(format!("{HEAD}x: {long}\r\n{}", "y: z\r\n".repeat(200)));
    let reply = raw.whole_reply();
    assert!(matches!(reply.status, Some(400 | 431)), "{reply:?}");
}

#[test]
fn a_body_that_is_shorter_than_it_says_does_nothing() {
    let directory = Directory::new();
    let bank = strict(&directory);
    let mut raw = Raw::connect(bank.address());
    raw.send(format!("{HEAD}content-length: {}\r\n\r\n{OPEN}", OPEN.len() + 1));
    assert_eq!(raw.whole_reply().status, Some(408));
    assert_eq!(bank.client().get("/accounts/1/history").unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_too_long_is_answered_503() {
    let directory = Directory::new();
    let file = directory.file("bank.db");
    let bank = bank(&file, 60_000, 300);
    open(&bank);
    // The statement makes no progress while another connection holds the lock of its file.
    let statement = SqliteConnectOptions::new().filename(format!("{file}.statement@1"));
    let mut lock = statement.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let mut client = bank.client();
    assert_eq!(client.post("/accounts/1/credit", CREDIT, None).unwrap().status, 200);
    let late = client.get("/accounts/1/statement?after=2").unwrap();
    assert_eq!((late.status, &late.body["code"]), (503, &"too_slow".into()), "{late:?}");
    drop(lock);
    while client.get("/accounts/1/statement?after=2").unwrap().status != 200 {}
}

const CREDIT: &str = r#"{"amount":7}"#;

/// Opens the account, however long that takes.
fn open(bank: &BankProcess) {
    while bank.client().post("/accounts", OPEN, Some("open")).unwrap().status != 201 {}
}

/// A command that is under way when its deadline comes.
fn is_late(bank: &BankProcess) {
    let late = bank.client().post("/accounts/1/credit", CREDIT, Some("k")).unwrap();
    assert_eq!((late.status, &late.body["code"]), (503, &"outcome_unknown".into()), "{late:?}");
}

/// Checks that the command was executed, by sending its key again.
fn goes_on(bank: &BankProcess) {
    loop {
        let again = bank.client().post("/accounts/1/credit", CREDIT, Some("k")).unwrap();
        if again.status == 200 {
            assert_eq!(again.body["version"], 2, "{again:?}");
            break;
        }
        assert_eq!(again.status, 503, "{again:?}");
    }
    let balance = bank.client().get("/accounts/1/balance?after=2").unwrap();
    assert_eq!(balance.body["balance"], 7);
}

#[tokio::test]
async fn a_command_that_is_late_goes_on_and_is_known_by_its_key_on_sqlite() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let bank = bank(&path, 60_000, 500);
    open(&bank);
    let mut writer = crate::store::sqlite::raw(&path).await;
    writer.execute("BEGIN IMMEDIATE").await.unwrap();
    is_late(&bank);
    writer.execute("ROLLBACK").await.unwrap();
    goes_on(&bank);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_command_that_is_late_goes_on_and_is_known_by_its_key_on_postgresql() {
    let database = database().await;
    let bank = bank(&database.url(), 60_000, 500);
    open(&bank);
    let mut writer = database.connect().await;
    writer.execute("BEGIN; LOCK TABLE actum.events IN EXCLUSIVE MODE").await.unwrap();
    is_late(&bank);
    writer.execute("ROLLBACK").await.unwrap();
    goes_on(&bank);
}
