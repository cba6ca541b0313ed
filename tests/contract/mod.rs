//! The contract of a command over HTTP: its key, its precondition, its answer.
//!
//! A command that is sent again with its key acts once and gets the same answer: `duplicates.rs` in
//! one process and in two applications on one log, `waiting.rs` while the first is under way,
//! `processes.rs` across restarts, crashes and processes.

mod duplicates;
mod headers;
mod processes;
mod waiting;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::Application;
use actum::store::{PostgresStore, SqliteStore};
use example_bank::{Credentials, KEYS};
use serde_json::{Value, json};

use crate::support::bank::{Answer, send};
use crate::support::directory::Directory;

/// A request with these headers.
fn request(path: &str, body: &Value, headers: &[(&str, &str)]) -> TestRequest {
    let request = TestRequest::post().uri(path).set_json(body);
    headers.iter().fold(request, |request, header| request.insert_header(*header))
}

/// Sends it with an API key of this name, or without a credential to a bank that is open to all.
pub async fn send_as(bank: &Application, who: Option<&str>, request: TestRequest) -> Answer {
    let Some(who) = who else { return send(bank, request).await };
    let scopes = ["accounts:read", "accounts:write"].map(str::to_owned).into_iter().collect();
    let key = KEYS.generate(who.into(), scopes, None).unwrap();
    let folder = Directory::new();
    std::fs::write(folder.file("keys"), serde_json::to_string(&key.line).unwrap() + "\n").unwrap();
    let known = Credentials { api_keys: Some(folder.file("keys").into()), ..Default::default() };
    let access = known.open("192.0.2.1:80".parse().unwrap());
    let access = access.unwrap_or_else(|error| panic!("{error}"));
    let app = App::new().configure(example_bank::routes().serve(bank.clone(), access));
    let request = request.insert_header(("authorization", format!("Bearer {}", key.key.expose())));
    let response = call_service(&init_service(app).await, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = String::from_utf8(read_body(response).await.to_vec()).unwrap();
    Answer { status, headers, text }
}

pub fn is_replayed(answer: &Answer) -> bool {
    match answer.header("idempotency-replayed") {
        None => false,
        Some(value) => value == "true" || panic!("{answer:?}"),
    }
}

/// Checks that the answers are equal, byte for byte, except for the replay header.
#[track_caller]
fn are_one(first: &Answer, again: &Answer) {
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    let headers = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("idempotency-replayed");
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.clone()));
        headers.collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(headers(first), headers(again));
}

/// Two applications on the log at this place, as two processes would be. On an SQLite file both
/// share one store, so that what they append comes into the same batches.
async fn two_banks(store: &str) -> [Application; 2] {
    if store.starts_with("postgres://") {
        let open = async || PostgresStore::open(store).await.unwrap();
        let first = example_bank::application(open().await).start().await.unwrap();
        return [first, example_bank::application(open().await).start().await.unwrap()];
    }
    let store = SqliteStore::open(store).await.unwrap();
    // The statement's file has one owner.
    let second = Application::builder(store.clone()).aggregate::<example_bank::account::Account>();
    let first = example_bank::application(store).start().await.unwrap();
    [first, second.start().await.unwrap()]
}

async fn open_account(bank: &Application, id: &str) {
    let opening = json!({ "id": id, "owner": "Ada", "currency": "EUR" });
    let opened = send_as(bank, None, request("/accounts", &opening, &[])).await;
    assert_eq!(opened.status, 201, "{opened:?}");
}

/// Balance of the account at the end of the log.
async fn balance(bank: &Application, id: &str) -> i64 {
    let head = bank.store().head().await.unwrap();
    let path = format!("/accounts/{id}/balance?after={head}");
    let answer = send_as(bank, None, TestRequest::get().uri(&path)).await;
    answer.json()["balance"].as_i64().unwrap_or_else(|| panic!("{answer:?}"))
}
