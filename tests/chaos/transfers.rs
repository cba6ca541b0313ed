//! Transfers while banks are killed: no money is made or lost at any prefix of the log, each transfer
//! ends once, and nothing is stuck after the last kill.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rounds;
use crate::support::child::{BankProcess, StopOnDrop, read_log, rows};
use crate::support::directory::Directory;
use crate::support::http::Client;
use crate::support::postgres::database;
use crate::support::random::Random;
use crate::support::waiting::poll;
use crate::transfers::ledger::Ledger;

const ACCOUNTS: u64 = 20;
const OPENING: i64 = 300;
const WORKERS: u64 = 8;

/// Longest time until every transfer has ended after the last kill. Most of them have gathered by then:
/// an owner that dies every two seconds is gone before its lease has moved.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// State that the clients share with the one who kills.
struct Shared {
    addresses: Vec<Mutex<String>>,
    accepted: AtomicUsize,
    stop: AtomicBool,
}

/// The banks on one log.
struct Banks<'a> {
    store: String,
    banks: Vec<Option<BankProcess>>,
    shared: &'a Shared,
}

impl Banks<'_> {
    /// Kills a bank, if it runs, and starts it again.
    fn restart(&mut self, bank: usize) {
        self.banks[bank] = None;
        let started = BankProcess::start(&self.store, &[]).expect("a bank did not start");
        started.address().clone_into(&mut self.shared.addresses[bank].lock().unwrap());
        self.banks[bank] = Some(started);
    }
}

/// A client that sends a command with its key until it is answered, at one bank after the other.
struct Sender<'a> {
    addresses: &'a [Mutex<String>],
    /// Number of the bank that it talks to.
    bank: usize,
    client: Option<Client>,
}

impl Sender<'_> {
    fn send(&mut self, path: &str, body: &str, key: &str) -> Option<String> {
        let began = Instant::now();
        loop {
            let answer = self.connected().and_then(|client| client.post(path, body, Some(key)));
            match answer.as_ref().map(|answer| answer.status) {
                Ok(200..=202) => return answer.ok()?.location,
                Ok(503 | 409) | Err(_) => self.client = None,
                Ok(_) => panic!("{answer:?}"),
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no answer to {key}: {answer:?}");
            self.bank = (self.bank + 1) % self.addresses.len();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn connected(&mut self) -> std::io::Result<&mut Client> {
        if self.client.is_none() {
            let address = self.addresses[self.bank].lock().unwrap().clone();
            self.client = Some(Client::connect(&address)?.patience(Duration::from_secs(5))?);
        }
        self.client.as_mut().ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }
}

/// Opens the accounts; the last one is in another currency, so what goes there comes back.
fn open_accounts(sender: &mut Sender<'_>) {
    for account in 0..ACCOUNTS {
        let currency = if account == ACCOUNTS - 1 { "USD" } else { "EUR" };
        let opening = json!({ "id": account.to_string(), "owner": "Ada", "currency": currency });
        sender.send("/accounts", &opening.to_string(), &format!("open-{account}"));
        let (path, body) = (format!("/accounts/{account}/credit"), json!({ "amount": OPENING }));
        sender.send(&path, &body.to_string(), &format!("credit-{account}"));
    }
}

/// Requests a transfer after each interval until all are told to stop. Returns where they are.
fn request(banks: &Shared, worker: u64, every: Duration) -> Vec<String> {
    let mut random = Random::new(4711 + worker);
    let bank = worker as usize % banks.addresses.len();
    let mut sender = Sender { addresses: &banks.addresses, bank, client: None };
    let (began, mut locations) = (Instant::now(), Vec::new());
    for n in 0_u32.. {
        if banks.stop.load(Ordering::Relaxed) {
            break;
        }
        // After a pause without an answer, those that were missed come at once.
        std::thread::sleep((every * n).saturating_sub(began.elapsed()));
        let from = random.below(ACCOUNTS);
        let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + random.below(120);
        let body = json!({ "from": from.to_string(), "to": to.to_string(), "amount": amount });
        let location = sender.send("/transfers", &body.to_string(), &format!("t-{worker}-{n}"));
        locations.push(location.expect("a transfer has a location"));
        banks.accepted.fetch_add(1, Ordering::Relaxed);
    }
    locations
}

/// Number of transfers that have ended.
async fn ended(store: &str) -> usize {
    let count: Vec<(i64,)> = rows(
        store,
        "SELECT count(*) FROM events WHERE stream_type = 'transfer'
         AND event_type IN ('Completed', 'Failed', 'Refunded', 'Expired')",
        "SELECT count(*) FROM actum.events WHERE stream_type = 'transfer'
         AND event_type IN ('Completed', 'Failed', 'Refunded', 'Expired')",
    )
    .await;
    usize::try_from(count[0].0).unwrap()
}

/// Requests at least so many transfers, and kills a bank after each interval, at least so often.
async fn survive(store: String, number: usize, (wanted, kills, every): (usize, usize, Duration)) {
    let shared = Shared {
        addresses: (0..number).map(|_| Mutex::default()).collect(),
        accepted: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let banks = (0..number).map(|_| None).collect();
    let mut banks = Banks { store: store.clone(), banks, shared: &shared };
    (0..number).for_each(|bank| banks.restart(bank));
    open_accounts(&mut Sender { addresses: &shared.addresses, bank: 0, client: None });
    let mut killed = 0;
    // Spread over the kills.
    let pace = every * (kills * WORKERS as usize) as u32 / wanted as u32;
    let locations: Vec<String> = std::thread::scope(|scope| {
        let workers = (0..WORKERS).map(|worker| {
            let shared = &shared;
            scope.spawn(move || request(shared, worker, pace))
        });
        let workers: Vec<_> = workers.collect();
        {
            let _stop = StopOnDrop(&shared.stop);
            while killed < kills || shared.accepted.load(Ordering::Relaxed) < wanted {
                std::thread::sleep(every);
                banks.restart(killed % number);
                killed += 1;
                assert!(!workers.iter().any(|worker| worker.is_finished()), "a worker has failed");
            }
        }
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    // Once more, while no client asks for anything.
    banks.restart(killed % number);
    let settled = Instant::now();
    let look = async || match ended(&store).await {
        ends if ends >= locations.len() => Ok(()),
        ends => Err(format!("{ends} of {} have ended", locations.len())),
    };
    poll(SETTLED_WITHIN, look).await;
    let settled = settled.elapsed();
    drop(banks);

    let ledger = Ledger::of(&read_log(&store).await);
    ledger.is_settled();
    let ids: HashSet<_> = locations.iter().map(|at| at.trim_start_matches("/transfers/")).collect();
    assert_eq!((ids.len(), ledger.ends.len()), (locations.len(), locations.len()));
    assert!(ids.iter().all(|id| ledger.ends.contains_key(*id)), "a transfer was lost");
    let total: i64 = ledger.balances.values().sum();
    assert_eq!(total, ACCOUNTS as i64 * OPENING);
    let ends = ["Completed", "Failed", "Refunded"].map(|end| ledger.ended(end));
    assert!(ends.iter().all(|number| *number > 0), "nothing was proved: {ends:?}");
    println!(
        "survived {} kills of {number} banks: {} transfers, {ends:?} of them completed, failed and \
         refunded, all of them {settled:?} after the last kill",
        killed + 1,
        locations.len()
    );
}

/// 300 transfers and 3 kills, or in `scripts/chaos` 10,000 and one every two seconds.
fn size() -> (usize, usize, Duration) {
    match rounds() {
        1 => (300, 3, Duration::from_millis(1_500)),
        rounds => (1_000 * rounds, rounds, Duration::from_secs(2)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_money_is_lost_however_often_the_bank_is_killed() {
    let directory = Directory::new();
    survive(directory.file("bank.db"), 1, size()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn no_money_is_lost_however_often_one_of_two_banks_is_killed() {
    survive(database().await.url(), 2, size()).await;
}
