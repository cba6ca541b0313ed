//! More commands than the bank takes, and ten thousand under way when it stops.

use std::collections::HashSet;
use std::future::poll_fn;
use std::task::Poll;

use actix_web::rt;
use actum::{MemoryStore, Settings, SqliteStore};
use example_bank::account::{Account, AccountCommand};
use serde_json::json;

use crate::bank::{get, post};
use crate::child::read_log;
use crate::directory::Directory;

/// H1: a flood is turned away with 503 and Retry-After; what was let in is carried out, and what
/// was turned away is not.
#[actix_web::test]
async fn a_flood_is_turned_away_and_what_was_let_in_is_carried_out() {
    let settings = Settings { commands_in_flight: 8, ..Settings::default() };
    let bank = example_bank::application(MemoryStore::new()).settings(settings);
    let bank = bank.start().await.unwrap();
    let opening = json!({ "id": "1", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    let credits = (0..300).map(|_| {
        let bank = bank.clone();
        rt::spawn(async move { post(&bank, "/accounts/1/credit", json!({ "amount": 1 })).await })
    });
    let (mut carried_out, mut turned_away) = (0, 0);
    for answer in credits.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        if answer.status == 200 {
            carried_out += 1;
        } else {
            answer.is_problem(503, "overloaded");
            turned_away += 1;
        }
    }
    assert!(carried_out > 0 && turned_away > 0, "{carried_out} in, {turned_away} turned away");
    let path = format!("/accounts/1/balance?after={}", carried_out + 1);
    assert_eq!(get(&bank, &path).await.json()["balance"], carried_out);
    // The flood is over: everyone is let in again.
    assert_eq!(post(&bank, "/accounts/1/credit", json!({ "amount": 1 })).await.status, 200);
}

/// H11: all of them are on disk and answered before the application has ended.
#[tokio::test]
async fn ten_thousand_in_flight_are_carried_out_before_the_end() {
    const ACCOUNTS: usize = 100;
    const COMMANDS: usize = 10_000;
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let bank = example_bank::application(SqliteStore::open(&path).await.unwrap());
    let bank = bank.start().await.unwrap();
    for account in 0..ACCOUNTS {
        let open = AccountCommand::Open { owner: "Ada".into(), currency: "EUR".into() };
        bank.execute::<Account>(&account.to_string(), open).await.unwrap();
    }
    let credits = (0..COMMANDS).map(|n| {
        let bank = bank.clone();
        Box::pin(async move {
            let credit = AccountCommand::Credit { amount: 1 };
            bank.execute::<Account>(&(n % ACCOUNTS).to_string(), credit).await
        })
    });
    let mut credits: Vec<_> = credits.collect();
    poll_fn(|context| {
        let under_way = credits.iter_mut().filter_map(|credit| {
            let polled = credit.as_mut().poll(context);
            polled.is_pending().then_some(())
        });
        assert_eq!(under_way.count(), COMMANDS);
        Poll::Ready(())
    })
    .await;
    bank.shutdown().await;
    let mut positions = HashSet::new();
    for credit in credits {
        positions.insert(credit.await.unwrap().position);
    }
    assert_eq!(positions.len(), COMMANDS);
    assert_eq!(read_log(&path).await.len(), ACCOUNTS + COMMANDS);
}
