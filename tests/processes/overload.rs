//! More commands than the bank takes, and ten thousand under way when it stops.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use actum::store::SqliteStore;
use actum::{Aggregate, Application, Settings};
use example_bank::account::{Account, AccountCommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::bank::{get, post};
use crate::support::child::read_log;
use crate::support::directory::Directory;

/// Keeps its commands under way until the test opens it.
#[derive(Default, Clone)]
struct Gate;

static OPEN: OnceLock<()> = OnceLock::new();

#[derive(Clone, PartialEq, Serialize, Deserialize)]
enum Nothing {}

impl Aggregate for Gate {
    const TYPE: &'static str = "gate";
    type Command = ();
    type Event = Nothing;
    type Error = Infallible;

    fn handle(&self, (): ()) -> Result<Vec<Nothing>, Infallible> {
        OPEN.wait();
        Ok(Vec::new())
    }

    fn apply(&mut self, _: &Nothing) {}
}

/// A full bank refuses a command at once, with 503 and Retry-After, and stores nothing. The same
/// command is admitted when there is room again.
#[actix_web::test]
async fn a_flood_is_turned_away_until_there_is_room_again() {
    const LIMIT: usize = 8;
    let settings = Settings { commands_in_flight: LIMIT, ..Settings::default() };
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    let bank = example_bank::application(store).aggregate::<Gate>();
    let bank = bank.settings(settings).start().await.unwrap();
    let opening = json!({ "id": "1", "owner": "Ada", "currency": "EUR" });
    assert_eq!(post(&bank, "/accounts", opening).await.status, 201);
    let mut waiting: Vec<_> = (0..LIMIT).map(|_| Box::pin(bank.execute::<Gate>("1", ()))).collect();
    poll_fn(|context| {
        assert!(waiting.iter_mut().all(|gate| gate.as_mut().poll(context).is_pending()));
        Poll::Ready(())
    })
    .await;
    for _ in 0..200 {
        let answer = post(&bank, "/accounts/1/credit", json!({ "amount": 1 })).await;
        answer.is_problem(503, "overloaded");
    }
    OPEN.set(()).unwrap();
    for gate in waiting {
        gate.await.unwrap();
    }
    while post(&bank, "/accounts/1/credit", json!({ "amount": 1 })).await.status != 200 {}
    let balance = get(&bank, "/accounts/1/balance?after=2").await;
    assert_eq!((&balance.json()["balance"], &balance.json()["position"]), (&json!(1), &json!(2)));
}

/// All commands are on disk and answered before the application has ended.
#[tokio::test]
async fn ten_thousand_in_flight_are_carried_out_before_the_end() {
    const ACCOUNTS: usize = 100;
    const COMMANDS: usize = 10_000;
    let directory = Directory::new();
    let path = directory.file("bank.db");
    // No read models: waiting for them would hide that commands are not waited for.
    let bank = Application::builder(SqliteStore::open(&path).await.unwrap());
    let bank = bank.aggregate::<Account>().start().await.unwrap();
    for account in 0..ACCOUNTS {
        let open =
            AccountCommand::Open { owner: "Ada".into(), currency: "EUR".into(), number: None };
        bank.execute::<Account>(&account.to_string(), open).await.unwrap();
    }
    let credits = (0..COMMANDS).map(|n| {
        let bank = bank.clone();
        Box::pin(async move {
            let credit = AccountCommand::Credit { amount: 1 };
            bank.execute::<Account>(&(n % ACCOUNTS).to_string(), credit).await
        })
    });
    let mut under_way = credits.collect::<Vec<_>>();
    let mut positions = HashSet::new();
    // Polled together, so that all are let in before the end begins.
    poll_fn(|context| {
        under_way.retain_mut(|credit| match credit.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(answer) => !positions.insert(answer.unwrap().position),
        });
        Poll::Ready(())
    })
    .await;
    assert!(under_way.len() > COMMANDS / 2, "{} were left to wait for", under_way.len());
    bank.shutdown().await;
    for credit in under_way {
        positions.insert(credit.await.unwrap().position);
    }
    assert_eq!(positions.len(), COMMANDS);
    assert_eq!(read_log(&path).await.len(), ACCOUNTS + COMMANDS);
}

/// Keeps large texts.
#[derive(Clone, Default)]
struct Archive;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
enum Archived {
    Text(String),
}

impl Aggregate for Archive {
    const TYPE: &'static str = "archive";
    type Command = usize;
    type Event = Archived;
    type Error = Infallible;

    fn handle(&self, bytes: usize) -> Result<Vec<Archived>, Infallible> {
        Ok(vec![Archived::Text("x".repeat(bytes))])
    }

    fn apply(&mut self, _: &Archived) {}
}

/// Together they are more than a store accepts in one call, and each is executed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_commands_to_one_aggregate_take_several_rounds() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("archive.db")).await.unwrap();
    // The rounds are what is tested, not how fast this machine is.
    let settings = Settings { answer_within: Duration::from_secs(600), ..Settings::default() };
    let app = Application::builder(store).aggregate::<Archive>().settings(settings);
    let app = app.start().await.unwrap();
    app.execute::<Archive>("1", 1).await.unwrap();
    let asks = (0..80).map(|_| {
        let app = app.clone();
        tokio::spawn(async move { app.execute::<Archive>("1", 1 << 20).await.unwrap().version.0 })
    });
    let mut versions = HashSet::new();
    for ask in asks.collect::<Vec<_>>() {
        versions.insert(ask.await.unwrap());
    }
    assert_eq!(versions, (2..=81).collect());
}
