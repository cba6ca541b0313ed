//! The bank dies at every step and at any instant: what it acknowledged is there, once.
//!
//! A driver that is never killed owns the acknowledgements. After each death the bank is started
//! again, every command without an answer is sent again with its key until it is definite, and the
//! file is checked with plain SQL.

mod draining;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::child::{BankProcess, read_commands, read_log};
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::postgres::database;
use crate::support::random::Random;

const ACCOUNTS: usize = 4;
const WORKERS: usize = 6;

/// A command and what is known of it.
#[derive(Debug, Clone)]
struct Credit {
    key: String,
    account: usize,
    amount: u64,
    /// The position answered, once there was an answer.
    position: Option<i64>,
}

fn open_accounts(bank: &BankProcess) {
    let mut client = bank.client();
    for account in 0..ACCOUNTS {
        let body = format!(r#"{{"id":"{account}","owner":"Ada","currency":"EUR"}}"#);
        let answer = client.post("/accounts", &body, Some(&format!("open-{account}"))).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

fn credit(client: &mut Client, sent: &mut Credit) -> std::io::Result<()> {
    let path = format!("/accounts/{}/credit", sent.account);
    let body = format!(r#"{{"amount":{}}}"#, sent.amount);
    let answer = client.post(&path, &body, Some(&sent.key))?;
    match answer.status {
        200 => sent.position = Some(answer.body["position"].as_i64().unwrap()),
        503 => {}
        409 if answer.body["code"] == "still_running" => {}
        other => panic!("{other}: {answer:?}"),
    }
    Ok(())
}

/// Credits by several clients until the bank is gone or the time is over.
fn load(bank: &BankProcess, round: usize, kill_after: Duration) -> Vec<Credit> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers = (0..WORKERS).map(|worker| {
            let (stop, bank) = (&stop, &bank);
            scope.spawn(move || {
                let mut sent = Vec::new();
                let Ok(mut client) = Client::connect(bank.address()) else { return sent };
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{round}-{worker}-{n}");
                    let (account, amount) = ((worker + n) % ACCOUNTS, 1 + n as u64 % 7);
                    sent.push(Credit { key, account, amount, position: None });
                    let last = sent.len() - 1;
                    if credit(&mut client, &mut sent[last]).is_err() {
                        break;
                    }
                }
                sent
            })
        });
        let workers: Vec<_> = workers.collect();
        std::thread::sleep(kill_after);
        bank.signal("KILL");
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// Sends again what has no answer until it has one.
fn settle(bank: &BankProcess, history: &mut [Credit]) {
    let mut client = bank.client();
    for sent in history.iter_mut().filter(|sent| sent.position.is_none()) {
        while sent.position.is_none() {
            credit(&mut client, sent).unwrap();
        }
    }
}

/// The log holds exactly the effects of the history, each once, where it was answered; and the
/// read model is their sum.
async fn check(bank: &BankProcess, store: &str, history: &[Credit]) {
    let (log, commands) = (read_log(store).await, read_commands(store).await);
    assert_eq!(log.len(), ACCOUNTS + history.len(), "an event too many or too few");
    let mut sums: HashMap<usize, u64> = HashMap::new();
    for sent in history {
        let position = commands[&sent.key];
        assert_eq!(Some(position), sent.position, "{sent:?} was answered otherwise");
        let (stream, name, payload) = &log[position as usize - 1];
        assert_eq!(
            (stream.as_str(), name.as_str()),
            (&*format!("account-{}", sent.account), "Credited")
        );
        assert_eq!(*payload, format!(r#"{{"amount":{}}}"#, sent.amount));
        *sums.entry(sent.account).or_default() += sent.amount;
    }
    let mut client = bank.client();
    for account in 0..ACCOUNTS {
        let path = format!("/accounts/{account}/balance?after={}", log.len());
        let answer = client.get(&path).unwrap();
        let balance = answer.body["balance"].as_u64();
        let sum = sums.get(&account).copied().unwrap_or(0);
        assert_eq!(balance, Some(sum), "{answer:?}");
        let bookings = statement(&mut client, account, log.len());
        let credits: Vec<u64> = history_of(&log, account);
        assert_eq!(bookings.iter().map(|booking| booking.0).collect::<Vec<_>>(), credits);
        assert_eq!(bookings.last().map_or(0, |booking| booking.1), sum);
    }
}

/// Credits of an account in the order of the log.
fn history_of(log: &[(String, String, String)], account: usize) -> Vec<u64> {
    let stream = format!("account-{account}");
    let credits = log.iter().filter(|(of, name, _)| *of == stream && name == "Credited");
    let amount = |payload: &str| payload.trim_matches(|c: char| !c.is_ascii_digit()).parse();
    credits.map(|(_, _, payload)| amount(payload).unwrap()).collect()
}

/// Amount and balance of each booking of an account, in order.
fn statement(client: &mut Client, account: usize, after: usize) -> Vec<(u64, u64)> {
    let (mut bookings, mut next) = (Vec::new(), serde_json::json!(0));
    while !next.is_null() {
        let path =
            format!("/accounts/{account}/statement?after={after}&after_booking={next}&limit=500");
        let page = client.get(&path).unwrap().body;
        let number = |booking: &serde_json::Value, name: &str| booking[name].as_u64().unwrap();
        let found = page["bookings"].as_array().unwrap_or_else(|| panic!("{page}")).iter();
        bookings.extend(found.map(|found| (number(found, "amount"), number(found, "balance"))));
        next = page["next"].clone();
    }
    bookings
}

/// Promises 1, 2, 3 and 5, fifty times.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_acknowledged_and_apply_nothing_twice() {
    let directory = Directory::new();
    killed_under_load(&directory.file("bank.db"), 50).await;
}

/// The same on a server that outlives the bank.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn twenty_kills_beside_a_server_lose_and_double_nothing() {
    killed_under_load(&database().await.url(), 20).await;
}

async fn killed_under_load(store: &str, kills: usize) {
    let mut history = Vec::new();
    let (mut open, mut random) = (0, Random::new(12345));
    let mut bank = BankProcess::start(store, &[]).unwrap();
    open_accounts(&bank);
    for round in 0..kills {
        let mut sent = load(&bank, round, Duration::from_millis(20 + random.below(150)));
        drop(bank);
        let stored = read_commands(store).await;
        let lost =
            sent.iter().find(|sent| sent.position.is_some() && !stored.contains_key(&sent.key));
        assert!(lost.is_none(), "round {round}: acknowledged and lost: {lost:?}");
        let is_open = |sent: &&Credit| sent.position.is_none() && stored.contains_key(&sent.key);
        open += sent.iter().filter(is_open).count();
        bank = BankProcess::start(store, &[]).unwrap();
        settle(&bank, &mut sent);
        history.append(&mut sent);
    }
    check(&bank, store, &history).await;
    assert!(history.len() > 10 * kills, "only {} commands were sent", history.len());
    assert!(open > 0, "no kill came between commit and answer: nothing was proved");
}

/// Every crash point, at its first passes, until the bank gets by.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_each_step_loses_nothing_and_doubles_nothing() {
    for point in POINTS {
        let mut crashes = 0;
        for pass in [1, 2, 3, 7] {
            let directory = Directory::new();
            crashes += usize::from(crashes_at(&directory.file("bank.db"), point, pass).await);
        }
        assert!(crashes > 0, "the point {point} was never passed");
    }
}

/// The same beside a server, whose transactions are one statement each, without a point in them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_crash_at_each_step_beside_a_server_loses_and_doubles_nothing() {
    for point in POINTS.into_iter().filter(|point| !IN_A_FILE.contains(point)) {
        let mut crashes = 0;
        for pass in [1, 2] {
            crashes += usize::from(crashes_at(&database().await.url(), point, pass).await);
        }
        assert!(crashes > 0, "the point {point} was never passed");
    }
}

/// Points in a transaction of several statements, which is one on a file. Documents are in flight at
/// the second.
const IN_A_FILE: [&str; 2] = ["snapshot.before_commit", "documents.before_commit"];

const POINTS: [&str; 12] = [
    "command.accepted",
    "append.before_commit",
    "append.after_commit",
    "entity.before_reply",
    "snapshot.before_commit",
    "documents.before_commit",
    "read_model.before_save",
    "read_model.after_save",
    "projection.before_commit",
    "projection.after_commit",
    "migrate",
    "shutdown",
];

/// One life of a bank that is to die at a point, and one after it; whether it died.
async fn crashes_at(store: &str, point: &str, pass: u32) -> bool {
    let at = format!("{point}:{pass}");
    let bank = BankProcess::start(store, &[("ACTUM_CRASH_AT", &at)]);
    let mut crashed = bank.is_none();
    // One account gets past the hundred events after which a snapshot is taken.
    let credits = (0..130).map(|n| Credit {
        key: n.to_string(),
        account: if n % 20 == 0 { 1 } else { 0 },
        amount: 1 + n,
        position: None,
    });
    let mut history: Vec<Credit> = credits.collect();
    if let Some(mut bank) = bank {
        crashed |= first_life(&bank, &mut history).is_err();
        if !crashed {
            bank.signal("TERM");
            crashed = !bank.wait(Duration::from_secs(40)).unwrap().success();
        }
    }
    let bank = BankProcess::start(store, &[]).unwrap();
    open_accounts(&bank);
    settle(&bank, &mut history);
    check(&bank, store, &history).await;
    assert!(bank.terminate().success());
    crashed
}

/// Opens, credits and reads until something fails.
fn first_life(bank: &BankProcess, history: &mut [Credit]) -> std::io::Result<()> {
    let mut client = Client::connect(bank.address())?;
    for account in 0..ACCOUNTS {
        let body = format!(r#"{{"id":"{account}","owner":"Ada","currency":"EUR"}}"#);
        client.post("/accounts", &body, Some(&format!("open-{account}")))?;
    }
    for sent in history.iter_mut() {
        credit(&mut client, sent)?;
    }
    std::thread::sleep(Duration::from_millis(600));
    client.get("/accounts/0/balance").map(drop)
}

/// A bank that is stopped under load answers every command it has admitted, and exits with 0.
#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_under_load_it_keeps_what_it_acknowledged_and_exits_zero() {
    let directory = Directory::new();
    let store = directory.file("bank.db");
    let bank = BankProcess::start(&store, &[]).unwrap();
    open_accounts(&bank);
    let (address, answered) = (bank.address().to_owned(), AtomicUsize::new(0));
    let mut history: Vec<Credit> = std::thread::scope(|scope| {
        let workers = (0..WORKERS).map(|worker| {
            let (address, answered) = (&address, &answered);
            scope.spawn(move || {
                let mut sent = Vec::new();
                let mut client = Client::connect(address).unwrap();
                for n in 0.. {
                    let key = format!("{worker}-{n}");
                    sent.push(Credit { key, account: n % ACCOUNTS, amount: 1, position: None });
                    let last = sent.len() - 1;
                    // The connection ends with the bank.
                    if credit(&mut client, &mut sent[last]).is_err() {
                        return sent;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                sent
            })
        });
        let workers: Vec<_> = workers.collect();
        while answered.load(Ordering::Relaxed) < 100 {
            assert!(!workers.iter().any(|worker| worker.is_finished()), "a worker has failed");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(bank.terminate().success(), "it did not exit with 0");
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(history.iter().filter(|sent| sent.position.is_some()).count() > 50);
    let bank = BankProcess::start(&store, &[]).unwrap();
    settle(&bank, &mut history);
    check(&bank, &store, &history).await;
}
