//! Transfers over HTTP, as clients see them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bank::{Bank, get, new_bank, post, post_keyed};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::sse::{EventStream, SsePart};
use crate::support::waiting::{check, poll};

/// A bank with 2,000,000 in the account of Ada, and nothing in that of Bob.
async fn bank() -> Bank {
    let bank = new_bank().await;
    for owner in ["ada", "bob"] {
        let opening = json!({ "id": owner, "owner": owner, "currency": "EUR" });
        assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    }
    let credited = post(&bank, "/accounts/ada/credit", json!({ "amount": 2_000_000 })).await;
    assert_eq!(credited.status, 200);
    bank
}

/// The transfer at this location, once it has this status.
async fn once(bank: &Bank, location: &str, status: &str) -> Value {
    let look = async || check(get(bank, location).await.json(), |it| it["status"] == status);
    poll(Duration::from_secs(40), look).await
}

fn statuses(transfer: &Value) -> Vec<&str> {
    let steps = transfer["steps"].as_array().unwrap().iter();
    steps.map(|step| step["status"].as_str().unwrap()).collect()
}

#[actix_web::test]
async fn a_request_is_answered_with_the_place_where_it_is_told_how_it_goes() {
    let bank = bank().await;
    let body = json!({ "from": "ada", "to": "bob", "amount": 5, "reference": "rent" });
    let answer = post_keyed(&bank, "/transfers", "k", body.clone()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let location = answer.header("location").unwrap().to_owned();
    assert_eq!(location, format!("/transfers/{id}"));
    let transfer = once(&bank, &location, "completed").await;
    assert_eq!(statuses(&transfer), ["requested", "debited", "credited", "completed"]);
    let positions = transfer["steps"].as_array().unwrap().iter();
    let positions: Vec<_> = positions.map(|step| step["position"].as_u64().unwrap()).collect();
    assert!(positions.is_sorted() && positions[0] == answer.json()["position"].as_u64().unwrap());
    assert!(transfer["steps"][0]["at"].as_str().unwrap().ends_with('Z'), "{transfer}");
    assert_eq!((&transfer["id"], &transfer["reference"]), (&json!(id), &json!("rent")));

    let again = post_keyed(&bank, "/transfers", "k", body).await;
    assert_eq!((again.status, &again.text), (answer.status, &answer.text));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = json!({ "from": "ada", "to": "bob", "amount": 6 });
    let other = post_keyed(&bank, "/transfers", "k", other).await;
    other.is_problem(422, "idempotency_key_reused");
    let balance = get(&bank, "/accounts/bob").await.json();
    assert_eq!(balance["balance"], 5);
    let after = transfer["position"].as_u64().unwrap();
    let bookings = get(&bank, &format!("/accounts/ada/statement?after={after}")).await.json();
    let last = &bookings["bookings"][1];
    assert_eq!((&last["kind"], &last["amount"]), (&json!("transferred_out"), &json!(-5)));
}

#[actix_web::test]
async fn a_request_that_can_never_be_carried_out_is_refused() {
    let bank = bank().await;
    let long = "x".repeat(201);
    for (from, to, amount, reference, code) in [
        ("ada", "ada", 1, "rent", "same_account"),
        ("ada", "bob", 0, "rent", "invalid_amount"),
        ("ada", "bob", -1, "rent", "invalid_amount"),
        ("ada", "bob", 1, "", "invalid_reference"),
        ("ada", "bob", 1, &*long, "invalid_reference"),
    ] {
        let body = json!({ "from": from, "to": to, "amount": amount, "reference": reference });
        post(&bank, "/transfers", body).await.is_problem(422, code);
    }
    post(&bank, "/transfers/nobody/approve", json!({})).await.is_problem(404, "unknown_transfer");
    get(&bank, "/transfers/nobody").await.is_problem(404, "unknown_transfer");
    get(&bank, "/transfers/nobody/events").await.is_problem(404, "unknown_transfer");
    // An id that no account can have is one of an account that does not exist.
    let body = json!({ "from": "ada", "to": "a\u{0}b", "amount": 1 });
    let location = post(&bank, "/transfers", body).await;
    let transfer = once(&bank, location.header("location").unwrap(), "refunded").await;
    assert_eq!(transfer["reason"]["code"], "failed");
}

#[actix_web::test]
async fn a_large_amount_is_approved_once() {
    let bank = bank().await;
    let body = json!({ "from": "ada", "to": "bob", "amount": 1_000_001 });
    let answer = post(&bank, "/transfers", body).await;
    let location = answer.header("location").unwrap();
    once(&bank, location, "waits_for_approval").await;
    let approve = format!("{location}/approve");
    for _ in 0..2 {
        let approved = post_keyed(&bank, &approve, "k", json!({})).await;
        assert_eq!((approved.status.as_u16(), approved.json()["version"].as_u64()), (200, Some(2)));
    }
    let transfer = once(&bank, location, "completed").await;
    let expected = ["waits_for_approval", "approved", "debited", "credited", "completed"];
    assert_eq!(statuses(&transfer), expected);
    post(&bank, &approve, json!({})).await.is_problem(422, "has_ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_followed_as_it_happens() {
    let directory = Directory::new();
    let bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    let mut client = bank.client();
    let body = json!({ "from": "ada", "to": "bob", "amount": 1_000_001 }).to_string();
    let location = client.post("/transfers", &body, None).unwrap().location.unwrap();
    let path = format!("{location}/events");
    let mut stream = EventStream::open(bank.address(), &path, None).unwrap();
    let mut next = || loop {
        match stream.part().unwrap().unwrap() {
            SsePart::Message { event, data, .. } => return (event, data),
            SsePart::Retry(_) | SsePart::Comment => {}
        }
    };
    assert_eq!(next().0, "Requested");
    let approved = client.post(&format!("{location}/approve"), "{}", None).unwrap();
    assert_eq!(approved.status, 200, "{approved:?}");
    assert_eq!(next().0, "Approved");
    let (event, data) = next();
    assert!(event == "Failed" && data.to_string().contains("unknown_account"), "{event}: {data}");
    assert!(bank.terminate().success());
}
