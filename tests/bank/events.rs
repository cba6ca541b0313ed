//! `GET /accounts/{id}/events` as its clients see it: over a socket, slow, too many, cut off by a
//! crash of the bank.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::test::TestRequest;
use actix_web::{App, HttpServer, rt};
use actum::store::{EventStore, MemoryStore, Store};
use actum::web::{Access, SseConfig};
use actum::{Application, Settings};
use example_bank::account::Account;
use example_bank::balance::Balance;
use serde_json::{Value, json};

use crate::support::bank::{bank_with_account, get, post, send};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::events::{append, event};
use crate::support::postgres::database;
use crate::support::sse::{EventStream, SsePart};
use crate::support::watched::watched_store;

const EVENTS: &str = "/accounts/42/events";

/// A bank behind a socket, with the open account 42.
struct Served {
    bank: Application,
    address: String,
    server: ServerHandle,
}

async fn serve(store: impl Store, settings: Settings, config: SseConfig) -> Served {
    // The parts of the bank that these stores support: a statement needs a database.
    let builder = Application::builder(store).aggregate::<Account>().read_model::<Balance>();
    let bank = builder.settings(settings).start().await.unwrap();
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    let routes = example_bank::routes().serve(bank.clone(), Access::dev());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (started, starting) = mpsc::channel();
    // A thread of its own, for the clients block the test's.
    std::thread::spawn(move || {
        let app = move || App::new().app_data(config.clone()).configure(routes.clone());
        rt::System::new().block_on(async {
            let server = HttpServer::new(app).workers(1).disable_signals();
            let server = server.listen(listener).unwrap().run();
            started.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    Served { bank, address, server: starting.recv().unwrap() }
}

/// Streams that beat often.
fn quick() -> SseConfig {
    SseConfig { heartbeat: Duration::from_millis(10), ..SseConfig::default() }
}

impl Served {
    fn open(&self) -> EventStream {
        EventStream::open(&self.address, EVENTS, None).unwrap()
    }

    async fn credit(&self) {
        let credited = post(&self.bank, "/accounts/42/credit", json!({ "amount": 1 })).await;
        assert_eq!(credited.status, 200);
    }

    async fn end(self) {
        self.bank.shutdown().await;
        self.server.stop(false).await;
    }
}

#[actix_web::test]
async fn a_stream_has_the_entries_of_the_history_and_what_comes_later() {
    let served = serve(MemoryStore::new(), Settings::default(), SseConfig::default()).await;
    served.credit().await;
    let mut stream = served.open();
    assert_eq!(stream.status, 200);
    for header in
        ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"]
    {
        assert!(stream.head.contains(&format!("\r\n{header}\r\n")), "{}", stream.head);
    }
    assert_eq!(stream.part().unwrap(), Some(SsePart::Retry(1_000)));
    let mut streamed: Vec<Value> = Vec::new();
    for id in 1..=3 {
        if id == 3 {
            served.credit().await;
        }
        let (came, event, data) = stream.message().unwrap().unwrap();
        assert_eq!((came, &json!(event)), (id, &data["type"]));
        streamed.push(data);
    }
    let history = get(&served.bank, "/accounts/42/history").await.json();
    assert_eq!(history["events"], Value::from(streamed));
    served.bank.shutdown().await;
    assert_eq!(stream.part().unwrap(), None, "the stream does not end with the bank");
    served.end().await;
}

#[actix_web::test]
async fn a_stream_goes_on_after_the_event_that_the_client_has() {
    let served = serve(MemoryStore::new(), Settings::default(), SseConfig::default()).await;
    for _ in 0..4 {
        served.credit().await;
    }
    // A browser that was cut off repeats its query: its header is newer.
    for (query, header, first) in
        [("", Some(3), 4), ("?after=2", None, 3), ("?after=2", Some(4), 5), ("", Some(0), 1)]
    {
        let path = format!("{EVENTS}{query}");
        let mut stream = EventStream::open(&served.address, &path, header).unwrap();
        for id in first..=5 {
            assert_eq!(stream.message().unwrap().unwrap().0, id);
        }
    }
    served.end().await;
}

#[actix_web::test]
async fn a_stream_that_cannot_be_followed_is_a_problem() {
    let bank = bank_with_account().await;
    get(&bank, "/accounts/nobody/events").await.is_problem(404, "unknown_account");
    get(&bank, "/accounts/nobody/events?after=7").await.is_problem(404, "unknown_account");
    get(&bank, "/accounts/a%20b/events").await.is_problem(400, "invalid_id");
    for query in ["after=x", "after=-1", "after=", "before=1", "after=18446744073709551616"] {
        get(&bank, &format!("{EVENTS}?{query}")).await.is_problem(400, "invalid_query");
    }
    // Such a client would wait for events that it believes to have.
    for query in ["after=2", "after=9223372036854775807", "after=18446744073709551615"] {
        get(&bank, &format!("{EVENTS}?{query}")).await.is_problem(400, "invalid_last_event_id");
    }
    for id in ["", "x", "-1", "1.0", "2", "18446744073709551616"] {
        let request = TestRequest::get().uri(EVENTS).insert_header(("last-event-id", id));
        send(&bank, request).await.is_problem(400, "invalid_last_event_id");
    }
    let twice = TestRequest::get().uri(EVENTS);
    let twice = twice.append_header(("last-event-id", "1")).append_header(("last-event-id", "1"));
    send(&bank, twice).await.is_problem(400, "invalid_last_event_id");
    post(&bank, EVENTS, json!({})).await.is_problem(405, "method_not_allowed");
    bank.shutdown().await;
    get(&bank, EVENTS).await.is_problem(503, "stopping");
}

#[actix_web::test]
async fn a_silent_stream_beats_and_then_goes_on() {
    let served = serve(MemoryStore::new(), Settings::default(), quick()).await;
    let mut stream = served.open();
    assert_eq!(stream.message().unwrap().unwrap().0, 1);
    for id in 2..=5 {
        assert_eq!(stream.part().unwrap(), Some(SsePart::Comment));
        assert_eq!(stream.part().unwrap(), Some(SsePart::Comment));
        served.credit().await;
        assert_eq!(stream.message().unwrap().unwrap().0, id);
    }
    served.end().await;
}

#[actix_web::test]
async fn a_stream_ends_after_its_time_and_its_client_goes_on_where_it_was() {
    let brief = SseConfig { lasts: Duration::from_millis(50), ..quick() };
    let served = serve(MemoryStore::new(), Settings::default(), brief).await;
    let mut last = 0;
    for _ in 0..5 {
        let after = (last > 0).then_some(last);
        let mut stream = EventStream::open(&served.address, EVENTS, after).unwrap();
        assert_eq!(stream.status, 200);
        served.credit().await;
        while let Some((id, _, _)) = stream.message().unwrap() {
            assert_eq!(id, last + 1);
            last = id;
        }
    }
    assert!(last > 0, "no stream had a message");
    served.end().await;
}

#[test]
fn a_stream_of_the_bank_lasts_as_long_as_it_is_told() {
    let directory = Directory::new();
    let mut command = BankProcess::command(&directory.file("bank.db"));
    let bank = BankProcess::spawn(command.args(["--stream-lasts", "1"]), &[]).unwrap();
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" }).to_string();
    assert_eq!(bank.client().post("/accounts", &opening, None).unwrap().status, 201);
    let mut stream = EventStream::open(bank.address(), EVENTS, None).unwrap();
    assert_eq!(stream.message().unwrap().unwrap().0, 1);
    assert_eq!(stream.message().unwrap(), None, "it does not end");
    assert!(bank.terminate().success());
    let mut command = BankProcess::command(&directory.file("bank.db"));
    assert!(BankProcess::spawn(command.args(["--stream-lasts", "0"]), &[]).is_none());
}

#[actix_web::test]
async fn one_stream_too_many_is_told_to_come_later() {
    let settings = Settings { live_streams: 2, ..Settings::default() };
    let served = serve(MemoryStore::new(), settings, quick()).await;
    let (mut first, second) = (served.open(), served.open());
    assert_eq!((first.status, second.status), (200, 200));
    for _ in 0..3 {
        let refused = served.open();
        assert_eq!(refused.status, 503);
        assert!(refused.head.contains("retry-after: 1\r\n"), "{}", refused.head);
    }
    assert_eq!(first.message().unwrap().unwrap().0, 1);
    // The next heartbeats notice a client that has left.
    drop(second);
    while served.open().status == 503 {
        rt::time::sleep(Duration::from_millis(5)).await;
    }
    served.credit().await;
    assert_eq!(first.message().unwrap().unwrap().0, 2);
    served.end().await;
}

/// Large events, far more than all buffers between the bank and the client hold.
#[actix_web::test]
async fn a_client_that_does_not_read_costs_little_and_holds_up_nobody() {
    const MANY: u64 = 256;
    let store = watched_store();
    let served = serve(store.clone(), Settings::default(), quick()).await;
    let mut slow = served.open();
    let payload = json!({ "owner": "x".repeat(1 << 17), "currency": "EUR" }).to_string();
    for _ in 0..MANY / 16 {
        let large = (0..16).map(|_| event("Opened", &payload));
        store.memory.append(vec![append("account", "42", large)]).await;
    }
    store.events_read();
    let mut quick = served.open();
    for id in 1..=MANY + 1 {
        assert_eq!(quick.message().unwrap().unwrap().0, id);
    }
    let read = store.events_read() as u64;
    assert!(read < MANY + MANY / 2, "{read} events were read for one client of {MANY}");
    for id in 1..=MANY + 1 {
        assert_eq!(slow.message().unwrap().unwrap().0, id);
    }
    served.end().await;
}

#[test]
fn a_bank_with_open_streams_stops_when_asked_to() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    let body = r#"{"id":"42","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, None).unwrap().status, 201);
    let mut streams: Vec<_> =
        (0..3).map(|_| EventStream::open(bank.address(), EVENTS, None).unwrap()).collect();
    for stream in &mut streams {
        assert_eq!(stream.message().unwrap().unwrap().0, 1);
    }
    assert!(bank.terminate().success());
    for stream in &mut streams {
        assert_eq!(stream.part().unwrap(), None);
    }
}

/// Credits come all the time and the bank is killed again and again; the client connects anew with
/// the id of the last event it got.
fn each_event_comes_once_across_crashes(store: &str) {
    const KILLS: u64 = 4;
    let mut bank = BankProcess::start(store, &[]).unwrap();
    let body = r#"{"id":"42","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, None).unwrap().status, 201);
    let (mut last, mut acknowledged) = (None, 0);
    for kill in 0..=KILLS {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut client, mut done) = (bank.client(), 0);
                while let Ok(answer) = client.post("/accounts/42/credit", r#"{"amount":1}"#, None) {
                    assert_eq!(answer.status, 200);
                    done += 1;
                }
                done
            });
            let _killed = bank.killed_on_panic();
            let mut stream = EventStream::open(bank.address(), EVENTS, last).unwrap();
            loop {
                match stream.message() {
                    Ok(Some((id, event, data))) => {
                        assert_eq!(id, last.unwrap_or(0) + 1);
                        assert_eq!(data["version"], id);
                        assert_eq!(event, if id == 1 { "Opened" } else { "Credited" });
                        last = Some(id);
                        if id == (kill + 1) * 60 {
                            bank.signal("KILL");
                        }
                    }
                    Ok(None) => panic!("a bank that was killed ended its stream as it should"),
                    Err(error) => {
                        assert_ne!(error.kind(), ErrorKind::WouldBlock, "nothing came");
                        break;
                    }
                }
            }
            acknowledged += writer.join().unwrap();
        });
        bank = BankProcess::start(store, &[]).unwrap();
    }
    // Acknowledged events that had not arrived yet arrive now, and the stream equals the history.
    let mut stream = EventStream::open(bank.address(), EVENTS, last).unwrap();
    while last.unwrap() < acknowledged + 1 {
        let (id, ..) = stream.message().unwrap().unwrap();
        assert_eq!(id, last.unwrap() + 1);
        last = Some(id);
    }
    assert!(last.unwrap() > KILLS * 60, "{last:?}");
    assert!(bank.terminate().success());
}

#[test]
fn each_event_comes_once_and_in_order_across_crashes_on_sqlite() {
    let directory = Directory::new();
    each_event_comes_once_across_crashes(&directory.file("bank.db"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn each_event_comes_once_and_in_order_across_crashes_on_postgres() {
    let database = database().await;
    let url = database.url();
    tokio::task::spawn_blocking(move || each_event_comes_once_across_crashes(&url)).await.unwrap();
}

/// The store ends each page after one event here, also one that then has exactly `limit` events.
#[actix_web::test]
async fn a_history_whose_pages_the_store_ends_early_is_read_to_its_end() {
    let (directory, store) = crate::support::bank::fresh_store().await;
    let settings = Settings { page_bytes: 1, ..Settings::default() };
    let builder = example_bank::application(store).settings(settings);
    let bank = crate::support::bank::Bank::start(builder, directory).await;
    post(&bank, "/accounts", json!({ "id": "42", "owner": "Ada", "currency": "EUR" })).await;
    for _ in 0..3 {
        post(&bank, "/accounts/42/credit", json!({ "amount": 1 })).await;
    }
    for limit in 1..=5 {
        let (mut versions, mut after) = (Vec::new(), json!(0));
        while !after.is_null() {
            let path = format!("/accounts/42/history?after={after}&limit={limit}");
            let page = get(&bank, &path).await.json();
            let events = page["events"].as_array().unwrap().iter();
            versions.extend(events.map(|event| event["version"].as_u64().unwrap()));
            after = page["next"].clone();
        }
        assert_eq!(versions, [1, 2, 3, 4], "limit {limit}");
    }
}
