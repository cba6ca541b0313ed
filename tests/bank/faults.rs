//! Answers of the bank when the store fails, the bank is full, or other writers are faster.

use actum::store::EventStore;
use actum::testing::{Fault, FaultyStore};
use actum::{Application, Settings};
use serde_json::json;

use crate::support::bank::{Answer, Bank, fresh_store, get, post, post_keyed};
use crate::support::events::{append, event};

/// A bank with the open account 42 on a store that fails on demand.
async fn faulty(settings: Settings) -> (FaultyStore, Bank) {
    let (directory, file) = fresh_store().await;
    let store = FaultyStore::new(file);
    let bank = Bank::start(example_bank::application(store.clone()).settings(settings), directory);
    let bank = bank.await;
    let opening = json!({ "id": "42", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    (store, bank)
}

async fn credit(bank: &Application, key: &str) -> Answer {
    post_keyed(bank, "/accounts/42/credit", key, json!({ "amount": 10 })).await
}

#[actix_web::test]
async fn an_unknown_outcome_is_a_503_and_the_same_key_tells_it() {
    for fault in [Fault::UnknownButStored, Fault::UnknownNotStored] {
        let (store, bank) = faulty(Settings::default()).await;
        store.fail_next(fault);
        credit(&bank, "k").await.is_problem(503, "outcome_unknown");
        credit(&bank, "k").await.is(200, json!({ "id": "42", "version": 2, "position": 2 }));
        let balance = get(&bank, "/accounts/42/balance?after=2").await;
        assert_eq!(balance.json()["balance"], 10);
    }
}

#[actix_web::test]
async fn a_store_that_does_not_take_it_is_a_503_and_nothing_happened() {
    let (store, bank) = faulty(Settings::default()).await;
    store.fail_next(Fault::Unavailable);
    credit(&bank, "k").await.is_problem(503, "unavailable");
    let history = get(&bank, "/accounts/42/history").await;
    assert_eq!(history.json()["events"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn losing_every_race_is_a_409() {
    let (store, bank) = faulty(Settings { conflict_retries: 0, ..Settings::default() }).await;
    let foreign = append("account", "42", [event("Credited", r#"{"amount":1}"#)]);
    store.append(vec![foreign]).await;
    credit(&bank, "k").await.is_problem(409, "conflict");
    // The actor has read the events it missed, so the same command succeeds now.
    assert_eq!(credit(&bank, "k").await.status, 200);
}

#[actix_web::test]
async fn a_bank_that_stops_says_so_and_is_not_ready() {
    let (_, bank) = faulty(Settings::default()).await;
    assert_eq!(get(&bank, "/health/ready").await.status, 200);
    bank.shutdown().await;
    credit(&bank, "k").await.is_problem(503, "stopping");
    assert_eq!(get(&bank, "/health/ready").await.status, 503);
    assert_eq!(get(&bank, "/health/live").await.status, 200);
}

#[actix_web::test]
async fn an_account_that_cannot_be_read_is_a_503_and_the_others_are_not() {
    let (store, bank) = faulty(Settings::default()).await;
    let opening = json!({ "id": "43", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    let of_the_future = append("account", "42", [event("Gilded", "null")]);
    let stored = store.append(vec![of_the_future]);
    assert!(matches!(stored.await[0], actum::store::AppendOutcome::Committed(_)));
    let parked = get(&bank, "/accounts/42/balance?after=3").await;
    assert_eq!((parked.status.as_u16(), &parked.json()["code"]), (503, &json!("parked")));
    // A repair is needed and no amount of time helps, so the answer has no Retry-After.
    assert_eq!(parked.header("retry-after"), None, "{parked:?}");
    assert!(parked.text.contains("position 3"), "{parked:?}");
    assert_eq!(get(&bank, "/accounts/43/balance?after=3").await.status, 200);
}
