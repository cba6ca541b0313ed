//! A bank in dev mode is open to this machine, and not to the web pages that its browser shows.

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::web::Access;
use serde_json::{Value, json};

use super::{Doorkeeper, send_by};
use crate::support::bank::{bank_with_account, get};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::raw::Raw;

/// Headers of requests that a page of another origin, or a name that resolves to this machine, makes
/// a browser send.
const FOREIGN: [(&str, &str); 9] = [
    ("host", "evil.example"),
    ("host", "evil.example:8080"),
    ("host", "192.0.2.1"),
    ("host", "localhost.evil.example"),
    ("origin", "http://evil.example"),
    ("origin", "http://localhost:3000"),
    ("origin", "null"),
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
];

#[actix_web::test]
async fn dev_mode_refuses_what_a_foreign_page_makes_a_browser_send() {
    let bank = bank_with_account().await;
    for header in FOREIGN {
        for request in [
            TestRequest::post().uri("/accounts/42/freeze"),
            TestRequest::get().uri("/accounts/42/history"),
            TestRequest::get().uri("/openapi.json"),
        ] {
            let request = request.insert_header(("host", "localhost:8080")).insert_header(header);
            let answer = send_by(&bank, &Access::dev(), request).await;
            answer.is_problem(403, "forbidden");
        }
        let routes = actum::web::operations().serve((*bank).clone(), Access::dev());
        let service = init_service(App::new().configure(routes)).await;
        for (method, path) in [("GET", "/status"), ("POST", "/subscriptions/balance/parked/retry")]
        {
            let request = TestRequest::default().method(method.parse().unwrap()).uri(path);
            let request = request.insert_header(("host", "localhost:9080")).insert_header(header);
            let response = call_service(&service, request.to_request()).await;
            assert_eq!(response.status().as_u16(), 403, "{header:?}");
            let problem: Value = serde_json::from_slice(&read_body(response).await).unwrap();
            assert_eq!(problem["code"], "forbidden");
        }
    }
    assert_eq!(
        get(&bank, "/accounts/42/history").await.json()["events"].as_array().unwrap().len(),
        1
    );
    let own = TestRequest::post().uri("/accounts/42/credit").set_json(json!({ "amount": 1 }));
    let own = own.insert_header(("host", "127.0.0.1:8080"));
    let own = own.insert_header(("origin", "http://127.0.0.1:8080"));
    let own = own.insert_header(("sec-fetch-site", "same-origin"));
    assert_eq!(send_by(&bank, &Access::dev(), own).await.status, 200);
}

#[actix_web::test]
async fn a_bank_with_credentials_has_any_name() {
    let (bank, access) = (bank_with_account().await, Doorkeeper::new().open());
    for header in FOREIGN {
        let request = TestRequest::get().uri("/health/live").insert_header(header);
        assert_eq!(send_by(&bank, &access, request).await.status, 200, "{header:?}");
    }
}

#[test]
fn both_listeners_of_a_bank_in_dev_mode_are_guarded() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    for address in [bank.address(), bank.operators()] {
        for (host, status) in [("evil.example", 403), ("127.0.0.1", 200), ("localhost", 200)] {
            let mut raw = Raw::connect(address);
            raw.send(format!(
                "GET /health/live HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
            ));
            assert_eq!(raw.whole_reply().status, Some(status), "{address} {host}");
        }
        let mut raw = Raw::connect(address);
        raw.send("GET http://evil.example/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert_eq!(raw.whole_reply().status, Some(403), "{address}");
    }
}
