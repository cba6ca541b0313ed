//! Every principal on every route: admitted or refused, and with which problem.
//!
//! A route that the bank has and this table has not fails, and so does one that is only here; one
//! whose policy is changed or taken away answers somebody otherwise than it says here.

use std::collections::BTreeSet;

use actix_web::App;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actum::Application;
use actum::store::PostgresStore;
use actum::web::{Access, Routes};
use example_bank::standing_order::{StandingOrder, StandingOrderCommand, Terms};
use example_bank::transfer::{FREE_UP_TO, Order, Transfer, TransferCommand};
use serde_json::{Value, json};

use super::{Doorkeeper, claims, lines, new_key, signed};
use crate::support::bank::{get, new_bank, post};
use crate::support::postgres::database;
use crate::support::waiting::until;

/// The listener of a request: the bank's public one, or the operators'.
#[derive(Clone, Copy)]
enum Door {
    Bank,
    Operators,
}

type Row = (&'static str, &'static str, [Got; 9]);

/// The result of a request: admitted, or refused with a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    /// Admitted, with any outcome.
    In,
    /// 401 `unauthenticated`
    Who,
    /// 403 `forbidden`
    No,
    /// 404 with `unknown_` and the type of an aggregate, as if it did not exist.
    Nil,
}
use Got::*;

/// The principals, in the order of the columns.
const PRINCIPALS: [&str; 9] = [
    "nobody",
    "a key that expired",
    "a key that was deleted",
    "a key that reads",
    "a key that writes",
    "an operator's key",
    "the owner",
    "the owner, reading only",
    "somebody else",
];

const PUBLIC: [Got; 9] = [In, In, In, In, In, In, In, In, In];
const OPENING: [Got; 9] = [Who, Who, Who, No, In, No, In, No, No];
const WRITING: [Got; 9] = [Who, Who, Who, No, In, No, In, No, Nil];
const READING: [Got; 9] = [Who, Who, Who, In, No, No, In, In, Nil];
/// Access of each principal to a resource of its own.
const MY_WRITING: [Got; 9] = [Who, Who, Who, No, In, No, In, No, In];
const MY_READING: [Got; 9] = [Who, Who, Who, In, No, No, In, In, In];
const OPERATING: [Got; 9] = [Who, Who, Who, No, No, In, No, No, No];

/// The routes of the bank.
const BANK: [Row; 32] = [
    // The body names Ada as the owner.
    ("POST", "/accounts", OPENING),
    ("GET", "/accounts/{id}", READING),
    ("POST", "/accounts/{id}/credit", WRITING),
    ("POST", "/accounts/{id}/withdraw", WRITING),
    ("POST", "/accounts/{id}/freeze", WRITING),
    ("POST", "/accounts/{id}/unfreeze", WRITING),
    ("POST", "/accounts/{id}/close", WRITING),
    ("PUT", "/accounts/{id}/credit-limit", OPERATING),
    ("GET", "/accounts/{id}/credit-limit", READING),
    ("GET", "/accounts/{id}/balance", READING),
    ("GET", "/accounts/{id}/history", READING),
    ("GET", "/accounts/{id}/statement", READING),
    ("GET", "/accounts/{id}/events", READING),
    // The source account decides whether the money may be taken out, when it is.
    ("POST", "/transfers", MY_WRITING),
    ("GET", "/transfers/{id}", READING),
    ("GET", "/transfers/{id}/events", READING),
    ("POST", "/transfers/{id}/approve", OPERATING),
    // The body names an account of Ada's.
    ("POST", "/standing-orders", WRITING),
    ("GET", "/standing-orders/{id}", READING),
    ("POST", "/standing-orders/{id}/cancel", WRITING),
    // No command has the account's id. Access to the commands of others is tested in `later.rs`.
    ("GET", "/commands/{id}", MY_READING),
    ("GET", "/commands/{id}/events", MY_READING),
    ("PUT", "/callback", MY_WRITING),
    ("GET", "/callback", MY_READING),
    ("DELETE", "/callback", MY_WRITING),
    // So does this one.
    ("POST", "/users", OPENING),
    ("PUT", "/users/{id}/name", WRITING),
    ("GET", "/health/live", PUBLIC),
    ("GET", "/health/ready", PUBLIC),
    ("GET", "/openapi.json", PUBLIC),
    ("GET", "/docs", PUBLIC),
    ("GET", "/docs/{file}", PUBLIC),
];

/// The routes of the operators' own listener.
const OPERATIONS: [Row; 17] = [
    ("GET", "/status", OPERATING),
    ("GET", "/metrics", OPERATING),
    ("GET", "/subscriptions/{name}/parked", OPERATING),
    ("GET", "/subscriptions/{name}/skipped", OPERATING),
    ("POST", "/subscriptions/{name}/parked/retry", OPERATING),
    ("POST", "/subscriptions/{name}/parked/skip", OPERATING),
    ("POST", "/subscriptions/{name}/pause", OPERATING),
    ("POST", "/subscriptions/{name}/resume", OPERATING),
    ("POST", "/subscriptions/{name}/replay", OPERATING),
    ("GET", "/subscriptions/{name}/versions", OPERATING),
    ("GET", "/subscriptions/{name}/comparison", OPERATING),
    ("POST", "/subscriptions/{name}/versions/{number}/serve", OPERATING),
    ("DELETE", "/subscriptions/{name}/versions/{number}", OPERATING),
    ("GET", "/subscriptions/{name}/stories/{key}", OPERATING),
    ("POST", "/commands/{id}/fail", OPERATING),
    ("GET", "/health/live", PUBLIC),
    ("GET", "/health/ready", PUBLIC),
];

/// The credentials of the principals, and a bank that knows them.
struct Doors {
    access: Access,
    credentials: [Option<String>; 9],
    _doorkeeper: Doorkeeper,
}

impl Doors {
    fn new() -> Self {
        let doorkeeper = Doorkeeper::new();
        let everything = ["accounts:read", "accounts:write", "bank:operate"];
        let expired = new_key("expired", &everything);
        let mut line = serde_json::to_value(&expired.line).unwrap();
        line["expires"] = json!("2001-01-01T00:00:00Z");
        let deleted = new_key("deleted", &everything);
        let reader = new_key("reader", &["accounts:read"]);
        let writer = new_key("writer", &["accounts:write"]);
        let operator = new_key("operator", &["bank:operate"]);
        doorkeeper.write_keys(&(lines(&[&reader, &writer, &operator]) + &line.to_string()));
        let mut other = claims("accounts:read accounts:write");
        other["sub"] = json!("bob");
        let keys = [&expired, &deleted, &reader, &writer, &operator];
        let [expired, deleted, reader, writer, operator] =
            keys.map(|key| Some(key.key.expose().to_owned()));
        let owner = Some(signed(&claims("accounts:read accounts:write")));
        let owner_reading = Some(signed(&claims("accounts:read")));
        let other = Some(signed(&other));
        let credentials =
            [None, expired, deleted, reader, writer, operator, owner, owner_reading, other];
        Self { access: doorkeeper.open(), credentials, _doorkeeper: doorkeeper }
    }

    /// Sends a request as the principal of this column. Returns the status and, if the request was
    /// refused, the whole problem.
    async fn ask(
        &self,
        bank: &Application,
        door: Door,
        column: usize,
        method: &str,
        path: &str,
    ) -> (u16, Value) {
        let method: Method = method.parse().unwrap();
        let mut request = TestRequest::default().method(method).uri(path);
        if let Some(credential) = &self.credentials[column] {
            request = request.insert_header(("authorization", format!("Bearer {credential}")));
        }
        if let Some(body) = body(path) {
            request = request.set_json(body);
        }
        let (app, access) = (bank.clone(), self.access.clone());
        let service = init_service(App::new().configure(move |config| match door {
            Door::Bank => example_bank::routes().serve(app, access)(config),
            Door::Operators => actum::web::operations().serve(app, access)(config),
        }));
        let service = service.await;
        let response = call_service(&service, request.to_request()).await;
        let status = response.status().as_u16();
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        match status {
            // A stream of events has no end.
            200..300 => (status, Value::Null),
            _ => (status, serde_json::from_slice(&read_body(response).await).unwrap_or_default()),
        }
    }
}

fn body(path: &str) -> Option<Value> {
    match path.rsplit('/').next().unwrap() {
        "accounts" => Some(json!({ "owner": "ada", "currency": "EUR" })),
        "transfers" => Some(json!({ "from": "0-0", "to": "bob", "amount": 1 })),
        "standing-orders" => Some(json!({ "from": "0-0", "to": "0-1", "amount": 1, "day": 31 })),
        "users" => Some(json!({ "owner": "ada", "name": "lovelace" })),
        "name" => Some(json!({ "name": "king" })),
        "credit" | "withdraw" => Some(json!({ "amount": 1 })),
        "credit-limit" => Some(json!({ "limit": 1 })),
        _ => None,
    }
}

fn got(answer: &(u16, Value)) -> Got {
    match (answer.0, answer.1["code"].as_str()) {
        (401, Some("unauthenticated")) => Who,
        (403, Some("forbidden")) => No,
        (404, Some("unknown_account" | "unknown_user")) => Nil,
        (404, Some("unknown_transfer" | "unknown_standing_order")) => Nil,
        (401 | 403, _) | (_, Some("no_such_path")) => panic!("{answer:?}"),
        _ => In,
    }
}

/// A new account of Ada's in which something can be done, a user of hers, a transfer that waits for an
/// approval, and a standing order.
async fn account(bank: &Application, id: &str) {
    let opening = json!({ "id": id, "owner": "ada", "currency": "EUR" });
    let opened = post(bank, "/accounts", opening).await;
    assert_eq!(opened.status, 201);
    let user = json!({ "id": id, "owner": "ada", "name": format!("ada-{id}") });
    assert_eq!(post(bank, "/users", user).await.status, 200);
    let (from, to, amount) = (id.to_owned(), "bob".to_owned(), FREE_UP_TO + 1);
    let transfer = Order { from, to, amount, reference: None };
    let request = TransferCommand::Request(transfer.clone());
    bank.execute::<Transfer>(id, request).await.unwrap();
    let terms = Terms { transfer, day: 31, owner: "ada".to_owned() };
    bank.execute::<StandingOrder>(id, StandingOrderCommand::Place(terms)).await.unwrap();
    for view in ["balance", "credit-limit", "statement"] {
        let view = format!("/accounts/{id}/{view}?after={}", opened.json()["position"]);
        assert_eq!(get(bank, &view).await.status, 200);
    }
}

async fn events(bank: &Application) -> u64 {
    bank.operations().status().await.log.head.0
}

async fn check(door: Door, matrix: &[Row], bank: &Application) {
    let doors = Doors::new();
    for (row, (method, pattern, expected)) in matrix.iter().enumerate() {
        for (column, expected) in expected.iter().enumerate() {
            let id = format!("{row}-{column}");
            account(bank, &id).await;
            let before = events(bank).await;
            let path =
                pattern.replace("{id}", &id).replace("{number}", "9").replace("{file}", "page.js");
            let answer = doors.ask(bank, door, column, method, &path).await;
            let who = PRINCIPALS[column];
            assert_eq!(got(&answer), *expected, "{who} on {method} {pattern}: {answer:?}");
            if *expected != In {
                assert_eq!(events(bank).await, before, "{who} on {method} {pattern}");
            } else if *method == "POST" && path.starts_with("/transfers") {
                // Requested or approved, refused by the account, which has no money, and failed.
                until(async || events(bank).await == before + 3).await;
            }
        }
    }
}

#[actix_web::test]
async fn each_principal_gets_on_each_route_what_is_theirs_and_no_more() {
    let bank = new_bank().await;
    check(Door::Bank, &BANK, &bank).await;
}

#[ignore = "needs PostgreSQL: run scripts/test"]
#[actix_web::test]
async fn each_principal_gets_what_is_theirs_on_postgres() {
    let database = database().await;
    let store = PostgresStore::open(&database.url()).await.unwrap();
    let bank = example_bank::application(store).start().await.unwrap();
    check(Door::Bank, &BANK, &bank).await;
    bank.shutdown().await;
}

#[actix_web::test]
async fn operators_routes_are_for_operators() {
    let bank = new_bank().await;
    check(Door::Operators, &OPERATIONS, &bank).await;
}

#[track_caller]
fn is_complete(matrix: &[Row], routes: &Routes) {
    let here: BTreeSet<_> = matrix.iter().map(|(m, p, _)| ((*m).to_owned(), *p)).collect();
    let there = routes.list().map(|(method, path, _)| (method.to_string(), path));
    // Every GET route serves HEAD by the same policy.
    let there: BTreeSet<_> = there.filter(|(method, _)| method != "HEAD").collect();
    assert_eq!(here, there);
    for (method, path, policy) in routes.list().filter(|(method, ..)| **method == Method::HEAD) {
        assert_eq!(routes.policy(&Method::GET, path), Some(policy), "{method} {path}");
    }
}

#[test]
fn the_matrix_has_every_route_there_is() {
    is_complete(&BANK, &example_bank::routes());
    is_complete(&OPERATIONS, &actum::web::operations());
}

#[actix_web::test]
async fn to_others_an_account_is_one_that_does_not_exist() {
    let (doors, bank) = (Doors::new(), new_bank().await);
    let bob = PRINCIPALS.len() - 1;
    for (row, (method, pattern, _)) in BANK.iter().enumerate() {
        if !pattern.contains("{id}") {
            continue;
        }
        account(&bank, &format!("a{row}")).await;
        // A position that does not exist yet must not distinguish them either.
        for query in ["", "?after=1000000&within=1", "?limit=1"] {
            let path = |id: String| format!("{}{query}", pattern.replace("{id}", &id));
            let theirs = doors.ask(&bank, Door::Bank, bob, method, &path(format!("a{row}"))).await;
            let none = doors.ask(&bank, Door::Bank, bob, method, &path(format!("b{row}"))).await;
            assert_eq!(theirs, none, "{method} {pattern}{query}");
        }
    }
}

#[actix_web::test]
async fn a_route_beside_the_table_is_not_served() {
    let bank = new_bank().await;
    let doors = Doors::new();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/accounts"),
        ("GET", "//accounts/1"),
        ("GET", "/accounts/1/"),
        ("GET", "/%61ccounts/1"),
        ("GET", "/ACCOUNTS/1"),
        ("GET", "/accounts/1/../../status"),
        ("GET", "/status/"),
        ("GET", "/status%2f"),
        ("DELETE", "/accounts/1"),
        ("PATCH", "/accounts/1"),
        ("OPTIONS", "/accounts/1"),
        ("TRACE", "/accounts/1"),
        ("get", "/status"),
    ] {
        let (status, problem) = doors.ask(&bank, Door::Bank, 0, method, path).await;
        assert!(matches!(status, 404 | 405), "{method} {path}: {status} {problem}");
    }
}
