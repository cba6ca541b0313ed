//! The bank as a program on an SQLite file: what survives its end, and how it ends when interrupted.
//! Crashes and load are in `crash/`, refused starts in `bank.rs`, the wire format in `bank/wire.rs`.

use std::process::Command;
use std::time::Duration;

use actix_web::test::TestRequest;
use actum::store::SqliteStore;
use serde_json::json;

use crate::support::bank::{Answer, get, post, send};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;

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
    let mut bank = BankProcess::start(&directory.file("bank.db"), &[]).unwrap();
    bank.signal("INT");
    let ended = bank.wait(Duration::from_secs(40));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

/// Shows a day before 1970 as long as the file exists that `BEFORE_1970` names.
const BEFORE_1970: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, time);
    const char *armed = clock == CLOCK_REALTIME ? getenv("BEFORE_1970") : NULL;
    if (armed && access(armed, F_OK) == 0) time->tv_sec = -86400;
    return done;
}
"#;

/// No answer can be dated before 1970, and the HTTP server loses the thread that dates them. The bank
/// then ends, so that a supervisor can start it again; what it has acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a C compiler: run scripts/test"]
async fn a_bank_whose_clock_shows_a_time_before_1970_ends_and_says_why() {
    let directory = Directory::new();
    let (source, shim) = (directory.file("shim.c"), directory.file("shim.so"));
    std::fs::write(&source, BEFORE_1970).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o", &shim, &source, "-ldl"]).status();
    assert!(compiled.unwrap().success());
    let (store, armed, log) =
        (directory.file("bank.db"), directory.file("armed"), directory.file("log"));
    let mut command = BankProcess::command(&store);
    command.env("LD_PRELOAD", &shim).env("BEFORE_1970", &armed);
    let mut bank =
        BankProcess::launch(command.stderr(std::fs::File::create(&log).unwrap())).unwrap();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, Some("open")).unwrap().status, 201);
    std::fs::write(&armed, "").unwrap();
    let ended = bank.wait(Duration::from_secs(20)).expect("it goes on without its clock");
    assert_eq!(ended.code(), Some(1));
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("the system clock shows a year before 1970"), "{told}");
    let bank = BankProcess::start(&store, &[]).unwrap();
    assert_eq!(bank.client().get("/accounts/1/balance").unwrap().status, 200);
}
