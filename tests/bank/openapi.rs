//! The bank's OpenAPI document: it contains every route and no other, and equals the committed
//! copy.
//!
//! What it says of the routes is held against the running bank by scripts/fuzz.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::web::Access;
use actum::{Claim, Settings};
use example_bank::account::ACCOUNT_NUMBER;
use example_bank::user::USER_NAME;
use example_bank::{Credentials, KEYS};
use serde_json::{Value, json};

use crate::support::bank::{Bank, fresh_store, get, new_bank, post};
use crate::support::directory::Directory;

fn document() -> Value {
    serde_json::to_value(example_bank::routes().document()).unwrap()
}

/// `METHOD path` of what the document describes.
fn described() -> BTreeSet<String> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .keys()
            .map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes = example_bank::routes();
    // A HEAD goes with its GET; the pages for people are no part of the API.
    let served = routes
        .list()
        .filter(|(method, path, _)| method.as_str() != "HEAD" && !path.starts_with("/docs"));
    let served: BTreeSet<String> =
        served.map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(served, described());
}

/// The codes of problems that are made in these files, as they stand there: `new(400, "code"`.
fn codes_in(folder: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes.extend(codes_in(path.to_str().unwrap()));
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        // Examples in the docs have codes of their own.
        let is_no_comment = |line: &&str| !line.trim_start().starts_with("//");
        let source = source.lines().filter(is_no_comment).collect::<Vec<_>>().join("\n");
        let calls = source.split("new(").chain(source.split("for_now(")).skip(1);
        codes.extend(calls.filter_map(|call| {
            let status = call.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
            let code = status.trim_start_matches(',').trim_start().strip_prefix('"')?;
            let code = code.split('"').next()?;
            let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            (is_code && call.trim_start() != status
                || source.contains(&format!("for_now(\"{code}")))
            .then(|| code.to_owned())
        }));
    }
    codes
}

#[test]
fn every_code_of_a_problem_is_told() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let of = |folder: &str| codes_in(root.join(folder).to_str().unwrap());
    let made = of("framework/src/web").into_iter().chain(of("example-bank/src/http"));
    let mut made: BTreeSet<String> = made.collect();
    made.extend([USER_NAME, ACCOUNT_NUMBER].map(|kind| Claim::take(kind, "it").taken_code()));
    assert!(made.len() > 20, "{made:?}");
    let told = document()["components"]["responses"].to_string();
    // Problems without a route, for unknown paths.
    let elsewhere = ["method_not_allowed", "no_such_path", "not_found"];
    let untold: Vec<&String> = made
        .iter()
        .filter(|code| !elsewhere.contains(&code.as_str()))
        .filter(|code| !told.contains(&format!("\"{code}\"")))
        .collect();
    assert!(untold.is_empty(), "no route tells of {untold:?}");
}

#[test]
fn the_committed_copy_is_the_document() {
    let copy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../example-bank/openapi.json");
    let document = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if env::var_os("ACTUM_RENEW").is_some() {
        fs::write(&copy, &document).unwrap();
    }
    let committed = fs::read_to_string(&copy).unwrap_or_default();
    let differs = committed.lines().zip(document.lines()).find(|(then, now)| then != now);
    assert!(
        committed == document,
        "example-bank/openapi.json is not what the bank serves, first at {differs:?}; \
         ACTUM_RENEW=1 cargo test -p actum-tests the_committed_copy_is_the_document renews it"
    );
}

#[actix_web::test]
async fn the_bank_serves_its_document() {
    let bank = new_bank().await;
    get(&bank, "/openapi.json").await.is(200, document());
}

#[actix_web::test]
async fn the_docs_come_from_the_bank_alone() {
    let bank = new_bank().await;
    let page = get(&bank, "/docs").await;
    let content_type = page.header("content-type");
    assert_eq!((page.status.as_u16(), content_type), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; "));
    let links = ["src=\"", "href=\""].into_iter().flat_map(|attribute| {
        page.text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next())
    });
    let links: Vec<&str> = links.collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        assert_eq!(get(&bank, link).await.status, 200, "{link}");
    }
    assert!(!page.text.contains("<style") && !page.text.contains("onload"), "all is in files");
    for nowhere in ["/docs/nothing.js", "/docs/..%2f..%2fCargo.toml", "/docs/%00", "/docs/a/b"] {
        get(&bank, nowhere).await.is_problem(404, "no_such_path");
    }
}

/// Requests to this operation, valid and invalid.
fn requests(method: &str, path: &str) -> Vec<TestRequest> {
    let of = |path: String| TestRequest::default().method(method.parse().unwrap()).uri(&path);
    let plain = |id: &str| of(path.replace("{id}", id));
    let json = |body: &str| {
        plain("42").insert_header(("content-type", "application/json")).set_payload(body.to_owned())
    };
    let mut requests: Vec<_> =
        ["42", "nobody", "a%00b", "%ff", "00000000-0000-4000-8000-000000000000"].map(plain).into();
    for query in ["x=1", "after=x", "after=9&within=1", "after=9", "limit=0", "from=now"] {
        requests.push(of(format!("{}?{query}", path.replace("{id}", "42"))));
    }
    for header in [
        ("if-match", "\"77\""),
        ("if-match", "x"),
        ("if-none-match", "*"),
        ("if-none-match", "\"1\""),
        ("idempotency-key", "\""),
        ("x-correlation-id", ""),
        ("last-event-id", "x"),
        ("last-event-id", "9"),
        ("content-encoding", "gzip"),
        ("content-length", "9999999"),
        ("content-type", "text/plain"),
        ("prefer", "respond-async"),
        ("prefer", "respond-async, callback"),
        ("host", "evil.example"),
    ] {
        requests.push(json("{\"amount\": 1}").insert_header(header));
        requests.push(json("{}").insert_header(header));
    }
    let bodies = [
        "{",
        "{}",
        "{\"amount\": 0}",
        "{\"amount\": 5}",
        "{\"limit\": 5}",
        "{\"name\": \"lovelace\"}",
        "{\"owner\": \"ada\", \"name\": \"lovelace\"}",
        "{\"id\": \"42\", \"owner\": \"ada\", \"currency\": \"EUR\"}",
        "{\"owner\": \"ada\", \"currency\": \"EUR\"}",
        "{\"url\": \"http://127.0.0.1/\"}",
        "{\"from\": \"42\", \"to\": \"43\", \"amount\": 1}",
        "{\"from\": \"42\", \"to\": \"42\", \"amount\": 1}",
        "{\"from\": \"42\", \"to\": \"43\", \"amount\": 1, \"day\": 31}",
        "{\"from\": \"42\", \"to\": \"42\", \"amount\": 1, \"day\": 31}",
    ];
    requests.extend(bodies.map(json));
    requests
}

/// Answers to all of them, for clients with every scope, with no scope, and without a credential.
async fn answers(method: &str, path: &str) -> Vec<(u16, String)> {
    let (directory, store) = fresh_store().await;
    let settings = Settings { read_within: Duration::from_millis(20), ..Settings::default() };
    let bank = example_bank::application(store).settings(settings);
    let bank = Bank::start(bank, directory).await;
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    assert_eq!(get(&bank, "/accounts/42/balance?after=1&within=9000").await.status, 200);
    let directory = Directory::new();
    let key = KEYS.generate("none".into(), vec![], None).unwrap();
    let line = serde_json::to_string(&key.line).unwrap();
    fs::write(directory.file("keys"), line).unwrap();
    let known = Credentials { api_keys: Some(directory.file("keys").into()), ..Default::default() };
    let known = known.open("192.0.2.1:80".parse().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    let bearer = format!("Bearer {}", key.key.expose());
    let mut answers = Vec::new();
    for (access, bearer) in [(Access::dev(), ""), (known.clone(), ""), (known, bearer.as_str())] {
        let routes = example_bank::routes().serve((*bank).clone(), access);
        let service = init_service(App::new().configure(routes)).await;
        for request in requests(method, path) {
            let request = request.insert_header(("authorization", bearer)).to_request();
            let response = call_service(&service, request).await;
            let status = response.status().as_u16();
            // A live stream does not end, so its status is not collected.
            let text = match status {
                ..400 => String::new(),
                _ => String::from_utf8(read_body(response).await.to_vec()).unwrap(),
            };
            answers.push((status, text));
        }
    }
    answers
}

#[actix_web::test]
async fn every_answer_of_every_operation_is_described() {
    let document = document();
    let mut seen = BTreeSet::new();
    for operation in described() {
        let (method, path) = operation.split_once(' ').unwrap();
        let responses = &document["paths"][path][method.to_lowercase()]["responses"];
        for (status, text) in answers(method, path).await {
            seen.insert(status);
            let response = &responses[status.to_string()];
            assert!(response.is_object(), "{operation} answers {status}: {text}");
            let Some(name) = response["$ref"].as_str().and_then(|it| it.rsplit('/').next()) else {
                continue;
            };
            let code = serde_json::from_str::<Value>(&text).unwrap()["code"].clone();
            let described = document["components"]["responses"][name].to_string();
            assert!(described.contains(&code.to_string()), "{operation} answers {status} {code}");
        }
    }
    let wanted = [200, 201, 202, 204, 304, 400, 401, 403, 404, 409, 412, 413, 415, 422, 504];
    let missed: Vec<u16> = wanted.into_iter().filter(|status| !seen.contains(status)).collect();
    assert!(missed.is_empty(), "no request was answered {missed:?}");
}

#[test]
fn only_answers_that_an_operation_can_give_are_described() {
    let document = document();
    for operation in described() {
        let (method, path) = operation.split_once(' ').unwrap();
        let described = &document["paths"][path][method.to_lowercase()];
        let has = |status: &str| described["responses"].get(status).is_some();
        let takes_body = described.get("requestBody").is_some();
        let changes = method != "GET";
        for status in ["409", "415", "422"] {
            assert_eq!(has(status), changes, "{operation} {status}");
        }
        for status in ["408", "413"] {
            assert_eq!(has(status), takes_body, "{operation} {status}");
        }
        let parameters = described["parameters"].as_array().cloned().unwrap_or_default();
        let has_input = parameters.iter().any(|it| it["in"] == "path" || it["in"] == "query");
        assert_eq!(has("400"), changes || has_input, "{operation}");
        assert!(has("412") && has("429"), "{operation}");
        let waits = ["", "/balance", "/credit-limit", "/statement"];
        let waits = waits.map(|read| format!("GET /accounts/{{id}}{read}"));
        let others = ["GET /transfers/{id}", "GET /standing-orders/{id}"];
        let waits = waits.contains(&operation) || others.contains(&&*operation);
        assert_eq!(has("504"), waits, "{operation}");
    }
}
