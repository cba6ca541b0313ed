//! The bank in this process: its routes are called without a socket, on a store of the test.

use std::ops::Deref;

use actix_web::App;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::store::SqliteStore;
use actum::web::Access;
use actum::{Application, ApplicationBuilder};
use serde_json::{Value, json};

use crate::support::directory::Directory;

/// A running bank and the folder of its database.
pub struct Bank {
    app: Application,
    _directory: Directory,
}

impl Bank {
    /// Starts it on a store in this folder.
    pub async fn start(builder: ApplicationBuilder, directory: Directory) -> Self {
        Self { app: builder.start().await.unwrap(), _directory: directory }
    }
}

impl Deref for Bank {
    type Target = Application;

    fn deref(&self) -> &Application {
        &self.app
    }
}

/// A bank on an empty log.
pub async fn new_bank() -> Bank {
    let (directory, store) = fresh_store().await;
    Bank::start(example_bank::application(store), directory).await
}

/// An empty log and its folder.
pub async fn fresh_store() -> (Directory, SqliteStore) {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    (directory, store)
}

/// The answer of a route.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks for a problem with this status and code, and for every member that RFC 9457 requires.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], "about:blank", "{problem}");
        assert_eq!(problem["title"], self.status.canonical_reason().unwrap(), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        let is_for_now = matches!(status, 429 | 503 | 504) || code == "still_running";
        assert_eq!(self.header("retry-after").is_some(), is_for_now);
    }

    /// Checks for this status and this JSON body.
    #[track_caller]
    pub fn is(&self, status: u16, body: Value) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.json(), body);
    }
}

pub async fn send(bank: &Application, request: TestRequest) -> Answer {
    let routes = example_bank::routes().serve(bank.clone(), Access::dev());
    let service = init_service(App::new().configure(routes)).await;
    let response = call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = String::from_utf8(read_body(response).await.to_vec()).unwrap();
    Answer { status, headers, text }
}

pub async fn get(bank: &Application, path: &str) -> Answer {
    send(bank, TestRequest::get().uri(path)).await
}

pub async fn post(bank: &Application, path: &str, body: Value) -> Answer {
    send(bank, TestRequest::post().uri(path).set_json(body)).await
}

pub async fn post_keyed(bank: &Application, path: &str, key: &str, body: Value) -> Answer {
    let header = (HeaderName::from_static("idempotency-key"), key);
    send(bank, TestRequest::post().uri(path).insert_header(header).set_json(body)).await
}

/// A bank with the open account 42.
pub async fn bank_with_account() -> Bank {
    let bank = new_bank().await;
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    bank
}
