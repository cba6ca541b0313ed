//! Two banks and one account, without any routing of its commands to one of them.

use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex};

use super::{log, rounds};
use crate::support::child::BankProcess;
use crate::support::http::{Client, Response};
use crate::support::postgres::database;

const WITHDRAWALS: usize = 1_000;
/// Each has a connection to both banks; more at once would be more than 1,024 descriptors.
const CLIENTS: usize = 250;

fn open(bank: &BankProcess, account: &str, balance: usize) {
    let mut client = bank.client();
    let opening = format!(r#"{{"id":"{account}","owner":"Ada","currency":"EUR"}}"#);
    assert_eq!(client.post("/accounts", &opening, None).unwrap().status, 201);
    if balance > 0 {
        assert_eq!(ask(&mut client, account, "credit", balance, None).status, 200);
    }
}

fn ask(
    client: &mut Client,
    account: &str,
    what: &str,
    amount: usize,
    key: Option<&str>,
) -> Response {
    let path = format!("/accounts/{account}/{what}");
    client.post(&path, &format!(r#"{{"amount":{amount}}}"#), key).unwrap()
}

/// All at once, by turns at either bank; how often which status and code was answered.
fn withdraw_all(banks: &[BankProcess; 2], account: &str) -> BTreeMap<(u16, String), usize> {
    let (answers, start) = (Mutex::new(BTreeMap::new()), Barrier::new(CLIENTS));
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (answers, start) = (&answers, &start);
            scope.spawn(move || {
                let mut clients = banks.each_ref().map(BankProcess::client);
                start.wait();
                for turn in n..n + WITHDRAWALS / CLIENTS {
                    let key = format!("{account}-{n}-{turn}");
                    let key = (n % 3 > 0).then_some(&*key);
                    let answer = ask(&mut clients[turn % 2], account, "withdraw", 1, key);
                    let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
                    *answers.lock().unwrap().entry((answer.status, code)).or_default() += 1;
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn of_a_thousand_withdrawals_at_two_banks_exactly_those_that_are_covered_succeed() {
    let database = database().await;
    let banks = [(), ()].map(|()| BankProcess::start(&database.url(), &[]).unwrap());
    for round in 0..rounds() {
        let account = format!("hot-{round}");
        open(&banks[0], &account, WITHDRAWALS / 2);
        let answers = withdraw_all(&banks, &account);
        let expected = [((200, String::new()), 500), ((422, "insufficient_funds".into()), 500)];
        assert_eq!(answers, BTreeMap::from(expected));
        let log = log::read(&mut database.connect().await).await;
        let amounts = log.iter().filter(|row| row.stream == format!("account-{account}"));
        let amounts = amounts.map(|row| match row.name.as_str() {
            "Withdrawn" => -row.amount.unwrap(),
            _ => row.amount.unwrap_or(0),
        });
        assert_eq!(amounts.sum::<i64>(), 0, "round {round}");
    }
    println!(
        "survived {} withdrawals at two banks from {} hot accounts",
        1_000 * rounds(),
        rounds()
    );
}

/// The state that a bank has in memory never refuses, nor allows, what the log does not.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_bank_decides_on_the_events_that_the_other_one_acknowledged() {
    let database = database().await;
    let banks = [(), ()].map(|()| BankProcess::start(&database.url(), &[]).unwrap());
    open(&banks[0], "shared", 0);
    let mut clients = banks.each_ref().map(BankProcess::client);
    for turn in 0..50 * rounds() {
        let [one, other] = [turn % 2, 1 - turn % 2];
        let credited = ask(&mut clients[one], "shared", "credit", 1, None);
        let withdrawn = ask(&mut clients[other], "shared", "withdraw", 1, None);
        let refused = ask(&mut clients[one], "shared", "withdraw", 1, None);
        let statuses = [credited.status, withdrawn.status, refused.status];
        assert_eq!(
            statuses,
            [200, 200, 422],
            "turn {turn}: {credited:?} {withdrawn:?} {refused:?}"
        );
    }
}
