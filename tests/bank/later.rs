//! `Prefer: respond-async` as a client sees it: accepted, polled, followed and called back, while
//! the bank crashes at every step.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};

use crate::support::child::{BankProcess, read_log};
use crate::support::directory::Directory;
use crate::support::http::{Client, Response};
use crate::support::postgres::database;
use crate::support::receiver::{Received, Receiver};
use crate::support::sse::EventStream;

const KEY: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const ASYNC: &str = "prefer: respond-async\r\n";
const CALLED: &str = "prefer: respond-async, callback\r\n";

/// Fails twice and then accepts.
fn receiver() -> Receiver {
    let calls = AtomicUsize::new(0);
    Receiver::start(move |stream| {
        let status = match calls.fetch_add(1, Ordering::SeqCst) {
            0 => "500 Internal Server Error",
            1 => "503 Service Unavailable\r\nretry-after: 1",
            _ => "204 No Content",
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    })
}

fn start(store: &str, allowed: u16, environment: &[(&str, &str)]) -> Option<BankProcess> {
    let mut command = BankProcess::command(store);
    command.args(["--callback-key", KEY, "--callback-pauses", "0.05,0.05,0.05,0.05,0.05"]);
    command.arg("--callback-allow").arg(format!("127.0.0.1:{allowed}"));
    BankProcess::spawn(&mut command, environment)
}

fn open(client: &mut Client) -> std::io::Result<Response> {
    let body = r#"{"id":"42","owner":"Ada","currency":"EUR"}"#;
    client.post("/accounts", body, Some("open"))
}

fn register(client: &mut Client, url: &str) -> std::io::Result<Response> {
    client.send("PUT", "/callback", "", &json!({ "url": url }).to_string())
}

/// A deferred credit of 5.
fn credit(client: &mut Client, key: &str, prefer: &str) -> std::io::Result<Response> {
    let headers = format!("idempotency-key: {key}\r\n{prefer}");
    client.send("POST", "/accounts/42/credit", &headers, r#"{"amount":5}"#)
}

/// The status of a command once it is final.
fn ended(client: &mut Client, location: &str) -> Value {
    let began = Instant::now();
    loop {
        let status = client.get(location).unwrap();
        assert_eq!(status.status, 200, "{status:?}");
        let is_called = status.body["callback"]["status"] != json!("due");
        if status.body["status"] != json!("accepted") && is_called {
            return status.body;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "nothing becomes of it: {status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Checks a signature with another implementation of the scheme.
fn verified(secret: &str, received: &Received) -> bool {
    let names = [HEADER_WEBHOOK_ID, HEADER_WEBHOOK_TIMESTAMP, HEADER_WEBHOOK_SIGNATURE];
    let headers = names.map(|name| {
        let value = received.header(name).unwrap_or_else(|| panic!("no {name}")).trim();
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    });
    let webhook = Webhook::new(secret).unwrap();
    webhook.verify(&received.body, &headers.into_iter().collect()).is_ok()
}

const POINTS: [&str; 9] = [
    "command.accepted",
    "append.before_commit",
    "append.after_commit",
    "entity.before_reply",
    "later.accepted",
    "later.before_outcome",
    "later.after_outcome",
    "later.called",
    "later.before_checkpoint",
];

/// Runs a bank that is to crash at a failpoint, and one after it. Returns true if the first one
/// crashed.
fn dies_at(store: &str, point: &str, pass: u32) -> bool {
    let receiver = receiver();
    let at = format!("{point}:{pass}");
    let bank = start(store, receiver.port, &[("ACTUM_CRASH_AT", &at)]);
    let first_life = |bank: &BankProcess| -> std::io::Result<()> {
        let mut client = Client::connect(bank.address())?;
        register(&mut client, &receiver.url())?;
        open(&mut client)?;
        let accepted = credit(&mut client, "credit", CALLED)?;
        assert_eq!(accepted.status, 202, "{at}: {accepted:?}");
        let location = accepted.location.unwrap();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            client.get(&location)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    // The bank may have crashed before it listened.
    let mut died = bank.is_none();
    if let Some(mut bank) = bank {
        died = first_life(&bank).is_err();
        match died {
            true => assert!(bank.wait(Duration::from_secs(20)).is_some(), "it is deaf and lives"),
            false => bank.signal("KILL"),
        }
    }
    let bank = start(store, receiver.port, &[]).unwrap();
    let mut client = bank.client();
    let registered = register(&mut client, &receiver.url()).unwrap();
    assert_eq!(registered.status, 200, "{registered:?}");
    assert_eq!(open(&mut client).unwrap().status, 201);
    let accepted = credit(&mut client, "credit", CALLED).unwrap();
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let status = ended(&mut client, &accepted.location.unwrap());
    assert_eq!((&status["status"], &status["version"]), (&json!("committed"), &json!(2)));
    assert_eq!(status["callback"]["status"], "delivered", "{status}");
    let requests = receiver.requests();
    assert!(requests.len() >= 3, "{at}: {} calls", requests.len());
    let secret = registered.body["secret"].as_str().unwrap();
    for received in &requests {
        assert_eq!(received.header("webhook-id").map(str::trim), status["id"].as_str());
        assert!(verified(secret, received), "{received:?}");
        let told: Value = serde_json::from_slice(&received.body).unwrap();
        assert_eq!(
            (&told["type"], &told["data"]["version"]),
            (&json!("command.committed"), &json!(2))
        );
    }
    let last = requests.last().unwrap();
    let forged = Received { body: [&last.body[..], b" "].concat(), ..last.clone() };
    assert!(!verified(secret, &forged), "a changed body passes");
    assert!(bank.terminate().success());
    died
}

async fn credited_once(store: &str) {
    let log = read_log(store).await;
    let of_account: Vec<_> = log.iter().filter(|(stream, ..)| stream == "account-42").collect();
    let names: Vec<_> = of_account.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(names, ["Opened", "Credited"], "carried out more than once, or not");
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_each_step_executes_once_and_calls_back() {
    for point in POINTS {
        let mut deaths = 0;
        for pass in [1, 2, 3, 4, 6] {
            let directory = Directory::new();
            let store = directory.file("bank.db");
            let at = store.clone();
            deaths += u32::from(in_background(move || dies_at(&at, point, pass)).await);
            credited_once(&store).await;
        }
        assert!(deaths > 0, "the point {point} was never passed");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crash_at_each_step_beside_a_server_executes_once_and_calls_back() {
    for point in POINTS {
        let mut deaths = 0;
        for pass in [1, 3] {
            let database = database().await;
            let at = database.url();
            deaths += u32::from(in_background(move || dies_at(&at, point, pass)).await);
            credited_once(&database.url()).await;
        }
        assert!(deaths > 0, "the point {point} was never passed");
    }
}

/// Two banks: one of them owns the work, both report its status, and the other one takes over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_deferred_command_of_a_killed_bank_is_executed_by_another() {
    const EACH: usize = 20;
    let database = database().await;
    let url = database.url();
    in_background(move || {
        let receiver = receiver();
        let banks = [(); 2].map(|()| start(&url, receiver.port, &[]).unwrap());
        let mut clients = [banks[0].client(), banks[1].client()];
        register(&mut clients[0], &receiver.url()).unwrap();
        open(&mut clients[0]).unwrap();
        let mut locations = Vec::new();
        for n in 0..EACH {
            for (name, client) in clients.iter_mut().enumerate() {
                let accepted = credit(client, &format!("{name}-{n}"), ASYNC).unwrap();
                locations.push(accepted.location.unwrap());
            }
        }
        let last = credit(&mut clients[0], "last", CALLED).unwrap().location.unwrap();
        let [first, second] = banks;
        first.signal("KILL");
        let mut client = second.client();
        for location in &locations {
            assert_eq!(ended(&mut client, location)["status"], "committed");
        }
        assert_eq!(ended(&mut client, &last)["callback"]["status"], "delivered");
        let balance = client.get("/accounts/42/balance").unwrap();
        assert_eq!(balance.body["balance"], (2 * EACH as u64 + 1) * 5, "{balance:?}");
        assert!(second.terminate().success());
    })
    .await;
}

#[test]
fn a_command_is_accepted_its_status_asked_and_watched() {
    let directory = Directory::new();
    let bank = start(&directory.file("bank.db"), 1, &[]).unwrap();
    let mut client = bank.client();
    open(&mut client).unwrap();
    let accepted = credit(&mut client, "k", ASYNC).unwrap();
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.body["status"], "accepted");
    assert!(accepted.head.contains("preference-applied: respond-async\r\n"), "{accepted:?}");
    let location = accepted.location.unwrap();
    assert_eq!(location, format!("/commands/{}", accepted.body["id"].as_str().unwrap()));
    let status = ended(&mut client, &location);
    assert_eq!(
        (&status["aggregate_type"], &status["aggregate_id"]),
        (&json!("account"), &json!("42"))
    );
    assert_eq!((&status["status"], &status["version"]), (&json!("committed"), &json!(2)));
    // A client that sends the command again, and waits, gets the same answer.
    let body = r#"{"amount":5}"#;
    let again = client.post("/accounts/42/credit", body, Some("k")).unwrap();
    assert_eq!((again.status, &again.body["version"]), (200, &json!(2)), "{again:?}");
    assert_eq!(credit(&mut client, "k", ASYNC).unwrap().location, Some(location.clone()));
    let headers = format!("idempotency-key: k\r\n{ASYNC}");
    let other = client.send("POST", "/accounts/42/credit", &headers, r#"{"amount":6}"#).unwrap();
    assert_eq!((other.status, &other.body["code"]), (422, &json!("idempotency_key_reused")));

    let events = format!("{location}/events");
    let mut stream = EventStream::open(bank.address(), &events, None).unwrap();
    let (id, name, data) = stream.message().unwrap().unwrap();
    assert_eq!((id, &*name, &data["status"]), (1, "Accepted", &json!("accepted")));
    let (id, name, data) = stream.message().unwrap().unwrap();
    assert_eq!((id, &*name, &data["status"]), (2, "Committed", &json!("committed")));
    assert_eq!(stream.message().unwrap(), None, "the stream goes on after the last event");
    assert_eq!(EventStream::open(bank.address(), &events, Some(2)).unwrap().status, 204);
    assert_eq!(EventStream::open(bank.address(), &events, Some(3)).unwrap().status, 400);

    for unknown in ["/commands/nobody", "/commands/nobody/events", "/commands/a%20b"] {
        let answer = client.get(unknown).unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("unknown_command")));
    }
    assert!(bank.terminate().success());
}

#[test]
fn a_refusal_has_one_code_whenever_it_is_told() {
    let directory = Directory::new();
    let bank = start(&directory.file("bank.db"), 1, &[]).unwrap();
    let mut client = bank.client();
    let account = |id| {
        let number = "DE89370400440532013000";
        json!({"id": id, "owner": "Ada", "currency": "EUR", "number": number}).to_string()
    };
    assert_eq!(client.send("POST", "/accounts", "", &account("42")).unwrap().status, 201);
    let amount = r#"{"amount":999}"#;
    let cases = [
        ("/accounts/42/withdraw", "", amount, "insufficient_funds"),
        ("/accounts/42/credit", "if-match: \"7\"\r\n", amount, "precondition_failed"),
        ("/accounts", "", &account("43"), "account_number_taken"),
    ];
    for (path, headers, body, code) in cases {
        let at_once = client.send("POST", path, headers, body).unwrap();
        assert_eq!(at_once.body["code"], code, "{at_once:?}");
        let later = client.send("POST", path, &format!("{headers}{ASYNC}"), body).unwrap();
        let status = ended(&mut client, &later.location.unwrap());
        assert_eq!((&status["status"], &status["code"]), (&json!("refused"), &json!(code)));
    }
    assert!(bank.terminate().success());
}

#[test]
fn a_callback_is_registered_only_where_it_may_be_called() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let receiver = Receiver::answering("204 No Content");
    let bank = start(&store, receiver.port, &[]).unwrap();
    let mut client = bank.client();
    open(&mut client).unwrap();
    let none = credit(&mut client, "early", CALLED).unwrap();
    assert_eq!((none.status, &none.body["code"]), (422, &json!("no_callback")));
    assert_eq!(client.get("/callback").unwrap().status, 404);
    let registered = register(&mut client, &receiver.url()).unwrap();
    assert!(registered.body["secret"].as_str().unwrap().starts_with("whsec_"), "{registered:?}");
    assert_eq!(client.get("/callback").unwrap().body, json!({ "url": receiver.url() }));
    let other = register(&mut client, &format!("{}&other", receiver.url())).unwrap();
    assert_ne!(other.body["secret"], registered.body["secret"], "one secret for two addresses");
    for url in [
        "http://127.0.0.1:1/",
        "https://127.0.0.2/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "ftp://example.com/",
        "nonsense",
    ] {
        let refused = register(&mut client, url).unwrap();
        let code = &refused.body["code"];
        assert_eq!((refused.status, code), (422, &json!("forbidden_address")), "{url}");
    }
    assert_eq!(client.send("DELETE", "/callback", "", "").unwrap().status, 204);
    assert_eq!(client.get("/callback").unwrap().status, 404);
    assert_eq!(receiver.connections(), 0, "it was called");
    assert!(bank.terminate().success());
    // Events are permanent, so neither the key nor a secret may be in them.
    let file = std::fs::read(&store).unwrap();
    let secret = registered.body["secret"].as_str().unwrap();
    assert!(!file.windows(20).any(|part| part == &secret.as_bytes()[6..26]), "a secret is stored");
}

#[test]
fn a_receiver_that_never_answers_well_is_given_up_and_that_is_seen() {
    let directory = Directory::new();
    let receiver = Receiver::answering("500 Internal Server Error");
    let bank = start(&directory.file("bank.db"), receiver.port, &[]).unwrap();
    let mut client = bank.client();
    open(&mut client).unwrap();
    register(&mut client, &receiver.url()).unwrap();
    let location = credit(&mut client, "k", CALLED).unwrap().location.unwrap();
    let status = ended(&mut client, &location);
    assert_eq!(status["status"], "committed");
    let callback = &status["callback"];
    assert_eq!((&callback["status"], &callback["attempts"]), (&json!("given_up"), &json!(6)));
    assert_eq!(callback["last_error"], "response status 500");
    assert_eq!(receiver.requests().len(), 6);
    assert!(bank.terminate().success());
}

#[test]
fn the_events_of_a_command_end_when_its_callback_has_ended() {
    let directory = Directory::new();
    let receiver = receiver();
    let bank = start(&directory.file("bank.db"), receiver.port, &[]).unwrap();
    let mut client = bank.client();
    open(&mut client).unwrap();
    register(&mut client, &receiver.url()).unwrap();
    let location = credit(&mut client, "k", CALLED).unwrap().location.unwrap();
    let events = format!("{location}/events");
    let names = |after: Option<u64>| {
        let mut stream = EventStream::open(bank.address(), &events, after).unwrap();
        assert_eq!(stream.status, 200, "after {after:?}");
        let messages = std::iter::from_fn(|| stream.message().unwrap());
        messages.map(|(_, name, _)| name).collect::<Vec<_>>()
    };
    let all = [
        "Accepted",
        "Committed",
        "CallbackDue",
        "CallbackAttempted",
        "CallbackAttempted",
        "CallbackDelivered",
    ];
    assert_eq!(names(None), all);
    for after in 1..6 {
        assert_eq!(names(Some(after)), all[after as usize..], "after {after}");
    }
    assert_eq!(EventStream::open(bank.address(), &events, Some(6)).unwrap().status, 204);
    assert!(bank.terminate().success());
}
