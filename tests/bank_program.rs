//! The bank as a program on an SQLite file: what survives its end, and how it ends when interrupted.
//! Crashes and load are in `crash.rs`, refused starts in `process.rs`, the wire format in `bank.rs`.

use actix_web::test::TestRequest;
use actum::SqliteStore;
use serde_json::json;

use crate::bank::{Answer, get, post, send};
use crate::child::Bank;
use crate::directory::Directory;

#[actix_web::test]
async fn accounts_and_keys_outlive_the_bank_on_sqlite() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let mut answers: Vec<Answer> = Vec::new();
    for _ in 0..2 {
        let store = SqliteStore::open(&path).await.unwrap();
        let bank = example_bank::application(store).start().await.unwrap();
        let opening = TestRequest::post()
            .uri("/accounts")
            .insert_header(("idempotency-key", "open-42"))
            .set_json(json!({ "id": "42", "owner": "Ada", "currency": "EUR" }));
        answers.push(send(&bank, opening).await);
        post(&bank, "/accounts/42/credit", json!({ "amount": 100 })).await;
        answers.push(get(&bank, "/accounts/42/balance?after=2").await);
        bank.shutdown().await;
    }
    answers[0].is(201, json!({ "id": "42", "version": 1, "position": 1 }));
    answers[2].is(201, json!({ "id": "42", "version": 1, "position": 1 }));
    assert_eq!(answers[1].json()["balance"], 100);
    let store = SqliteStore::open(&path).await.unwrap();
    let bank = example_bank::application(store).start().await.unwrap();
    get(&bank, "/accounts/42/balance?after=3").await.is(
        200,
        json!({
            "id": "42", "balance": 200, "currency": "EUR", "status": "open", "version": 3,
            "position": 3
        }),
    );
    bank.shutdown().await;
}

#[test]
fn an_interrupt_ends_the_bank_with_zero() {
    let directory = Directory::new();
    let mut bank = Bank::start(&directory.file("bank.db"), &[]).unwrap();
    bank.signal("INT");
    let ended = bank.wait(std::time::Duration::from_secs(40));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}
