//! The bank as a program on an SQLite file: what survives its end, and what it says when it cannot
//! start. Crashes and load are in `crash.rs`, the wire format in `bank.rs`.

use std::process::Output;

use actix_web::test::TestRequest;
use actum::SqliteStore;
use serde_json::json;

use crate::bank::{Answer, get, post, send};
use crate::child::Bank;
use crate::directory::Directory;

/// A program that is to fail at its start: exit code 1, this on standard error.
#[track_caller]
fn is_refused(output: &Output, said: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for word in said {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("listening"));
}

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
            "id": "42", "balance": 200, "currency": "EUR", "status": "open", "position": 3
        }),
    );
    bank.shutdown().await;
}

#[test]
fn a_port_in_use_is_said_and_leaves_no_database_behind() {
    let directory = Directory::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let path = directory.file("bank.db");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bank-process"));
    let output = command.args(["--store", &path, "--listen", &address]).output().unwrap();
    is_refused(&output, &[&address, "in use"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_database_another_bank_has_open_is_left_to_it() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let bank = Bank::start(&path, &[]).unwrap();
    is_refused(&Bank::command(&path).output().unwrap(), &[&path, "another process"]);
    assert!(bank.client().get("/health/live").is_ok());
    assert_eq!(bank.terminate().code(), Some(0));
}

#[test]
fn a_file_that_is_no_database_is_said_and_not_touched() {
    let directory = Directory::new();
    let path = directory.file("letter.txt");
    let text = "Dear bank, ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    is_refused(&Bank::command(&path).output().unwrap(), &[&path, "no SQLite database"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn an_interrupt_ends_the_bank_with_zero() {
    let directory = Directory::new();
    let mut bank = Bank::start(&directory.file("bank.db"), &[]).unwrap();
    bank.signal("INT");
    let ended = bank.wait(std::time::Duration::from_secs(40));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}
