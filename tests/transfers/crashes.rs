//! The bank dies between any two steps of a transfer, and the next one brings each to its one right end.

use std::time::Duration;

use actum::Application;
use example_bank::account::{Account, AccountCommand};
use example_bank::transfer::{AGAIN_AFTER, TransferEvent, Transfers};
use serde_json::json;

use super::ledger::Ledger;
use super::{events, ledger, standing, start, tell};
use crate::support::child::{BankProcess, read_log};
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::place::{Place, open_sqlite};
use crate::support::postgres::database;
use crate::support::waiting::{block_until, until};

const POINTS: [&str; 4] = [
    "process.executed",
    "process.input_stored",
    "process.before_checkpoint",
    "process.after_checkpoint",
];

/// Transfers: source, target, amount and end.
const TRANSFERS: [(&str, &str, i64, &str); 5] = [
    ("ada", "bob", 30, "Completed"),
    ("bob", "ada", 500, "Failed"),
    ("ada", "nobody", 40, "Refunded"),
    ("nobody", "ada", 1, "Failed"),
    ("bob", "ada", 10, "Completed"),
];

/// Opens the accounts, and requests the transfers, each after the end of the one before. Fails when the
/// bank is gone.
fn send_all(client: &mut Client) -> std::io::Result<()> {
    for (owner, amount) in [("ada", 100), ("bob", 50)] {
        let opening = json!({ "id": owner, "owner": owner, "currency": "EUR" }).to_string();
        client.post("/accounts", &opening, Some(&format!("open-{owner}")))?;
        let (path, body) = (format!("/accounts/{owner}/credit"), json!({ "amount": amount }));
        client.post(&path, &body.to_string(), Some(&format!("credit-{owner}")))?;
    }
    for (n, (from, to, amount, end)) in TRANSFERS.iter().enumerate() {
        let body = json!({ "from": from, "to": to, "amount": amount }).to_string();
        let answer = client.post("/transfers", &body, Some(&format!("transfer-{n}")))?;
        assert_eq!(answer.status, 202, "{answer:?}");
        let location = answer.location.expect("a request has a location");
        let end = end.to_ascii_lowercase();
        let found = block_until(Duration::from_secs(40), || match client.get(&location) {
            Ok(answer) if answer.body["status"] == end => Ok(Ok(())),
            Ok(answer) => Err(answer),
            Err(gone) => Ok(Err(gone)),
        });
        found?;
    }
    Ok(())
}

/// One life of a bank that is to die at a point, and one after it; whether it died.
async fn crashes_at(store: &str, point: &str, pass: u32) -> bool {
    let at = format!("{point}:{pass}");
    let bank = BankProcess::start(store, &[("ACTUM_CRASH_AT", &at)]);
    let crashed = bank.is_none_or(|bank| {
        let mut client = bank.client();
        send_all(&mut client).is_err() || !bank.terminate().success()
    });
    let bank = BankProcess::start(store, &[]).unwrap();
    let mut client = bank.client();
    send_all(&mut client).unwrap();
    assert!(bank.terminate().success());
    let ledger = Ledger::of(&read_log(store).await);
    ledger.is_settled();
    let balances = (ledger.balances["ada"], ledger.balances["bob"], ledger.ends.len());
    assert_eq!(balances, (80, 70, TRANSFERS.len()), "{at}: {ledger:?}");
    crashed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_each_step_leads_to_the_one_right_end() {
    for point in POINTS {
        let mut crashes = 0;
        for pass in [1, 2, 4, 6] {
            let directory = Directory::new();
            crashes += usize::from(crashes_at(&directory.file("bank.db"), point, pass).await);
        }
        // How often an instance is saved depends on the time that the transfers take.
        assert!(crashes > 0, "the point {point} was never passed");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crash_at_each_step_beside_a_server_leads_to_the_one_right_end() {
    for point in POINTS {
        let mut crashes = 0;
        for pass in [1, 3] {
            crashes += usize::from(crashes_at(&database().await.url(), point, pass).await);
        }
        assert!(crashes > 0, "the point {point} was never passed");
    }
}

/// A bank that died when all the money of `ada` was in transit to nobody.
async fn died_in_transit() -> Place {
    let place = Place::sqlite();
    let Place::Sqlite(directory) = &place else { panic!("it is a file") };
    let crash = [("ACTUM_CRASH_AT", "process.executed:1")];
    let bank = BankProcess::start(&directory.file("log.db"), &crash).unwrap();
    let mut client = bank.client();
    let opening = json!({ "id": "ada", "owner": "ada", "currency": "EUR" }).to_string();
    assert_eq!(client.post("/accounts", &opening, None).unwrap().status, 201);
    client.post("/accounts/ada/credit", r#"{"amount":100}"#, None).unwrap();
    let body = json!({ "from": "ada", "to": "nobody", "amount": 100 }).to_string();
    // The bank may die before it answers.
    let _ = client.post("/transfers", &body, Some("t"));
    let mut bank = bank;
    assert!(!bank.wait(Duration::from_secs(20)).expect("it did not die").success());
    place
}

/// Sends commands to accounts while no transfer moves.
async fn meanwhile(place: &Place, commands: impl IntoIterator<Item = AccountCommand>) {
    let builder = Application::builder(place.open().await).name("bank").aggregate::<Account>();
    let app = builder.start().await.unwrap();
    for command in commands {
        tell(&app, "ada", command).await;
    }
    app.shutdown().await;
}

/// Id of the only transfer.
async fn only_transfer(place: &Place) -> String {
    let Place::Sqlite(directory) = place else { panic!("it is a file") };
    drop(open_sqlite(directory).await);
    let log = read_log(&directory.file("log.db")).await;
    let id = log.iter().find_map(|(stream, ..)| stream.strip_prefix("transfer-"));
    id.expect("there is a transfer").to_owned()
}

fn is_refund(event: &TransferEvent) -> bool {
    matches!(event, TransferEvent::Refunded(reason) if reason.code == "unknown_account")
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_back_opens_its_account_again() {
    let place = died_in_transit().await;
    meanwhile(&place, [AccountCommand::Close]).await;
    let (id, app) = (only_transfer(&place).await, start(&place, &standing()).await);
    until(async || !events(&app, &id).await.is_empty()).await;
    assert!(is_refund(&events(&app, &id).await[0]));
    tell(&app, "ada", AccountCommand::Withdraw { amount: 100 }).await;
    tell(&app, "ada", AccountCommand::Close).await;
    ledger(app, &place).await.is_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_its_account_cannot_take_back_is_offered_again() {
    let place = died_in_transit().await;
    meanwhile(&place, [AccountCommand::Credit { amount: i64::MAX }]).await;
    let (id, clock) = (only_transfer(&place).await, standing());
    let app = start(&place, &clock).await;
    let waits = async || {
        let story = app.story::<Transfers>(&id).await;
        story.is_ok_and(|story| story.deadlines.contains_key("timer"))
    };
    until(waits).await;
    tell(&app, "ada", AccountCommand::Withdraw { amount: 1_000 }).await;
    assert_eq!(events(&app, &id).await, []);
    clock.advance(AGAIN_AFTER + Duration::from_secs(60));
    until(async || !events(&app, &id).await.is_empty()).await;
    assert!(is_refund(&events(&app, &id).await[0]));
    ledger(app, &place).await.is_settled();
}
