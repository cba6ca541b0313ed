//! The same key across restarts, crashes and processes: the answer stays the same, because it is
//! made from the request and the stored outcome.

use std::sync::Barrier;

use crate::support::child::{BankProcess, read_commands, read_log};
use crate::support::directory::Directory;
use crate::support::http::{Client, Response};
use crate::support::postgres::database;

const OPENING: &str = r#"{"owner":"Ada","currency":"EUR"}"#;

/// Status, body and all headers but the time and whether it was replayed.
fn told(answer: &Response) -> (u16, String, Vec<String>) {
    let names = ["date: ", "idempotency-replayed: "];
    let lines = answer.head.lines().filter(|line| !names.iter().any(|name| line.starts_with(name)));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    (answer.status, answer.text.clone(), lines)
}

fn is_replayed(answer: &Response) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

fn open(client: &mut Client) -> std::io::Result<Response> {
    client.post("/accounts", OPENING, Some("open"))
}

async fn across_restarts(store: &str) {
    let bank = BankProcess::start(store, &[]).unwrap();
    let mut client = bank.client();
    let opened = open(&mut client).unwrap();
    assert_eq!((opened.status, is_replayed(&opened)), (201, false), "{opened:?}");
    let path = format!("/accounts/{}/credit", opened.body["id"].as_str().unwrap());
    let credit = |client: &mut Client| client.post(&path, r#"{"amount":5}"#, Some("pay")).unwrap();
    let credited = credit(&mut client);
    assert!(bank.terminate().success());
    for kill in [true, false] {
        let bank = BankProcess::start(store, &[]).unwrap();
        let mut client = bank.client();
        let again = [open(&mut client).unwrap(), credit(&mut client)];
        assert!(again.iter().all(is_replayed), "{again:?}");
        assert_eq!(again.each_ref().map(told), [told(&opened), told(&credited)]);
        if kill {
            bank.signal("KILL");
        }
    }
    assert_eq!(read_log(store).await.len(), 2);
}

/// Stored and not answered, or neither: every retry gets the same answer.
async fn after_a_crash(store: &str, point: &str) {
    let at = format!("{point}:1");
    let bank = BankProcess::start(store, &[("ACTUM_CRASH_AT", &at)]).unwrap();
    assert!(open(&mut bank.client()).is_err(), "it did not die at {point}");
    drop(bank);
    let stored = read_commands(store).await.contains_key("open");
    assert_eq!(stored, matches!(point, "append.after_commit" | "entity.before_reply"), "{point}");
    let bank = BankProcess::start(store, &[]).unwrap();
    let first = open(&mut bank.client()).unwrap();
    assert_eq!((first.status, is_replayed(&first)), (201, stored), "{point}: {first:?}");
    let again = open(&mut bank.client()).unwrap();
    assert!(is_replayed(&again));
    assert_eq!(told(&first), told(&again));
    assert_eq!(read_log(store).await.len(), 1);
}

/// Failpoints between a command and its answer that a bank does not pass when it starts. On a file
/// its first commits pass the others, and `processes/crash` tests those.
const POINTS: [&str; 2] = ["command.accepted", "entity.before_reply"];

#[tokio::test]
async fn a_retry_is_answered_as_before_by_the_next_process_on_sqlite() {
    let directory = Directory::new();
    across_restarts(&directory.file("bank.db")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_retry_is_answered_as_before_by_the_next_process_on_postgresql() {
    across_restarts(&database().await.url()).await;
}

#[tokio::test]
async fn a_retry_after_a_crash_before_the_answer_acts_once_on_sqlite() {
    for point in POINTS {
        let directory = Directory::new();
        after_a_crash(&directory.file("bank.db"), point).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_retry_after_a_crash_before_the_answer_acts_once_on_postgresql() {
    for point in POINTS.into_iter().chain(["append.before_commit", "append.after_commit"]) {
        after_a_crash(&database().await.url(), point).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn fifty_at_once_at_two_processes_act_once_and_are_answered_alike() {
    const ROUNDS: usize = 10;
    let database = database().await;
    let banks = [(), ()].map(|()| BankProcess::start(&database.url(), &[]).unwrap());
    assert_eq!(
        banks[0]
            .client()
            .post("/accounts", r#"{"id":"42","owner":"Ada","currency":"EUR"}"#, None)
            .unwrap()
            .status,
        201
    );
    for round in 0..ROUNDS {
        let (start, key) = (Barrier::new(50), format!("at-once-{round}"));
        let answers: Vec<Response> = std::thread::scope(|scope| {
            let clients = (0..50).map(|n| {
                let (start, key, bank) = (&start, &key, &banks[n % 2]);
                scope.spawn(move || {
                    let mut client = bank.client();
                    start.wait();
                    client.post("/accounts/42/credit", r#"{"amount":7}"#, Some(key)).unwrap()
                })
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        assert_eq!(answers[0].status, 200, "{:?}", answers[0]);
        assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
        // The other process does not know the first's request, only its outcome.
        let other = banks[1].client().post("/accounts/42/credit", r#"{"amount":8}"#, Some(&key));
        let other = other.unwrap();
        assert_eq!(
            (other.status, other.body["code"].as_str()),
            (422, Some("idempotency_key_reused"))
        );
    }
    assert_eq!(read_log(&database.url()).await.len(), 1 + ROUNDS);
}
